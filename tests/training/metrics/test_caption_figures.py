"""Figures of captions: worked out by hand where that is possible, and of a model that always says the same."""

import math

import pytest

from training.metrics.caption_figures import caption_scores, variety_figures
from valm_core.captions.written import plain_words

REFERENCES = [
    ["A dog runs on the beach.", "The brown dog is running along the sea."],
    ["Two children play football in a park.", "Kids with a ball."],
    ["A man climbs a steep rock.", "A climber on a cliff."],
]


def test_words_are_those_of_the_official_tokenizer_without_punctuation():
    assert plain_words("A man's t-shirt, (red) -- isn't it?") == ["a", "man", "'s", "t-shirt", "red", "isn", "'t", "it"]
    assert plain_words("The dog’s 2 balls!") == ["the", "dog", "'s", "2", "balls"]


def test_captions_that_people_gave_have_full_marks():
    scores = caption_scores([texts[0].upper() for texts in REFERENCES], REFERENCES)
    assert scores["bleu_4"] == pytest.approx(1.0)
    assert scores["rouge_l"] == pytest.approx(1.0)
    wrong = caption_scores([texts[0] for texts in REFERENCES[1:] + REFERENCES[:1]], REFERENCES)
    assert wrong["cider"] < 0.2 < scores["cider"]


def test_bleu_by_hand():
    # 5 of 6 words, 4 of 5 pairs, 3 of 4 triples, 2 of 3 quadruples, and as long as the reference
    scores = caption_scores(["a dog runs on the grass"], [["a dog runs on the beach"]])
    assert scores["bleu_4"] == pytest.approx(math.prod([5 / 6, 4 / 5, 3 / 4, 2 / 3]) ** 0.25, rel=1e-6)
    # longest common subsequence 5 of 6 in both: precision and recall 5/6
    assert scores["rouge_l"] == pytest.approx(5 / 6)
    # cut to four words: all right, but short, exp(1 - 6 / 4)
    short = caption_scores(["a dog runs on"], [["a dog runs on the beach"]])
    assert short["bleu_4"] == pytest.approx(math.exp(1 - 6 / 4), rel=1e-6)


def test_numbers_must_fit():
    with pytest.raises(ValueError, match="1 captions of 3 photos"):
        caption_scores(["a dog"], REFERENCES)


def test_a_model_that_says_one_thing_is_told_so():
    same = variety_figures(["a man in a hat"] * 4, learned=["A man in a hat."])
    assert same == {
        "distinct_captions": 0.25,
        "distinct_2": 0.25,  # 4 pairs of words, each four times
        "commonest_start": 1.0,
        "repeated_words": 0.0,
        "mean_words": 5.0,
        "novel": 0.0,
    }
    varied = variety_figures(["a dog runs", "two dogs run and run"])
    assert varied["distinct_captions"] == varied["distinct_2"] == 1.0
    assert varied["repeated_words"] == varied["commonest_start"] == 0.5
    assert "novel" not in varied
