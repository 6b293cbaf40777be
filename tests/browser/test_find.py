"""The page "Find" in a browser: words find photos, a photo is chosen, a word shows where it fits."""

import pytest
from page_steps import findings, wait_in_view
from served_page import served

from demo.finding.collection import Collection


@pytest.fixture(scope="module")
def find_url(tiny_finder, photos, predictor, tmp_path_factory):
    """The address of a page with a collection of two photos and three files that are none."""
    collection = Collection(photos, tiny_finder, tmp_path_factory.mktemp("index") / "index")
    collection.update()
    with served(predictor, collection=collection) as url:
        yield url


def test_words_find_photos_and_a_word_shows_where_it_fits(visit, find_url):
    page = visit(f"{find_url}/find", 390, 844, ask_button="Find")
    page.locator("#find-words textarea, #find-words input").fill("a red square")
    page.keyboard.press("Enter")
    page.locator(".found").nth(1).wait_for()
    assert page.locator(".found").count() == 2
    page.locator(".found").nth(1).click()
    page.locator(".found").nth(1).and_(page.locator("[aria-current=true]")).wait_for()
    assert page.locator("#subject").inner_text() == "Photo 2 of 2"
    wait_in_view(page, "#overlay", -1, 845)  # it lies below those found
    before = page.locator("#overlay .map img").get_attribute("src")
    page.locator("#words button", has_text="red").click()
    page.locator("#words button[aria-pressed=true]", has_text="red").wait_for()
    page.wait_for_function("old => document.querySelector('#overlay .map img')?.src !== old", arg=before)
    assert findings(page) == ""


def test_the_two_pages_lead_to_each_other(visit, find_url):
    page = visit(find_url)
    page.get_by_role("link", name="Find").or_(page.get_by_role("button", name="Find")).first.click()
    page.locator("#find-words").wait_for()
    # Gradio tells of the requests that the way to the other page cut off.
    visit.problems[:] = [one for one in visit.problems if "AbortError" not in one and "Connection errored" not in one]
