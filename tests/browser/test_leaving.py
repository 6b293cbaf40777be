"""Who leaves, or asks something else, while the model searches for seconds: it stops and is free for others."""

import pytest
from page_steps import ask, upload
from patience import PATIENCE

QUESTION = "What color is it?"


@pytest.fixture
def searching(visit, held_url, photos, held):
    """A page whose model searches what would change the answer, without end."""
    page = visit(held_url)
    upload(page, photos / "red.png")
    ask(page, QUESTION)
    page.locator("#words button", has_text="color").wait_for()
    page.locator("#overlay .map img").wait_for()
    page.locator("#go-flip").click()
    assert held.searching.wait(PATIENCE)
    return page


def test_who_leaves_stops_the_search(searching, held, visit, held_url, photos):
    assert not held.stopped.wait(0.5)  # while the page is open the search goes on
    searching.close()
    assert held.stopped.wait(PATIENCE)
    other = visit(held_url)  # the next visitor finds the model free
    upload(other, photos / "blue.png")
    ask(other, QUESTION)
    other.locator("#words button", has_text="color").wait_for()


def test_another_question_stops_the_search_and_is_answered(searching, held):
    ask(searching, "Is it night?")
    assert held.stopped.wait(PATIENCE)
    searching.locator("#words button", has_text="night?").wait_for()
    assert searching.locator("#what-if-outcome").inner_text() == ""


def test_asking_again_stops_the_search_and_is_answered(searching, held):
    searching.locator("#ask-again").click()
    assert held.stopped.wait(PATIENCE)
    searching.locator("#what-if-outcome .changed").wait_for()


def test_looking_at_the_map_lets_the_search_go_on(searching, held):
    searching.locator("#words button", has_text="color").click()
    searching.locator("#words button[aria-pressed=true]", has_text="color").wait_for()
    assert not held.stopped.wait(1)
