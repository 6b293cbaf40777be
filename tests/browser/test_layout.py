"""What stands where at four widths, measured in the browser, and what a finger can do."""

import pytest
from page_states import settle
from page_steps import ask, findings, needs_fake, open_unloaded, upload, wait_in_view
from patience import PATIENCE

SIZES = {390: 844, 768: 1024, 1440: 900, 2560: 1440}
FINGER = 44  # pixels that a target has at least, each way
SMALL_TARGETS = """least => {
  const seen = element => element.checkVisibility({visibilityProperty: true}) && element.offsetWidth > 2;
  const target = element => element.matches("input") ? element.closest("label") ?? element : element;
  return [...document.querySelectorAll("button:not(.cell), a, input, summary")]
    .filter(element => seen(element) && element.type !== "file").map(target)
    .filter(element => Math.min(element.offsetWidth, element.offsetHeight) < least)
    .map(element => `${element.outerHTML.slice(0, 120)} ${element.offsetWidth} x ${element.offsetHeight}`);
}"""


def box(page, place: str) -> dict:
    """Where the first such element is on the screen: left, top, right, bottom, in pixels."""
    return page.locator(place).first.evaluate(
        "element => { const {left, top, right, bottom} = element.getBoundingClientRect();"
        " return {left, top, right, bottom}; }"
    )


@pytest.mark.parametrize("width", SIZES)
def test_the_answer_its_bars_and_the_whole_map_are_one_look(visit, page_url, photos, width):
    height = SIZES[width]
    page = visit(page_url, width, height)
    upload(page, photos / "red.png")
    ask(page, "What color is the bus?")
    page.locator("#overlay .map img").wait_for()
    page.locator(".sentence a").nth(2).wait_for()
    beside = width >= 1000
    if not beside:
        wait_in_view(page, ".answers", 0, height)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sentence, bars, words, shown = (box(page, place) for place in (".sentence", ".answers", "#words", "#overlay .map"))
    assert bars["right"] - bars["left"] <= 700
    whole = box(page, ".gradio-container")
    assert whole["right"] - whole["left"] == min(width, 2400)  # whatever the texts in it are
    if beside:  # all in the first screen, which was not scrolled, beside a column that stays in view
        assert page.evaluate("scrollY") == 0
        for part in (sentence, bars, words, shown):
            assert part["top"] >= 0 and part["bottom"] <= height
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        assert 0 <= box(page, "#photo")["top"] < 100 and box(page, "#question")["bottom"] <= height
        used = box(page, "#result-column")["right"] - box(page, "#ask-column")["left"]
        assert used >= min(width - 80, 2300)
    else:  # one column, none of it empty
        assert box(page, "#result-column")["right"] - box(page, "#result-column")["left"] >= width - 40
        assert box(page, "#ask-column")["bottom"] <= box(page, "#result")["top"]
    if width == 390:
        page.locator("#overlay .map").evaluate(
            "map => scrollTo(0, scrollY + map.getBoundingClientRect().bottom - innerHeight)"
        )
        words, shown = box(page, "#words"), box(page, "#overlay .map")
        assert words["top"] >= 0 and words["bottom"] <= shown["top"] and shown["bottom"] <= height + 1
        page.locator("#overlay .map").evaluate("map => scrollTo(0, scrollY + map.getBoundingClientRect().top - 60)")
        assert 0 <= box(page, "#words")["top"] < 10  # they stay when the map is scrolled under them
        assert page.locator("#photo").bounding_box()["height"] <= 80  # the map is the photo
        assert page.evaluate("document.documentElement.scrollHeight") < 3000
    if width >= 768:
        page.locator("#view label", has_text="Side by side").click()
        page.locator("#overlay .map").nth(1).wait_for()
        first, second = (page.locator("#overlay .map").nth(place).bounding_box() for place in (0, 1))
        assert first["y"] == second["y"] and second["x"] >= first["x"] + first["width"]
        assert first["width"] > 250


def test_each_part_of_the_sentence_opens_its_evidence(visit, page_url):
    page = visit(page_url, 1440)
    page.locator(".example-card").first.click()
    page.locator(".sentence a").nth(2).wait_for()
    assert page.locator("#evidence").count() == 0 or page.locator("#evidence").is_hidden()
    for place in ("how-sure", "photo-needed", "place-mattered"):
        page.locator(f".sentence a[href='#{place}']").click()
        page.wait_for_function("place => document.activeElement.id === place", arg=place)
        assert 0 <= box(page, f"#{place}")["top"] < 900


def test_who_clicks_elsewhere_meanwhile_stays_there(visit, page_url):
    page = visit(page_url)
    page.evaluate("""() => document.body.insertAdjacentHTML("beforeend", '<a data-details href="#late">Late</a>')""")
    come = """() => document.body.insertAdjacentHTML("beforeend", '<p id="late" tabindex="-1">Here</p>')"""
    page.get_by_role("link", name="Late").click()
    page.locator(".page-header").click()
    page.evaluate(come)
    page.wait_for_timeout(300)  # it is looked for twenty times a second
    assert page.evaluate("document.activeElement.id") != "late"
    page.evaluate("document.querySelector('#late').remove()")
    page.get_by_role("link", name="Late").click()
    page.evaluate(come)
    page.wait_for_function("document.activeElement.id === 'late'")


@needs_fake
def test_evidence_that_is_completed_keeps_the_focus(visit, held_url, held):
    page = visit(held_url, 1440)
    held.weigh_on.clear()
    page.locator(".example-card").first.click()
    page.locator(".sentence a[href='#how-sure']").click()
    page.wait_for_function("document.activeElement.id === 'how-sure'")
    assert page.locator("#place-mattered").count() == 0
    held.weigh_on.set()
    page.locator("#place-mattered").wait_for()
    assert page.evaluate("document.activeElement.id") == "how-sure"


@pytest.fixture
def phone(browser, contexts, page_url, photos):
    """The page on a phone with fingers, with an answer in view; and its line to the browser, for touches."""
    if "phone" not in contexts:
        contexts["phone"] = browser.new_context(
            viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, reduced_motion="reduce"
        )
    page = contexts["phone"].new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(page_url)
    page.locator("#ask").wait_for()
    upload(page, photos / "red.png")
    ask(page, "What color is the bus?")
    wait_in_view(page, "#overlay .map", -1, 845)
    settle(page)
    yield page, contexts["phone"].new_cdp_session(page)
    page.close()


def touch(line, kind: str, *points) -> None:
    line.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})


def middle(page, place: str, number: int = 0) -> tuple[float, float]:
    found = page.locator(place).nth(number).bounding_box()
    return found["x"] + found["width"] / 2, found["y"] + found["height"] / 2


def test_fingers_hit_drag_and_preview(phone):
    page, line = phone
    closed = page.locator(".label-wrap:not(.open)")
    while closed.count():
        closed.first.click()
    page.wait_for_timeout(500)
    assert page.evaluate(SMALL_TARGETS, FINGER) == []
    page.locator("#served").wait_for()
    assert "By keyboard" not in page.locator("#served").inner_text()
    cameras = [
        middle(page, f"#photo .source-selection [aria-label='{name}']")[0]
        for name in ("Capture from camera", "Upload file")
    ]
    assert cameras[0] < cameras[1]

    page.locator("#overlay").scroll_into_view_if_needed()
    scrolled = page.evaluate("scrollY")
    columns = int(page.locator(".cells").get_attribute("data-columns"))
    start, end = middle(page, ".cell", columns + 1), middle(page, ".cell", 3 * columns + 2)
    touch(line, "touchStart", start)
    for step in range(1, 5):
        touch(line, "touchMove", tuple(one + (other - one) * step / 4 for one, other in zip(start, end, strict=True)))
    touch(line, "touchEnd")
    page.locator("#served", has_text="these 6 cells").wait_for()
    assert page.evaluate("scrollY") == scrolled

    touch(line, "touchStart", middle(page, "#words button", 2))
    page.locator(".cells.preview").wait_for()
    touch(line, "touchEnd")
    page.wait_for_function("!document.querySelector('.preview')")
    page.wait_for_timeout(300)
    assert page.locator("#words button[aria-pressed=true]").all_inner_texts() == ["whole question"]  # nothing selected


def test_two_fingers_enlarge_the_map_and_one_still_selects(phone):
    page, line = phone
    page.locator("#overlay").scroll_into_view_if_needed()
    before, (x, y) = page.locator(".cell").first.bounding_box()["width"], middle(page, "#overlay .map")
    touch(line, "touchStart", (x - 20, y), (x + 20, y))
    for step in range(1, 5):
        touch(line, "touchMove", (x - 20 - 10 * step, y), (x + 20 + 10 * step, y))
    touch(line, "touchEnd")
    page.locator(".whole").wait_for()
    assert page.locator(".cell").first.bounding_box()["width"] == pytest.approx(3 * before, rel=0.02)
    assert page.evaluate("visualViewport.scale") == 1 and page.locator(".cell[aria-selected=true]").count() == 0
    page.touchscreen.tap(x + 30, y + 30)
    page.locator("#served", has_text="this cell").wait_for()
    at = page.locator(".cell[aria-selected=true]").bounding_box()  # the one under the finger
    assert at["x"] <= x + 30 <= at["x"] + at["width"] and at["y"] <= y + 30 <= at["y"] + at["height"]
    page.locator(".whole").tap()
    page.locator(".whole").wait_for(state="hidden")
    assert page.locator(".cell").first.bounding_box()["width"] == before
    kept = "place => getComputedStyle(document.querySelector(place)).touchAction"  # elsewhere the page is enlarged
    assert [page.evaluate(kept, place) for place in (".cells", "body", "#words", ".sentence")] == ["none"] + 3 * [
        "auto"
    ]


@pytest.mark.parametrize(("right", "below"), [(0.52, 0.4), (0.02, 0.02), (0.98, 0.98)])
def test_a_tap_selects_what_a_fingertip_covers_and_the_same_once_more_nothing(phone, right, below):
    page, _ = phone
    page.locator("#overlay").scroll_into_view_if_needed()
    frame = page.locator(".cells").bounding_box()
    x, y = frame["x"] + right * frame["width"], frame["y"] + below * frame["height"]
    page.touchscreen.tap(x, y)
    page.locator("#served", has_text="these 4 cells").wait_for()  # each 34 by 32 pixels
    cells = [one.bounding_box() for one in page.locator(".cell[aria-selected=true]").all()]
    for at, place, side in ((x, "x", "width"), (y, "y", "height")):
        first, last = min(one[place] for one in cells), max(one[place] + one[side] for one in cells)
        assert last - first >= FINGER and first <= at <= last
        edge = first == pytest.approx(frame[place], abs=1) or last == pytest.approx(frame[place] + frame[side], abs=1)
        assert edge or min(at - first, last - at) > FINGER / 4  # the finger is amid them
    page.touchscreen.tap(x, y)
    page.wait_for_function("!document.querySelector('.cell[aria-selected=true]')")


def test_the_next_question_on_a_phone_is_two_taps_away_and_its_map_comes_into_view(phone):
    page, _ = phone
    assert page.locator("#examples").is_hidden()  # folded up: the way back is short
    for question in ("Is it day or night?", "How many people?"):
        page.locator("#go-ask").tap()
        page.wait_for_function("document.activeElement.closest('#question')")
        wait_in_view(page, "#question", 0, 420)
        page.keyboard.type(question)  # what was asked before is selected, so it is overwritten
        page.locator("#ask").tap()
        page.locator("#words button", has_text=question.split()[-1]).wait_for()
        for part in (".sentence", "#words", "#overlay .map"):
            wait_in_view(page, part, -1, 845)
        assert page.evaluate("document.documentElement.scrollHeight") < 3000


def test_the_two_ways_on_stand_under_the_map(visit, page_url):
    page = visit(page_url)
    page.locator(".example-card").first.click()
    page.locator("#overlay .map img").wait_for()
    assert page.locator("#painted").count() == 0  # its code is fetched when it is wanted
    assert box(page, "#go-paint")["top"] >= box(page, "#overlay .map")["bottom"]
    page.locator("#go-paint").click()
    page.locator("#painted canvas").first.wait_for()
    page.locator("#go-flip").click()
    page.locator("#what-if-outcome").get_by_text("With 1 of 80 cells hidden").wait_for()
    page.locator("#flip-picture img").wait_for()
    assert page.evaluate("document.activeElement.id") == "flip"


@pytest.fixture
def unloaded(browser, page_url):
    """``unloaded(locale)`` opens the page in a browser where gradio's scripts don't come before its ``come()``."""
    contexts = []

    def open_page(locale="en-US"):
        contexts.append(browser.new_context(locale=locale))
        page = contexts[-1].new_page()
        page.set_default_timeout(1000 * PATIENCE)
        return page, open_unloaded(page, page_url)

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize(("locale", "claim"), [("en-US", "Ask a photo"), ("zh-CN", "向照片")])
def test_something_is_seen_before_gradio_has_come(unloaded, locale, claim):
    page, come = unloaded(locale)
    page.locator("#first-frame", has_text=claim).wait_for()
    page.wait_for_function("performance.getEntriesByType('paint').length > 0")
    assert findings(page) == ""
    come()
    page.locator("#ask").wait_for()
    page.locator("#first-frame").wait_for(state="hidden")


def test_a_photo_and_a_question_given_before_gradio_has_come_are_asked(unloaded, photos):
    page, come = unloaded()
    page.locator("#first-frame input[type=file]").set_input_files(photos / "red.png")
    page.get_by_label("Question").fill("What color is the bus?")
    page.keyboard.press("Enter")
    page.get_by_text("as soon as the page is loaded").wait_for()
    come()
    page.locator("#words button", has_text="bus?").wait_for()
    assert page.locator("#photo img").is_visible() and page.locator("#first-frame").is_hidden()
    assert page.locator("#question textarea, #question input").input_value() == "What color is the bus?"


def test_who_types_before_gradio_has_come_goes_on_typing(unloaded):
    page, come = unloaded()
    page.get_by_label("Question").press_sequentially("What")
    come()
    page.locator("#empty").wait_for(state="attached")
    page.wait_for_timeout(500)
    page.keyboard.type(" color?")  # the field isn't taken away under the fingers
    page.keyboard.press("Tab")
    page.locator("#first-frame").wait_for(state="hidden")
    assert page.locator("#question textarea, #question input").input_value() == "What color?"
