"""An open vision-language model on the page: a tiny checkpoint in SmolVLM's real format, from a folder."""

import re

import pytest
from page_steps import ask, upload, wait_for_evidence
from served_page import served
from tiny_vision_language import build_tiny

from valm_core.loading import load_predictor


@pytest.fixture(scope="module")
def open_model_url(tmp_path_factory):
    """The address of a page around a tiny SmolVLM."""
    predictor = load_predictor(build_tiny("smolvlm", tmp_path_factory.mktemp("open") / "smolvlm"), "cpu")
    with served(predictor) as url:
        yield url


def test_a_question_is_answered_and_a_word_changes_the_map(visit, open_model_url, photos):
    page = visit(open_model_url)
    upload(page, photos / "red.png")
    page.locator("#question textarea, #question input").first.fill("what color is the photo?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#words button").first.wait_for()
    words = page.locator("#words button").all_inner_texts()
    assert words[1:6] == ["what", "color", "is", "the", "photo?"]
    assert any(word.startswith("→ ") for word in words[6:])  # the answer's words are there, too
    wait_for_evidence(page)
    page.locator("#details > button").click()
    evidence = page.locator("#evidence").inner_text()
    assert "not calibrated" in evidence and "measured on another model" in evidence
    assert page.locator("#sentence h2").inner_text().startswith("It says ")  # not "very likely": nobody calibrated it
    assert page.locator("#evidence .gate").count() == 0
    before = page.locator("#overlay").inner_html()
    page.locator("#words button", has_text="color").click()
    page.wait_for_function("before => document.querySelector('#overlay').innerHTML !== before", arg=before)
    page.locator("#words button[aria-pressed=true]", has_text="color").wait_for()
    page.get_by_role("button", name="What if …").click()
    assert page.get_by_text("attention heads of this kind of model can’t be switched off").is_visible()
    assert not page.locator("#heads-off").is_visible()


def test_a_longer_answer_comes_word_by_word_and_each_word_has_its_map(visit, open_model_url, photos, monkeypatch):
    monkeypatch.setattr("valm_core.vision_language.answers.MAX_TEXT_TOKENS", 40)
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)
    page = visit(open_model_url)
    upload(page, photos / "red.png")
    page.locator("#prompt-box > button").click()
    page.get_by_role("button", name="Longer answers").click()
    page.wait_for_function("() => !document.querySelector('#prompt textarea').value.includes('one word')")
    page.evaluate(
        """() => { window.told = []; new MutationObserver(() => {
          const text = document.querySelector("#writing .writing")?.innerText;
          if (text && text !== window.told.at(-1)) window.told.push(text);
        }).observe(document.body, {subtree: true, childList: true, characterData: true}); }"""
    )
    page.locator("#question textarea, #question input").first.fill("what is it?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#sentence h2.long").wait_for()
    assert len(page.evaluate("() => window.told")) > 1
    assert page.locator("#writing .writing").count() == 0
    text = page.locator("#sentence h2.long").inner_text()
    words = page.locator("#words button").all_inner_texts()[1:]
    assert words[:3] == ["what", "is", "it?"] and len(words) == 3 + len(text.split())
    before = page.locator("#overlay").inner_html()
    page.locator("#words button").last.click()
    page.wait_for_function("before => document.querySelector('#overlay').innerHTML !== before", arg=before)
    page.get_by_role("button", name="Short answers").click()
    page.wait_for_function("() => document.querySelector('#prompt textarea').value.includes('one word')")


def test_a_prompt_without_its_places_is_refused_in_words(visit, open_model_url, photos):
    page = visit(open_model_url)
    upload(page, photos / "red.png")
    page.locator("#prompt-box > button").click()
    page.locator("#prompt textarea").fill("Look at it.")
    page.locator("#question textarea, #question input").first.fill("what is it?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#notice", has_text="A prompt needs {image}").wait_for()


def test_a_links_prompt_asks_and_stands_in_its_box(visit, open_model_url, monkeypatch):
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)
    page = visit(open_model_url + "/?photo=coffee&question=What+is+in+the+cup%3F&prompt=%7Bimage%7D%7Bquestion%7D")
    box = page.locator("#prompt textarea")
    box.wait_for()  # in a box that was opened for it
    page.wait_for_function("() => document.querySelector('#prompt textarea').value === '{image}{question}'")
    page.locator("#sentence h2.long").wait_for()
    assert page.locator("#question textarea, #question input").first.input_value() == "What is in the cup?"
    page.locator("#details > button").click()
    page.get_by_text("Checked is the map of the whole question only").wait_for()


def test_files_earlier_questions_a_reload_and_painting_work_as_with_the_shipped_model(
    visit, open_model_url, photos, monkeypatch, tmp_path
):
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)
    page = visit(open_model_url)
    upload(page, photos / "red.png")
    ask(page, "what color is the photo?")
    page.locator("#words button", has_text="color").wait_for()
    first = page.locator("#answers").inner_text()
    ask(page, "how many dogs?")
    page.locator("#words button", has_text="dogs?").wait_for()
    page.locator("#history .asked", has_text="what color").click()
    page.locator("#words button", has_text="color").wait_for()
    assert page.locator("#answers").inner_text() == first

    page.locator("#keep > button").click()
    with page.expect_download() as started:
        page.locator("#download-report").click()
    started.value.save_as(tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "what color is the photo?" in report and "smolvlm" in report
    assert not re.search(r"(src|href)=.?http", report)  # one file, whole without the net

    page.get_by_role("button", name="What if …").click()
    canvas = page.locator("#painted canvas").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 40, middle[1], steps=5)
    page.mouse.up()
    page.locator("#ask-again").click()
    page.locator("#what-if-outcome", has_text="painted").wait_for()

    page.reload()
    page.locator("#words button", has_text="color").wait_for()
    assert page.locator("#answers").inner_text() == first
