"""Exact match and F1 of answers taken from a page."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

TOKENS = re.compile(r"\d+(?:\.\d+)*|[^\W\d_]+")


def same_text(predicted: str, true: str) -> bool:
    """Whether two texts are the same but for capitals, spaces and marks; a decimal point counts."""
    return "".join(tokens_of(predicted)) == "".join(tokens_of(true))


def overlap(predicted: str, true: str) -> float:
    """F1 of the words that two texts share (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250), 0..1."""
    one, other = Counter(tokens_of(predicted)), Counter(tokens_of(true))
    shared = sum((one & other).values())
    return 2 * shared / (one.total() + other.total()) if shared else float(not one and not other)


def tokens_of(text: str) -> list[str]:
    """The words and numbers of a text in small letters, without marks."""
    return TOKENS.findall(text.lower())


def answer_figures(predicted: Sequence[str], true: Sequence[Sequence[str]], fields: Sequence[str]) -> dict[str, Any]:
    """How well questions were answered.

    Args:
        predicted: an answer a question, "" for none.
        true: the right answers, several where more than one is: the best counts.
        fields: what kind of answer each is.

    Returns:
        ``exact_match`` and ``f1`` by field, each 0..1, ``mean_exact_match`` and ``mean_f1`` over all questions, and how
        many ``questions`` there are.
    """
    exact: dict[str, list[float]] = defaultdict(list)
    shared: dict[str, list[float]] = defaultdict(list)
    for answer, right, field in zip(predicted, true, fields, strict=True):
        exact[field].append(max(float(same_text(answer, text)) for text in right))
        shared[field].append(max(overlap(answer, text) for text in right))
    figures: dict[str, Any] = {"questions": len(predicted)}
    for name, by_field in (("exact_match", exact), ("f1", shared)):
        figures[name] = {field: sum(values) / len(values) for field, values in sorted(by_field.items())}
        figures[f"mean_{name}"] = sum(map(sum, by_field.values())) / len(predicted)
    return figures
