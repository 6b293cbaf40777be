"""Words of captions: base forms and what counts as content."""

import pytest

from training.datasets.word_forms import FUNCTION_WORDS, base_form, content_words, words_of


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("dogs", "dog"),
        ("boxes", "box"),
        ("benches", "bench"),
        ("glasses", "glasses"),
        ("berries", "berry"),
        ("potatoes", "potato"),
        ("people", "person"),
        ("women", "woman"),
        ("knives", "knife"),
        ("bus", "bus"),
        ("grass", "grass"),
        ("tennis", "tennis"),
        ("grey", "gray"),
        ("ties", "tie"),
        ("dog", "dog"),
    ],
)
def test_base_forms(word, base):
    assert base_form(word) == base


def test_words_have_no_case_digits_or_punctuation():
    assert words_of("Two DOGS, 3 cats: it's 9am!") == ["two", "dogs", "cats", "it", "s", "am"]


def test_content_words_are_base_forms_in_their_order_without_function_words():
    assert content_words("There are two dogs in the picture of a man's boxes.") == ["two", "dog", "man", "box"]
    assert {"is", "the", "picture"} <= FUNCTION_WORDS and not {"dog", "red", "two"} & FUNCTION_WORDS
