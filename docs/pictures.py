"""Takes the README's screenshot and its walk-through from a served page.

Example (with `make demo` running):
    python docs/pictures.py http://127.0.0.1:7860
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ASSETS = Path(__file__).parent.parent / "assets"
SIZE = {"width": 1280, "height": 860}
WIDTH = 900  # pixels of the walk-through
# Headless browsers draw no mouse pointer.
POINTER = """() => {
  const dot = document.createElement("div");
  dot.style.cssText = "position:fixed;z-index:9999;width:22px;height:22px;margin:-11px;border-radius:50%;" +
    "background:rgb(13 148 136 / .45);border:2px solid #0f766e;pointer-events:none;left:640px;top:500px";
  document.body.append(dot);
  addEventListener("mousemove", (event) => {
    dot.style.left = `${event.clientX}px`;
    dot.style.top = `${event.clientY}px`;
  });
}"""


def walk_through(page: Page) -> list[tuple[Image.Image, int]]:
    """Pictures of the page and how many milliseconds each is shown."""
    shots = []

    def shoot(milliseconds: int, settle: int = 350) -> None:
        page.wait_for_timeout(settle)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        shots.append((picture.resize((WIDTH, round(WIDTH * picture.height / picture.width))), milliseconds))

    page.evaluate(POINTER)
    shoot(1500)
    page.locator(".example-card").nth(1).hover()
    shoot(700)
    page.locator(".example-card").nth(1).click()
    page.locator(".answers").wait_for()
    page.locator("#overlay .map img").wait_for()
    wait_for_evidence(page)
    shoot(2200)
    for word in page.locator("#words button").all()[2:]:  # the preview under the pointer
        word.hover()
        shoot(600)
    page.locator("#words button").last.click()
    shoot(1800, 900)
    page.locator("#words button").first.click()
    page.locator(".cell").nth(24).hover()
    shoot(700, 900)
    page.locator(".cell").nth(24).click()
    page.locator("#served", has_text="this cell").wait_for()
    shoot(1500, 700)
    page.locator("#served").scroll_into_view_if_needed()
    shoot(2200)
    page.evaluate("scrollTo(0, 0)")
    page.locator("#suggestions button").nth(1).hover()
    shoot(700)
    page.locator("#suggestions button").nth(1).click()
    page.locator("#history .asked").nth(1).wait_for()
    page.evaluate("scrollTo(0, 0)")
    wait_for_evidence(page)
    shoot(2600)
    return shots


def wait_for_evidence(page: Page) -> None:
    """Until the sentence says what the map is worth."""
    page.wait_for_function("!document.body.innerText.includes('Checking where it looked')")
    page.wait_for_timeout(1000)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="where the page is served")
    options = parser.parse_args()
    names = ("chromium-headless-shell", "chromium", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
        page.goto(options.url)
        page.locator(".example-card img").last.wait_for()
        page.wait_for_timeout(1000)  # until its buttons do something
        page.locator(".example-card").nth(0).click()
        page.locator("#overlay .map img").wait_for()
        wait_for_evidence(page)
        page.screenshot(path=ASSETS / "screenshot.png")
        page = browser.new_page(viewport=SIZE, reduced_motion="reduce")
        page.goto(options.url)
        page.locator(".example-card img").last.wait_for()
        page.wait_for_timeout(1000)
        pictures, durations = zip(*walk_through(page), strict=True)
        pictures[0].save(
            ASSETS / "walk_through.webp",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
            quality=70,
        )
        browser.close()


if __name__ == "__main__":
    main()
