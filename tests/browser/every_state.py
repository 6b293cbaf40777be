"""Every state of the page at four widths, light and dark, in both languages: pictures to look at, and axe-core's word.

Example:
    python -m tests.browser.every_state --pictures /tmp/pictures --report docs/reports/running/accessibility.json
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "helpers")]
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

SIZES = {390: 844, 768: 1024, 1440: 900, 2560: 1440}
THEMES, LOCALES = ("light", "dark"), ("en-US", "zh-CN")
FINGERS = 1000  # narrower windows are those of phones and tablets
PHOTO = ROOT / "assets" / "examples" / "coffee.jpg"


def serve_all(folder: Path):
    """The whole page with all that is shipped, and the form for corrections: a context manager for its address."""
    from served_page import served

    from demo.finding.collection import open_collection
    from demo.serve import load_captioner
    from demo.settings import SHIPPED_CAPTIONER, SHIPPED_FINDER, Settings, checkpoint_folder
    from valm_core.loading import load_predictor

    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    photos = folder / "photos"
    photos.mkdir()
    for path in sorted((ROOT / "assets" / "examples").glob("*.jpg")):
        shutil.copy(path, photos)
    settings = Settings(feedback=str(folder / "corrections.db"))
    predictor, captioner = load_predictor(checkpoint_folder()), load_captioner(SHIPPED_CAPTIONER)
    return served(predictor, settings, open_collection(str(photos), "", SHIPPED_FINDER), captioner)


def unloaded(page, url: str):
    """Open an address where gradio's scripts come only when the function that is returned is called."""
    waiting, may_come = [], []
    page.route("**/assets/*.js", lambda route: route.continue_() if may_come else waiting.append(route))
    page.goto(url, wait_until="commit")
    page.locator("#first-frame").wait_for()

    def come():
        may_come.append(True)
        for route in waiting:
            route.continue_()

    return come


def own_photo() -> Path:
    """An example photo in a file of its own, so that it is a visitor's."""
    from PIL import Image

    path = Path(tempfile.gettempdir()) / "valm-own-photo.jpg"
    Image.open(PHOTO).save(path, quality=80)
    return path


def walk(page, url: str, theme: str):
    """The name of each state, once ``page`` is in it."""
    from page_states import finding, states

    address = f"{{}}/?__theme={theme}"
    come = unloaded(page, address.format(url))
    yield "before gradio"
    come()
    page.locator("#ask").wait_for()
    page.locator("#first-frame").wait_for(state="hidden")
    yield from states(page, own_photo(), describes=True)
    page.goto(address.format(f"{url}/find"))
    page.locator("#find-button").wait_for()
    yield from finding(page, "a cup of coffee")
    page.goto(address.format(f"{url}/api"))
    yield "api"


def picture(page, height: int, fingers: bool) -> bytes:
    """The page down to a height as PNG.

    A picture of more than the window takes the fingers away, so with fingers the window is made as high as the page.
    """
    if not fingers or height <= page.viewport_size["height"]:
        return page.screenshot(full_page=height > page.viewport_size["height"])
    former = page.viewport_size
    page.set_viewport_size({"width": former["width"], "height": height})
    shot = page.screenshot()
    page.set_viewport_size(former)
    return shot


def visit(browser, url: str, width: int, theme: str, locale: str, pictures: Path | None, only: set[str]) -> dict:
    """Walk through all states once: what axe-core finds and the page's height, by state."""
    from page_states import settle
    from page_steps import findings

    fingers = width < FINGERS
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[width]},
        has_touch=fingers,
        is_mobile=fingers,
        locale=locale,
        color_scheme=theme,
        reduced_motion="reduce",
    )
    page, found, errors = context.new_page(), {}, []
    page.on("pageerror", lambda error: errors.append(str(error)))
    for number, state in enumerate(walk(page, url, theme)):
        if only and state not in only:
            continue
        if state not in ("before gradio", "api"):
            settle(page)
        tall = page.evaluate("document.documentElement.scrollHeight")
        wide = page.evaluate("document.documentElement.scrollWidth")
        found[state] = {"findings": findings(page).splitlines(), "height": tall, "width": wide}
        if pictures:
            name = f"{number:02}-{state.replace(' ', '_').replace(',', '')}-{width}-{theme}-{locale[:2]}.png"
            (pictures / name).write_bytes(picture(page, SIZES[width] if state == "large" else tall, fingers))
    context.close()
    return found | ({"errors": errors} if errors else {})


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each state; default: none is made")
    parser.add_argument("--report", type=Path, help="write what was found to this JSON file")
    parser.add_argument("--widths", type=int, nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--themes", nargs="+", default=list(THEMES), choices=THEMES)
    parser.add_argument("--locales", nargs="+", default=list(LOCALES), choices=LOCALES)
    parser.add_argument("--states", nargs="+", default=[], help="look at these alone; default: all")
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    from chromium import find_chromium

    chromium = find_chromium()
    report, start = {}, time.time()
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_all(Path(folder)) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for width, theme, locale in product(options.widths, options.themes, options.locales):
            found = visit(browser, url, width, theme, locale, options.pictures, set(options.states))
            report[f"{width} {theme} {locale}"] = found
            faults = {
                state: one["findings"] for state, one in found.items() if state != "errors" and one["findings"]
            } | ({"errors": found["errors"]} if "errors" in found else {})
            print(f"{width} {theme} {locale}: {len(found)} states, {time.time() - start:.0f} s", flush=True)
            print(json.dumps(faults, indent=1, ensure_ascii=False) if faults else "axe-core finds nothing", flush=True)
        browser.close()
    if options.report:
        options.report.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
