"""VQA accuracy by the official rules: answer normalisation, agreement with ten people, answer types.

The rules are those of the VQA challenge (Antol et al. 2015, https://arxiv.org/abs/1505.00468; evaluation described on
https://visualqa.org/evaluation.html).
"""

import functools
import itertools
import re
from collections import Counter
from collections.abc import Collection, Sequence

from valm_core.inputs.text import clean_text
from valm_core.model.heads import answer_kind

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_ARTICLES = {"a", "an", "the"}
_DIGITS = {"none": "0"} | {
    word: str(digit)
    for digit, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
}
_CONTRACTIONS = [
    "ain't",
    "aren't",
    "can't",
    "could've",
    "couldn't",
    "couldn't've",
    "didn't",
    "doesn't",
    "don't",
    "hadn't",
    "hadn't've",
    "hasn't",
    "haven't",
    "he'd",
    "he'd've",
    "he's",
    "how'd",
    "how'll",
    "how's",
    "I'd've",
    "I'm",
    "I've",
    "isn't",
    "it'd",
    "it'd've",
    "it'll",
    "let's",
    "ma'am",
    "mightn't",
    "mightn't've",
    "might've",
    "mustn't",
    "must've",
    "needn't",
    "not've",
    "o'clock",
    "oughtn't",
    "shan't",
    "she'd've",
    "should've",
    "shouldn't",
    "shouldn't've",
    "somebody'd",
    "somebody'd've",
    "somebody'll",
    "somebody's",
    "someone'd",
    "someone'd've",
    "someone'll",
    "someone's",
    "something'd",
    "something'd've",
    "something'll",
    "that's",
    "there'd",
    "there'd've",
    "there're",
    "there's",
    "they'd",
    "they'd've",
    "they'll",
    "they're",
    "they've",
    "'twas",
    "wasn't",
    "we'd've",
    "we've",
    "weren't",
    "what'll",
    "what're",
    "what's",
    "what've",
    "when's",
    "where'd",
    "where's",
    "where've",
    "who'd",
    "who'd've",
    "who'll",
    "who's",
    "who've",
    "why'll",
    "why're",
    "why's",
    "won't",
    "would've",
    "wouldn't",
    "wouldn't've",
    "y'all",
    "y'all'd've",
    "you'd",
    "you'd've",
    "you'll",
    "you're",
    "you've",
]


def _without_some_apostrophes(word: str) -> list[str]:
    """Every spelling of ``word`` that has lost at least one apostrophe."""
    parts = word.split("'")
    joins = itertools.product(["", "'"], repeat=len(parts) - 1)
    spellings = ["".join(itertools.chain(*zip(parts, (*join, ""), strict=True))) for join in joins]
    return [spelling for spelling in spellings if spelling != word]


# "dont" -> "don't", "couldntve" and "couldn'tve" -> "couldn't've"
_APOSTROPHES = {
    spelling.lower(): word.lower() for word in _CONTRACTIONS for spelling in _without_some_apostrophes(word)
}


@functools.lru_cache(maxsize=100_000)  # few answers make up most of a data set
def normalize_answer(answer: str) -> str:
    """The form in which answers are compared: ``official_form`` of the cleaned text (``valm_core.inputs.text``).

    Where the rules would leave nothing, so that "A" and "+" would equal each other, articles stay; and where there is
    no word at all, the cleaned text in lower case.
    """
    text = clean_text(answer, "answer")
    return official_form(text) or official_form(text, articles=()) or text.lower()


def official_form(text: str, articles: Collection[str] = _ARTICLES) -> str:
    """The official normal form: lower case, no articles, digits for numbers, punctuation and apostrophes settled."""
    text = re.sub(r"[\n\t]", " ", text).strip()
    in_number = _COMMA_IN_NUMBER.search(text) is not None
    settled = text
    for mark in _PUNCTUATION:
        touches_space = f"{mark} " in text or f" {mark}" in text
        settled = settled.replace(mark, "" if touches_space or in_number else " ")
    words = [_DIGITS.get(word, word) for word in _PERIOD.sub("", settled).lower().split()]
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in articles)


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Agreement of ``prediction`` with the people who answered, in 0..1.

    With several answers: for each person left out in turn, min(matches among the others / 3, 1), averaged; with two or
    three answers by as many as the others are in place of 3, so that what all gave is right. With one answer: exact
    match. Both sides are normalised first.

    Raises:
        ValueError: ``answers`` is empty.
    """
    if not answers:
        raise ValueError("No reference answer to compare with; give at least one in `answers`.")
    predicted = normalize_answer(prediction)
    matches = [normalize_answer(answer) == predicted for answer in answers]
    if len(matches) == 1:
        return float(matches[0])
    total, enough = sum(matches), min(3, len(matches) - 1)
    return sum(min((total - match) / enough, 1.0) for match in matches) / len(matches)


def most_common_answer(answers: Sequence[str]) -> str:
    """The normalised answer that most people gave; of equally frequent ones the first."""
    return Counter(map(normalize_answer, answers)).most_common(1)[0][0]


def answer_type(answers: Sequence[str]) -> str:
    """ "yes/no", "number" or "other", read off the most common answer."""
    return answer_kind(most_common_answer(answers))
