"""A visit in a real browser: back to earlier questions and photos, links, files, and the page in two languages."""

import json
import re

import pytest
from page_steps import ask, needs_fake, notice, overlay_source, upload, wait_for_evidence, wait_for_new_overlay
from PIL import Image

SEEN = """() => document.title + document.body.innerText
  + [...document.querySelectorAll("[aria-label]")].map((one) => one.ariaLabel).join()"""
CHINESE_BROWSER = {"locale": "zh-CN"}
# What stays English on the Chinese page: names, examples of questions and answers, and what the model itself says.
STAYS_ENGLISH = re.compile(r"VALM|API|grad cam|PNG|JSON|HTML|Tab|Shift|What is in the photo\?|cat, dog, rabbit")

# gradio writes these names of its own icons in English, whatever the browser's language. The last one is a message for
# screen readers after an event, whose text in Chinese it lacks: it stands there as its key for a moment.
GRADIOS_OWN = """
Fullscreen|Remove Image|File upload|Upload file|Capture from camera|Paste from clipboard|Click to upload or drop files
Pan|Zoom in|Zoom out|undo|Redo|Clear canvas|Brush|Erase|Color|Brush Size
common.complete
""".strip().replace("\n", "|")


def wait_for_word(page, word):
    page.locator("#words button", has_text=word).wait_for()


def download(page, button):
    with page.expect_download() as started:
        button.click()
    return started.value


@needs_fake
def test_earlier_questions_and_photos_come_back_without_the_model(visit, page_url, photos, predictor):
    page = visit(page_url)
    upload(page, photos / "red.png")
    ask(page, "What color is it?")
    wait_for_word(page, "color")
    wait_for_evidence(page)
    assert page.locator("#history .asked").count() == 0  # one question needs no list
    first = page.locator("#answers").inner_text()
    ask(page, "How many people?")
    wait_for_word(page, "people?")
    wait_for_evidence(page)
    page.locator("#history .asked").nth(1).wait_for()
    upload(page, photos / "blue.png")
    page.locator("#result").wait_for(state="hidden")
    ask(page, "Is it night?")
    wait_for_word(page, "night?")
    wait_for_evidence(page)
    page.locator(".kept-photo").nth(1).wait_for()
    assert page.locator("#history .asked").count() == 0
    calls = dict(predictor.calls)

    page.locator(".kept-photo").nth(0).click()
    wait_for_word(page, "people?")
    assert page.locator("#question textarea, #question input").input_value() == "How many people?"
    page.locator("#history .asked", has_text="What color is it?").click()
    wait_for_word(page, "color")
    assert page.locator("#answers").inner_text() == first
    page.locator("#history .asked[aria-current=true]", has_text="What color").wait_for()
    assert predictor.calls == calls
    source = overlay_source(page)
    page.locator("#words button", has_text="color").click()
    wait_for_new_overlay(page, source)
    ask(page, "Is it a bus?")  # the photo that came back is still encoded
    wait_for_word(page, "bus?")
    assert predictor.calls["encode"] == calls["encode"]
    page.locator("#history .asked").nth(2).wait_for()


@needs_fake
def test_a_follow_up_is_shown_as_asked_and_can_be_asked_exactly(visit, page_url, photos):
    page = visit(page_url, width=390, height=844)
    upload(page, photos / "red.png")
    page.locator("#suggestions button", has_text="What color is the bus?").wait_for()  # made for this photo
    ask(page, "What color is the dog?")
    wait_for_word(page, "dog?")
    ask(page, "What is it doing?")
    wait_for_word(page, "doing?")
    assert page.locator("#asked-as strong").inner_text() == "What is the dog doing?"
    exactly = page.locator("#asked-as button")
    assert exactly.inner_text() == "Ask exactly “What is it doing?”" and exactly.bounding_box()["height"] >= 44
    exactly.click()
    wait_for_word(page, "it")
    page.locator("#asked-as button").wait_for(state="detached")
    page.locator("#history .asked", has_text="What is it doing?").wait_for()  # a click meanwhile is lost
    page.locator("#history .asked", has_text="What is the dog doing?").click()
    page.locator("#asked-as button").wait_for()  # the way back shows it again
    ask(page, "describe this picture")
    assert "can’t describe a whole photo" in notice(page).inner_text()


def test_a_link_to_an_example_opens_as_it_was(visit, page_url):
    page = visit(page_url)
    page.locator(".example-card").nth(1).click()
    wait_for_word(page, "cup?")
    page.locator("#suggestions button").nth(1).click()
    wait_for_word(page, "saucer?")
    source = overlay_source(page)
    page.locator("#words button", has_text="saucer?").click()
    wait_for_new_overlay(page, source)
    page.locator("#keep > button").click()
    page.locator("#make-link").click()
    link = page.locator("#link textarea, #link input")
    link.wait_for()
    page.wait_for_function("document.querySelector('#link textarea, #link input').value.startsWith('http')")
    assert link.input_value() == f"{page_url}/?photo=coffee&question=What+color+is+the+saucer%3F&words=5"

    other = visit(link.input_value() + "&method=occlusion&head=99&direction=up&__theme=dark")
    other.locator("#words button[aria-pressed=true]", has_text="saucer?").wait_for()
    assert other.locator("#photo img").is_visible()
    assert other.locator("#question textarea, #question input").input_value() == "What color is the saucer?"
    assert "occlusion" in other.locator("#subject").inner_text()
    assert notice(other).inner_text().endswith("direction, head.")


def test_a_link_to_nothing_is_told_a_link_for_an_own_photo_refused_and_files_are_made(
    visit, page_url, photos, tmp_path
):
    page = visit(page_url + "/?photo=%2Fetc%2Fpasswd&question=What%3F")
    notice(page).wait_for()
    assert "names no example" in notice(page).inner_text() and page.locator("#empty").is_visible()
    upload(page, photos / "red.png")
    ask(page, "What color is it?")
    wait_for_word(page, "color")
    page.locator("#keep > button").click()
    page.locator("#make-link").click()
    page.locator("#keep-message .notice", has_text="can’t carry a photo of your own").wait_for()
    assert page.locator("#link").is_hidden()

    found = download(page, page.locator("#download-map"))
    assert found.suggested_filename == "valm-what-color-is-it-map.png"
    found.save_as(tmp_path / "map.png")
    assert Image.open(tmp_path / "map.png").size == (1200, 900)
    download(page, page.locator("#download-json")).save_as(tmp_path / "data.json")
    assert json.loads((tmp_path / "data.json").read_text())["question"] == "What color is it?"
    download(page, page.locator("#download-figure")).save_as(tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").width > 2000
    download(page, page.locator("#download-report")).save_as(tmp_path / "report.html")

    report = page.context.new_page()
    requests = []
    report.on("request", lambda request: requests.append(request.url))
    report.goto((tmp_path / "report.html").as_uri())
    assert report.locator("img").count() == 6
    assert report.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    report.close()


def test_the_map_can_be_seen_large_and_still_be_picked_from(visit, page_url, photos):
    page = visit(page_url)
    upload(page, photos / "red.png")
    ask(page, "What color is it?")
    page.locator("#overlay .map img").wait_for()
    page.locator("#enlarge").click()
    page.wait_for_function("document.fullscreenElement?.id === 'stage'")
    page.locator(".cell").nth(3).click()
    page.locator(".cell[aria-selected=true]").wait_for()
    source = overlay_source(page)
    page.locator("#words button", has_text="color").click()  # words and bar are there too
    wait_for_new_overlay(page, source)
    assert page.locator("#colour-bar").is_visible()
    assert page.evaluate("document.fullscreenElement.id") == "stage"
    page.locator("#close-large").click()
    page.wait_for_function("!document.fullscreenElement && !document.querySelector('.large')")
    page.wait_for_function("document.activeElement.id === 'enlarge'")
    page.evaluate("Element.prototype.requestFullscreen = undefined")  # as on many phones: the window must do
    page.locator("#enlarge").click()
    box = page.locator("#stage").bounding_box()
    assert (box["x"], box["y"], box["width"]) == (0, 0, 1280)
    page.keyboard.press("Escape")
    page.locator("#close-large").wait_for(state="hidden")


def visible_texts(page) -> list[str]:
    """Every text and accessible name on the page, panels opened or not; the model's own words left out."""
    return page.evaluate(
        """() => {
          const own = ".answer-text, .asked, .word, #suggestions, .verdict, strong, #explained, #words-off";
          const found = [];
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) {
            const parent = walker.currentNode.parentElement;
            if (!parent.closest("script, style, " + own)) found.push(walker.currentNode.textContent.trim());
          }
          for (const element of document.querySelectorAll("[aria-label], [placeholder], [alt], [title]"))
            if (!element.closest(own))
              for (const name of ["aria-label", "placeholder", "alt", "title"])
                found.push((element.getAttribute(name) ?? "").trim());
          return [...new Set(found)].filter(Boolean);
        }"""
    )


def test_a_chinese_browser_gets_a_chinese_page_without_english_leftovers(visit, page_url):
    page = visit(page_url, ask_button="提问", **CHINESE_BROWSER)
    assert page.locator("#empty").inner_text().startswith("答案将显示在这里")
    assert page.title() == "VALM – 向照片提问，看清缘由"
    ask(page, "")
    assert "照片" in notice(page).inner_text()
    page.locator(".example-card").nth(1).click()
    wait_for_word(page, "cup?")
    page.locator("#suggestions button").nth(1).click()
    page.locator("#history .asked").nth(1).wait_for()
    for panel in ("#details", "#heads", "#what-if", "#compare", "#keep", "#about"):
        page.locator(f"{panel} > button").click()
    page.locator("#words button").first.wait_for()
    assert page.locator("#words button").first.inner_text() == "整个问题"
    texts = [
        text
        for text in visible_texts(page)
        if text not in GRADIOS_OWN.split("|") and not re.search("[\u4e00-\u9fff]", text)
    ]
    leftovers = [text for text in texts if re.search("[A-Za-z]{3,}", STAYS_ENGLISH.sub("", text))]
    assert leftovers == []
    ask(page, "这是什么?")
    page.locator(".doubt", has_text="英文").wait_for()


@needs_fake
def test_the_form_for_corrections_tells_its_terms_in_chinese(visit, form_url):
    page = visit(form_url, ask_button="提问", **CHINESE_BROWSER)
    page.locator(".example-card").nth(0).click()
    page.locator("#correct > button", has_text="请纠正").click()
    page.locator("#correct .terms li", has_text="保留内容：").wait_for()
    assert "Kept" not in page.locator("#correct").inner_text() and page.locator("#agree").inner_text().startswith(
        "我同意"
    )
    page.locator("#right-answer textarea, #right-answer input").fill("cat")
    page.locator("#send-correction").click()
    page.locator("#correct-outcome .notice", has_text="请勾选").wait_for()


def test_an_english_browser_gets_an_english_page_and_doubt_about_other_languages(visit, page_url):
    page = visit(page_url, locale="en-GB")
    page.locator(".example-card").nth(1).click()
    wait_for_word(page, "cup?")
    assert [text for text in visible_texts(page) if re.search(r"[\u4e00-\u9fff]|__i18n__", text)] == []
    assert page.locator(".doubt").count() == 0
    ask(page, "Was ist das für ein Tier?")
    page.locator(".doubt", has_text="trained on English questions").wait_for()
    assert page.locator(".answers li").count() == 5


def test_a_browser_of_a_third_language_gets_english_alone(visit, page_url):
    page = visit(page_url, locale="de-DE")
    page.wait_for_function("document.documentElement.lang === 'de'")
    page.locator("#photo [aria-label]").first.wait_for(state="attached")
    seen = page.evaluate(SEEN)
    assert "Ask a photo" in seen and re.findall(r"[\u4e00-\u9fff]+", seen.replace("中文", "")) == []


@pytest.mark.parametrize("width", [390])
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_the_new_parts_need_no_sideways_scroll_on_a_phone(visit, page_url, width, locale):
    page = visit(page_url, width, 844, locale=locale, ask_button="提问" if locale == "zh-CN" else "Ask")
    for number in (0, 1):
        page.locator(".example-card").nth(number).click()
        # Remembered, not only shown: the photo before stands in the strip as soon as the next one is chosen, and a
        # question asked before this one's answer came would take its place.
        page.locator(".kept-photo").nth(1).wait_for() if number else page.locator(".answers").wait_for()
    page.locator("#suggestions button").nth(1).click()
    page.locator("#history .asked").nth(1).wait_for()
    page.locator("#keep > button").click()
    page.locator("#make-link").click()
    page.locator("#link textarea, #link input").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
