"""How the page looks: accessibility by axe-core in every state and at four widths, no jumps, previews."""

import pytest
from page_states import settle, states
from page_steps import ask, findings, needs_fake, upload, wait_for_evidence

# How dense the previewed map is in each cell, 0..255: the picture above the photo, read back.
PREVIEWED = """async () => {
  const [, address] = document.querySelector(".cells").style.backgroundImage.match(/url\\("(data:image.png[^"]+)"\\)/);
  const image = Object.assign(new Image(), {src: address});
  await image.decode();
  const pen = document.createElement("canvas").getContext("2d");
  pen.drawImage(image, 0, 0);
  const {data} = pen.getImageData(0, 0, image.width, image.height);
  return [...data].filter((_, place) => place % 4 === 3);
}"""


def open_everything(page):
    """Open every accordion of the page."""
    closed = page.locator(".label-wrap:not(.open)")
    while closed.count():
        closed.first.click()
    page.locator("#what-if canvas").first.wait_for()


def wait_until_still(page):
    """Wait until all pictures are there and nothing has moved for a second, e.g. by scrolling into view."""
    page.wait_for_function(
        """() => {
          const boxes = [...document.querySelectorAll("#photo, #result *")].map(each => each.getBoundingClientRect());
          const former = window.formerPlaces;
          window.formerPlaces = JSON.stringify(boxes);
          return former === window.formerPlaces && [...document.images].every(image => image.complete);
        }""",
        polling=1000,
    )


@needs_fake
def test_axe_finds_nothing_in_any_state(visit, form_url, photos):
    page = visit(f"{form_url}/?__theme=dark", 390)
    found = []
    for state in states(page, photos / "red.png"):
        settle(page)
        styles = state == "what would change it"  # the last, where all of them are there
        found += [f"{state}: {one}" for one in findings(page, styles).splitlines()]
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, state
    assert found == [] and styles


@pytest.mark.parametrize(("width", "dark"), [(390, False), (768, False), (1440, True), (2560, False)])
def test_at_any_width_axe_finds_nothing_and_a_new_question_or_word_moves_nothing(visit, page_url, photos, width, dark):
    page = visit(page_url + ("/?__theme=dark" if dark else ""), width)
    assert findings(page) == ""
    upload(page, photos / "red.png")
    ask(page, "What color is it?")
    page.locator("#overlay .map img").wait_for()
    page.wait_for_function("sessionStorage.getItem('valm-visit')")
    wait_for_evidence(page)  # the last that an answer sets going
    wait_until_still(page)
    page.evaluate(
        "() => { window.jumps = 0; new PerformanceObserver(list => list.getEntries().forEach(entry => {"
        " window.jumps += entry.value; })).observe({type: 'layout-shift'}); }"
    )
    page.locator("#words button", has_text="color").click()
    page.locator("#words button[aria-pressed=true]", has_text="color").wait_for()
    page.locator(".cell").nth(3).hover()
    page.wait_for_timeout(500)
    assert page.evaluate("window.jumps") < 0.01
    ask(page, "Is it blue?")
    page.locator("#words button", has_text="blue?").wait_for()
    page.wait_for_timeout(1000)
    assert page.evaluate("window.jumps") < 0.1  # "good" for the Web Vitals' cumulative layout shift; history appears

    page.locator("#words button").nth(2).click()
    page.locator("#words button[aria-pressed=true]", has_text="it").wait_for()
    ask(page, "why " * 200)
    page.locator("#notice .notice").wait_for()
    open_everything(page)  # last: gradio's editor draws its canvas without end
    assert page.locator("#notice .notice").is_visible()
    assert findings(page) == ""
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_mouse_over_a_word_or_a_place_previews_it_without_the_server(visit, page_url, photos):
    page = visit(page_url)
    upload(page, photos / "red.png")
    ask(page, "What color is the bus?")
    page.locator("#overlay .map img").wait_for()
    page.wait_for_function("sessionStorage.getItem('valm-visit')")
    wait_for_evidence(page)  # the last that an answer sets going
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    shares = (
        "(place) => [...document.querySelectorAll(place + ' [data-item]')]"
        ".map(item => Number(item.style.getPropertyValue('--share')))"
    )
    word = page.locator("#words button", has_text="bus?")
    word.hover()
    page.locator(".cells.preview").wait_for()
    expected = [int(share) / 100 for share in word.get_attribute("data-shares").split(",")]
    assert max(expected) == 1
    assert page.evaluate(PREVIEWED) == pytest.approx([255 * 0.825 * share for share in expected], abs=1)
    cell = page.locator(".cell").nth(5)
    cell.hover()
    page.locator(".words.preview").wait_for()
    assert page.locator(".cells.preview").count() == 0
    expected = [int(share) / 100 for share in cell.get_attribute("data-shares").split(",")]
    assert page.evaluate(shares, "#words") == [0, *expected] and max(expected) == 1
    page.locator("#words button").first.hover()  # the whole question is selected: its map is there already
    page.wait_for_function("!document.querySelector('.preview')")
    page.locator("#words button").first.focus()
    page.keyboard.press("ArrowRight")
    page.locator(".cells.preview").wait_for()
    assert asked == []
    page.keyboard.press("Space")
    page.locator("#words button[aria-pressed=true]", has_text="What").wait_for()
    assert page.locator(".preview").count() == 0
