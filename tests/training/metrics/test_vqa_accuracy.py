"""The official VQA rules, against cases worked by hand (https://visualqa.org/evaluation.html)."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from training.metrics.vqa_accuracy import (
    answer_type,
    most_common_answer,
    normalize_answer,
    official_form,
    vqa_accuracy,
)


def ten(*counts: tuple[str, int]) -> list[str]:
    answers = [answer for answer, count in counts for _ in range(count)]
    assert len(answers) == 10
    return answers


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        # m of 10 people said "red". Leave out one of those m: m - 1 others match; leave out one of the rest: m match.
        # accuracy = (m * min((m - 1) / 3, 1) + (10 - m) * min(m / 3, 1)) / 10
        (0, 0.0),
        (1, 0.3),  # (1 * 0   + 9 * 1/3) / 10 = 3 / 10
        (2, 0.6),  # (2 * 1/3 + 8 * 2/3) / 10 = (2/3 + 16/3) / 10 = 6 / 10
        (3, 0.9),  # (3 * 2/3 + 7 * 1)   / 10 = (2 + 7) / 10
        (4, 1.0),  # (4 * 1   + 6 * 1)   / 10
        (10, 1.0),
    ],
)
def test_ten_people_one_left_out_in_turn(matches, expected):
    assert vqa_accuracy("red", ten(("red", matches), ("blue", 10 - matches))) == pytest.approx(expected)


def test_both_sides_are_normalised():
    # Three people in three spellings count as three matches: 0.9, as above.
    assert vqa_accuracy("A  Red.", ten(("red", 1), ("the red", 1), ("RED!", 1), ("blue", 7))) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        # m of n people said "yes"; with fewer than four, all others are enough to be right
        ("yes no", 1 / 2),  # leave "yes" out -> 0 of 1 other, leave "no" out -> 1 of 1: (0 + 1) / 2
        ("yes yes", 1.0),
        ("yes no no", 1 / 3),  # (0 + 1/2 + 1/2) / 3
        ("yes yes no", 2 / 3),  # (1/2 + 1/2 + 1) / 3
        ("yes yes yes", 1.0),
        ("yes yes no no", 1 / 2),  # from four on 3: (1/3 + 1/3 + 2/3 + 2/3) / 4
        ("yes yes yes no", 3 / 4),  # (2/3 + 2/3 + 2/3 + 1) / 4
        ("yes yes yes yes", 1.0),
    ],
)
def test_few_answers(answers, expected):
    assert vqa_accuracy("yes", answers.split()) == pytest.approx(expected)


def test_one_answer_is_exact_match():
    assert vqa_accuracy("The dog", ["dog"]) == 1.0
    assert vqa_accuracy("dogs", ["dog"]) == 0.0


def test_no_answer_is_refused():
    with pytest.raises(ValueError, match="No reference answer"):
        vqa_accuracy("dog", [])


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        # case and white space
        ("  Red\tAnd\nBlue ", "red and blue"),
        # articles go, also alone, but not inside words
        ("a cat on the mat", "cat on mat"),
        ("an apple", "apple"),
        # but where nothing would be left, the text stays: "A" is a choice, "+" an answer
        ("the", "the"),
        ("A", "a"),
        ("(B).", "b"),
        ("(A)", "a"),
        ("+", "+"),
        ("- ", "-"),
        ("...", "..."),
        ("theater", "theater"),
        # number words become digits, from none to ten
        ("two", "2"),
        ("Ten dogs", "10 dogs"),
        ("none", "0"),
        ("zero", "0"),
        ("eleven", "eleven"),
        # punctuation within a word becomes a space ...
        ("black/white", "black white"),
        ("t-shirt", "t shirt"),
        ("what?", "what"),
        # ... but vanishes where it stands beside a space anywhere in the answer
        ("black, white", "black white"),
        ("t-shirt - red", "tshirt red"),
        # the mark that stands beside a space is treated alone: "/" doesn't, so it becomes a space
        ("red, black/white", "red black white"),
        # a comma between digits vanishes, and takes every other mark with it
        ("1,000", "1000"),
        ("1,000-2,000", "10002000"),
        # periods go, except before a digit
        ("yes.", "yes"),
        ("u.s.a.", "usa"),
        ("2.5", "2.5"),
        (".5", ".5"),
        ("no.1", "no.1"),
        # apostrophes come back into contractions, and stay elsewhere
        ("dont know", "don't know"),
        ("it isnt", "it isn't"),
        ("couldntve", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("Im", "i'm"),
        ("man's", "man's"),
        ("its", "its"),
    ],
)
def test_normal_forms(answer, normal):
    assert normalize_answer(answer) == normal


def test_unicode_is_cleaned_before_the_rules():
    for answer in ("don’t know", "dont\u00a0know", "Ｄｏｎ＇ｔ know", "d\u00adon't\u200b know."):
        assert normalize_answer(answer) == "don't know"
    assert vqa_accuracy("cafe\u0301", ["caf\u00e9"]) == 1.0
    assert normalize_answer("1，000") == "1000" and normalize_answer("black–white") == "black white"


@given(st.text(st.sampled_from(string.ascii_letters + string.digits + string.punctuation + " \t\n"), max_size=20))
@example("1,000-2 , a cat")
def test_what_is_cleaned_first_scores_ascii_as_the_rules_alone_do(answer):
    alone = official_form(answer)
    assert normalize_answer(answer) == alone or not alone


@pytest.mark.parametrize("answer", ["A Cat, on-the mat.", "couldntve", "1,000", "ten", "don't"])
def test_a_normal_form_is_its_own_normal_form(answer):
    once = normalize_answer(answer)
    assert normalize_answer(once) == once


def test_the_most_common_answer_and_the_first_of_a_tie():
    assert most_common_answer(["blue", "The red", "red", "green"]) == "red"
    assert most_common_answer(["blue", "red"]) == "blue"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["Yes."], "yes/no"),
        (["no", "no", "2"], "yes/no"),
        (["two"], "number"),
        (["1,000"], "number"),
        (["2.5"], "number"),
        (["none"], "number"),
        (["2 dogs"], "other"),
        (["not sure"], "other"),
        (["2", "red", "red"], "other"),
    ],
)
def test_answer_types(answers, expected):
    assert answer_type(answers) == expected
