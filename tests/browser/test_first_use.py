"""What annoyed who used the page for the first time: what came out of view, was offered twice, or lay far away."""

import numpy as np
import pytest
from fake_predictor import FakePredictor
from page_steps import ask, needs_fake, upload, wait_in_view
from served_page import served

from valm_core.captions.describing import DescribedWord, Description


class FakeCaptioner:
    """Says one sentence, whatever the photo."""

    def describe(self, photo) -> Description:
        """Six words, each read evenly."""
        words = tuple(DescribedWord(word, 0.5, 0.0, "cannot tell") for word in ("a", "red", "bus", "on", "a", "street"))
        return Description("a red bus on a street.", words, np.full((len(words), 7, 7), 1 / 49))


@pytest.fixture(scope="module")
def describing_url():
    """A page that describes photos."""
    with served(FakePredictor(), captioner=FakeCaptioner()) as url:
        yield url


@needs_fake
def test_compare_offers_what_is_not_on_the_page_and_shows_it_as_large(visit, page_url, photos):
    page = visit(page_url, 1440)
    upload(page, photos / "red.png")
    ask(page, "What color is it?")
    page.locator("#overlay .map img").wait_for()
    page.locator("#details > button").click()
    page.locator("#method input").click()
    page.locator("[role=option][data-value=attention], [role=option]:nth-child(2)").first.click()
    page.locator("#subject .fine-print").wait_for()
    shown = page.locator("#method input").input_value()
    page.locator("#compare > button").click()
    page.locator("#compare-with input").click()
    offered = page.locator("#compare-with [role=option], [role=listbox] [role=option]").all_inner_texts()
    assert offered and shown not in [text.strip().removeprefix("✓").strip() for text in offered]
    page.keyboard.press("Escape")
    page.locator("#compare-button").click()
    page.locator("#compare-pictures img").nth(1).wait_for()
    widths = [page.locator(place).first.bounding_box()["width"] for place in ("#overlay .map", "#compare-pictures img")]
    assert widths[0] == pytest.approx(widths[1], abs=3)
    page.locator("#compare > button").click()
    page.wait_for_function("least => document.querySelector('#overlay .map').clientWidth > least", arg=widths[0] + 40)


@needs_fake
@pytest.mark.parametrize(("width", "height"), [(390, 700), (1440, 900)])
def test_a_description_comes_into_view(visit, describing_url, photos, width, height):
    page = visit(describing_url, width, height)
    upload(page, photos / "red.png")
    ask(page, "What color is it?")
    page.locator("#overlay .map img").wait_for()
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.locator("#question textarea, #question input").evaluate(
        "box => { box.value = 'What is in the photo?'; box.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    page.locator("#ask").dispatch_event("click")
    page.locator(".described").wait_for()
    wait_in_view(page, ".described", 0, height)


@needs_fake
def test_by_keyboard_the_answer_is_two_steps_from_the_question(visit, page_url, photos):
    page = visit(page_url, 1440)
    upload(page, photos / "red.png")
    page.locator("#photo img").wait_for()
    ask(page, "What color is it?")
    page.locator("#overlay .map img").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "To the answer"
    assert page.locator("#skip a").bounding_box()["height"] >= 44
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('.sentence a')")


@needs_fake
def test_on_a_phone_a_refusal_leaves_the_examples_that_it_names_open(visit, page_url):
    page = visit(page_url, 390, 844, fingers=True)
    page.locator("#first-frame").wait_for(state="hidden")
    ask(page, "What color is it?")
    page.locator("#notice .notice").wait_for()
    page.wait_for_timeout(1000)
    assert page.locator(".example-card").first.is_visible()
    page.locator(".example-card").first.click()
    page.locator("#overlay .map img").wait_for()
    page.locator(".example-card").first.wait_for(state="hidden")
