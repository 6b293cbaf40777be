"""Everything by keyboard alone: nothing out of reach, the focus always seen and never lost."""

import pytest
from page_steps import overlay_source, wait_for_evidence, wait_for_new_overlay
from patience import PATIENCE

FOCUS = """() => {
  const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
  const ring = parseFloat(style.outlineWidth) > 0 && style.outlineStyle !== "none";
  const name = at.getAttribute("aria-label") || at.innerText || at.closest("label")?.innerText || at.value || "";
  const marked = box.width > 0 && (ring || style.boxShadow !== "none");
  return {name: name.trim().replace(/\\s+/g, " "), tag: at.tagName, ring: marked};
}"""


FILLED = """() => [...document.activeElement.parentElement.querySelectorAll("button, input, textarea, [tabindex]")]
  .some(inside => inside !== document.activeElement && inside.checkVisibility())"""


def tab_to(page, name: str, shift: bool = False) -> list[str]:
    """Press Tab until what has the focus is called so; returns the names of all that had it. Fails after 80."""
    passed = []
    for _ in range(80):
        page.keyboard.press("Shift+Tab" if shift else "Tab")
        focus = page.evaluate(FOCUS)
        if focus["tag"] == "BODY":  # the page's end: the next Tab begins at its top
            continue
        assert focus["ring"], focus
        passed.append(focus["name"])
        if name in focus["name"]:
            return passed
    raise AssertionError(f"{name!r} is out of reach; passed: {passed}")


def open_section(page, name: str, shift: bool = False) -> None:
    """Go to an accordion and open it."""
    tab_to(page, name, shift)
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.matches('.label-wrap.open')")
    page.wait_for_function(FILLED)  # what is in it comes a moment later
    page.wait_for_timeout(300)


def choose_file(page, path) -> None:
    """Press Enter on the upload button until it opens a file chooser: it is there before it does anything."""
    chosen = []
    page.on("filechooser", lambda chooser: chosen.append(chooser))
    for _ in range(2 * PATIENCE):
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        if chosen:
            break
    chosen[0].set_files(path)


@pytest.mark.parametrize("width", [390, 1440])
def test_a_visit_by_keyboard_alone(visit, page_url, photos, predictor, width):
    page = visit(page_url, width)
    tab_to(page, "to choose one")
    choose_file(page, photos / "red.png")
    page.locator("#photo img").wait_for()
    page.wait_for_function("document.activeElement.tagName === 'TEXTAREA'")  # the question is next
    page.keyboard.type("What color is the bus?")
    page.keyboard.press("Enter")
    page.locator("#overlay .map img").wait_for()
    page.locator(".sentence a").nth(2).wait_for()

    tab_to(page, "whole question")
    source = overlay_source(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    wait_for_new_overlay(page, source)
    tab_to(page, "row ")
    page.keyboard.press("Space")
    page.locator("#served", has_text="this cell").wait_for()
    tab_to(page, "range slider")
    source = overlay_source(page)
    page.keyboard.press("ArrowLeft")
    wait_for_new_overlay(page, source)
    tab_to(page, "Side by side", shift=True)
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelectorAll('#overlay .map').length === 2")

    open_section(page, "Details")
    wait_for_evidence(page)  # which counts among the calls
    calls = dict(getattr(predictor, "calls", {}))
    tab_to(page, "Method")
    page.wait_for_timeout(500)
    assert dict(getattr(predictor, "calls", {})) == calls  # the menu of answers was passed, nothing chosen in it
    before = page.locator("#subject").inner_text()
    page.keyboard.press("ArrowDown")
    page.locator("#method [role=listbox]").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_function("before => document.querySelector('#subject').innerText !== before", arg=before)
    page.wait_for_function("!document.querySelector('[role=listbox]')")  # no menu stays open behind
    for section in ("All layers and heads", "Compare", "Keep and share"):
        open_section(page, section)
    tab_to(page, "Link to this view")
    open_section(page, "What if", shift=True)  # last: gradio's editor draws its canvas without end
    tab_to(page, "Ask again")
