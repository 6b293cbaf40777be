"""What a visitor of the page does in a browser, step by step."""

import os

import pytest
from patience import PATIENCE

needs_fake = pytest.mark.skipif("VALM_BROWSER_CHECKPOINT" in os.environ, reason="looks into the fake predictor")


def open_unloaded(page, url: str):
    """Open an address where gradio's scripts come only when the function that is returned is called."""
    waiting, may_come = [], []
    page.route("**/assets/*.js", lambda route: route.continue_() if may_come else waiting.append(route))
    page.goto(url, wait_until="commit")

    def come():
        may_come.append(True)
        for route in waiting:
            route.continue_()

    return come


def upload(page, path):
    """Give a file to the photo input and wait until the page starts to encode it."""
    with page.expect_response(lambda response: "queue/join" in response.url):
        page.locator("#photo input[type=file]").set_input_files(path)


def ask(page, question):
    """Type a question and press Enter."""
    box = page.locator("#question textarea, #question input")
    box.fill(question)
    box.press("Enter")


def ask_what_if(page, photo, question):
    """Upload a photo, ask about it, and open the panel "What if" once the map is there."""
    upload(page, photo)
    ask(page, question)
    page.locator("#overlay img").first.wait_for()
    page.get_by_role("button", name="What if …").click()


def keep_reply(page) -> list:
    """Let the server do what the page asks next outside of the queue, and keep its reply from the page.

    Returns:
        What gets (route, reply) once the server has replied.
    """
    kept = []
    page.route("**/run/predict*", lambda route: kept.append((route, route.fetch())), times=1)
    return kept


def wait_for_evidence(page):
    """Wait until the page says whether it mattered where the model looked, which comes after answer and map."""
    known = "text => text && !/Checking where|正在检查/.test(text)"
    page.wait_for_function(f"() => ({known})(document.querySelector('#sentence .sentence')?.innerText)")


def remove_photo(page):
    """Press the photo's own remove button."""
    page.locator("#photo button[aria-label*='emove'], #photo button[aria-label*='lear']").first.click()


def overlay_source(page):
    """The overlay as a data address: its content."""
    return page.locator("#overlay .map img").get_attribute("src")


def wait_for_new_overlay(page, old_source):
    """Wait until the overlay shows another picture."""
    page.wait_for_function("old => document.querySelector('#overlay .map img')?.src !== old", arg=old_source)


def notice(page):
    """The message to the person, if there is one."""
    return page.locator("#notice .notice")


def wait_beside(page, condition):
    """Wait until ``condition()`` holds on this side, while the browser goes on."""
    for _ in range(50 * PATIENCE):
        if condition():
            return
        page.wait_for_timeout(20)
    raise TimeoutError(f"waited {PATIENCE} s for nothing")


# Rules of axe-core up to level AA that are off by default: newer ones and experiments.
MORE_RULES = (
    "css-orientation-lock",
    "focus-order-semantics",
    "label-content-name-mismatch",
    "p-as-heading",
    "table-fake-caption",
    "target-size",
    "td-has-header",
)


def findings(page, styles: bool = True) -> str:
    """All that axe-core finds wrong on the page as it is, a line each, by all its rules up to AA.

    Without ``styles`` it doesn't read the style sheets too, a quarter of its time, for the one rule about them.
    """
    from axe_playwright_python.base import AXE_SCRIPT

    rules = {rule: {"enabled": True} for rule in MORE_RULES}
    options = {"resultTypes": ["violations"], "rules": rules, "preload": styles}
    if not page.evaluate("'axe' in window"):  # half a megabyte: once a page
        page.evaluate(AXE_SCRIPT)
    violations = page.evaluate("options => axe.run(options)", options)["violations"]
    return "\n".join(
        f"{violation['id']}: {node['html'][:200]} {node['any'][0]['message'] if node['any'] else ''}"
        for violation in violations
        for node in violation["nodes"]
    )


def wait_in_view(page, place, top, bottom):
    """Wait until the first such element lies between two heights of the screen, in pixels."""
    where = "place => { const box = document.querySelector(place)?.getBoundingClientRect(); return box?.toJSON(); }"

    def lies_there() -> bool:
        box = page.evaluate(where, place)
        return bool(box) and box["height"] > 0 and box["top"] >= top and box["bottom"] <= bottom

    try:
        wait_beside(page, lies_there)
    except TimeoutError:
        found = page.evaluate(where, place), page.evaluate("[scrollY, innerHeight, document.body.scrollHeight]")
        raise AssertionError(f"{place} should lie within {top} to {bottom}: {found}") from None
