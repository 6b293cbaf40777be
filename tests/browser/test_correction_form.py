"""The form for corrections in a real browser: sent twice, refused without consent, and when the disk makes trouble."""

import sqlite3
import urllib.error
import urllib.request

import pytest

from demo.panels import correct
from valm_core.corrections.database import read_corrections

CONNECT = sqlite3.connect


@pytest.fixture
def database(corrections_database):
    return corrections_database


@pytest.fixture
def form(visit, form_url):
    """The page with an answered question and the form open."""
    page = visit(form_url)
    page.locator(".example-card").first.click()
    page.get_by_role("button", name="Correct me").click()
    page.locator("#correct-about", has_text="What animal is this?").wait_for()
    return page


def answer_box(page):
    return page.locator("#right-answer textarea, #right-answer input")


def about(page) -> str:
    """What the page says of itself."""
    page.locator("#about > button").click()
    page.locator(".page-footer").wait_for()
    return page.locator(".page-footer").inner_text()


def send(page, answer: str, consent: bool = True) -> None:
    answer_box(page).fill(answer)
    page.locator("#agree input").set_checked(consent)
    page.locator("#send-correction").click()


def notice(page, text: str) -> None:
    page.locator("#correct-outcome .notice", has_text=text).wait_for()


def test_a_correction_is_confirmed_and_stored_out_of_reach_and_the_form_is_empty_afterwards(form, form_url, database):
    send(form, "tabby cat", consent=False)
    notice(form, "tick the box")
    assert answer_box(form).input_value() == "tabby cat" and not database.exists()
    form.locator("#agree input").check()
    form.locator("#send-correction").dblclick()
    thanks = form.locator("#correct-outcome .thanks")
    thanks.get_by_text("your correction is stored").wait_for()
    stored = list(read_corrections(database))
    assert [row.right_answer for row in stored] == ["tabby cat"]
    assert stored[0].photo[: correct.RECEIPT_CHARACTERS] in thanks.inner_text()
    form.wait_for_function("document.querySelector('#right-answer textarea, #right-answer input').value === ''")
    assert not form.locator("#agree input").is_checked()
    form.locator("#send-correction").click()  # the late half of a slow double click
    form.wait_for_timeout(500)
    assert thanks.is_visible()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{form_url}/gradio_api/file={database}")
    assert caught.value.code in (403, 404)


def test_an_answer_is_suggested_and_another_question_brings_an_empty_form(form):
    suggestion = form.locator("#right-suggestions button").nth(1)
    text = suggestion.inner_text()
    assert text in form.locator("#answers").inner_text()
    suggestion.click()
    form.wait_for_function(f"document.querySelector('#right-answer textarea, #right-answer input').value === '{text}'")
    form.locator("#agree input").check()
    question = form.locator("#question textarea, #question input")
    question.fill("too long " * 20)
    question.press("Enter")
    form.locator("#notice .notice").wait_for()  # refused: the old answer stays, and what was typed about it
    form.wait_for_timeout(300)
    assert answer_box(form).input_value() == text and form.locator("#agree input").is_checked()
    question.fill("Is it a dog?")
    question.press("Enter")
    form.locator("#correct-about", has_text="Is it a dog?").wait_for()
    assert answer_box(form).input_value() == "" and not form.locator("#agree input").is_checked()


def changed(pragma: str):
    """A ``sqlite3.connect`` whose connections are under a pragma."""

    def connect(*arguments, **options):
        connection = CONNECT(*arguments, **options)
        connection.execute(f"PRAGMA {pragma}")
        return connection

    return connect


def test_trouble_with_the_database_is_told_and_the_text_is_kept(form, database, monkeypatch):
    send(form, "something")  # the tables are there from now on
    form.locator("#correct-outcome .thanks").wait_for()
    before = len(list(read_corrections(database)))
    form.locator(".example-card").nth(3).click()  # a photo that isn't stored yet, so that it needs room
    form.locator("#correct-about", has_not_text="What animal is this?").get_by_text("the model says").wait_for()
    for pragma, message in (("query_only = ON", "database is read-only"), ("max_page_count = 1", "the disk is full")):
        with monkeypatch.context() as patch:
            patch.setattr("valm_core.corrections.database.sqlite3.connect", changed(pragma))
            send(form, "a lynx")
            notice(form, message)
        assert answer_box(form).input_value() == "a lynx" and form.locator("#agree input").is_checked()
        assert str(database.parent) not in form.locator("#correct-outcome").inner_text()
        assert len(list(read_corrections(database))) == before

    monkeypatch.setattr("valm_core.corrections.database.LOCK_SECONDS", 0.05)
    other = CONNECT(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        send(form, "leopard")
        notice(form, "another program is writing")
        assert answer_box(form).input_value() == "leopard"
    finally:
        other.execute("ROLLBACK")
        other.close()
    form.locator("#send-correction").click()  # the next try succeeds
    form.locator("#correct-outcome .thanks", has_text="leopard").wait_for()


def test_without_a_setting_there_is_no_form(visit, page_url):
    page = visit(page_url)
    page.locator(".example-card").first.click()
    page.locator(".answers").wait_for()
    assert page.locator("#correct").count() == 0
    assert "agree to keep" not in about(page)


def test_the_form_fits_a_phone(visit, form_url):
    page = visit(form_url, 390, 844)
    page.locator(".example-card").first.click()
    page.get_by_role("button", name="Correct me").click()
    page.locator("#right-suggestions button").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert "agree to keep" in about(page)
