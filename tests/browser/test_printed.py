"""A printed page on the first page, in a browser: read in place of the warning; an ordinary photo is not read."""

import dataclasses

import pytest
from fake_predictor import FakePredictor
from page_steps import ask, findings, upload
from planted_reader import PlantedReader
from served_page import served

from valm_core.inputs.ocr import OcrMissing


class DoubtingPredictor(FakePredictor):
    """Finds every photo unfamiliar that isn't mainly red."""

    def answer(self, image, question, top=5):
        """As the fake predictor, with what is unfamiliar."""
        red, _, blue = image.tokens[0].mean(dim=0).tolist()
        usual = super().answer(image, question, top)
        return usual if red > blue else dataclasses.replace(usual, unfamiliar=("photo",))


@pytest.fixture(scope="module")
def reader():
    """What reads on the page of ``printed_url``."""
    return PlantedReader()


@pytest.fixture(scope="module")
def printed_url(reader):
    """The address of a page with a reader, to which blue photos are unfamiliar."""
    with served(DoubtingPredictor(), more=reader) as url:
        yield url


def test_a_page_is_read_for_each_question_and_a_photo_is_not(visit, printed_url, reader, photos):
    page = visit(printed_url)
    upload(page, photos / "red.png")
    ask(page, "Is it a bus?")
    page.locator("#result .answers").first.wait_for()
    # Gradio counts the seconds there for a moment.
    page.wait_for_function("document.querySelector('#printed').innerText.trim() === ''")
    assert reader.opened == 0
    upload(page, photos / "blue.png")
    page.locator("#result").wait_for(state="detached")
    ask(page, "What is the total on the receipt?")
    page.locator("#printed h2", has_text="60.30").wait_for()
    page.get_by_text("From here on the model for photos speaks").wait_for()
    assert page.get_by_text("Few photos it learned from").count() == 0
    assert page.locator("#printed img").get_attribute("alt") == "The page, with a frame around “60.30”"
    page.locator("#suggestions button", has_text="What is the address on the receipt?").click()
    page.locator("#announcement", has_text="address").wait_for()
    page.locator("#printed h2", has_text="60.30").wait_for()
    page.locator("#announcement", has_text="Read on the page: 60.30").wait_for()
    assert findings(page) == ""
    assert reader.opened == 1 and reader.asked[0] == "What is the total on the receipt?"
    page.locator("#history button", has_text="total").click()  # what was read comes back without the reader
    page.locator("#announcement", has_text="total").wait_for()
    page.locator("#printed h2", has_text="60.30").wait_for()
    assert len(reader.asked) == 2


def test_without_ocr_the_warning_stays_and_says_what_to_install_in_chinese_too(visit, photos):
    with served(DoubtingPredictor(), more=PlantedReader(fault=OcrMissing("none"))) as url:
        page = visit(url, locale="zh-CN", ask_button="提问")
        upload(page, photos / "blue.png")
        ask(page, "What is the total?")
        page.locator("#printed", has_text=".venv/bin/pip install -e '.[read]'").wait_for()
        page.get_by_text("模型学过的照片很少与此相似").wait_for()
