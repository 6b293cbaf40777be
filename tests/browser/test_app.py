"""`python app.py` with the shipped model, in a real browser: the whole way from a photo to a word's map."""

from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


def test_the_shipped_model_answers_and_shows_where_each_word_looked(visit, app_url):
    page = visit(app_url)
    page.locator("#photo input[type=file]").set_input_files(EXAMPLES / "cat.jpg")
    page.locator("#photo img").wait_for()
    page.locator("#question textarea, #question input").fill("What animal is this?")
    page.keyboard.press("Enter")
    page.locator("#answers .answers li").first.wait_for()
    assert page.locator("#answers .answers li").first.inner_text().startswith("cat")
    assert page.locator("#answers .answers li").count() == 5

    overlay = page.locator("#overlay .map img")
    whole_question = overlay.get_attribute("src")
    page.locator("#words button", has_text="animal").click()
    page.wait_for_function("old => document.querySelector('#overlay .map img').src !== old", arg=whole_question)
    assert "animal" in overlay.get_attribute("alt")
