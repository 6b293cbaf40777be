"""Labels of words in BIO form: B-X begins a span of type X, I-X goes on with it, O is outside."""

from collections.abc import Sequence

import numpy as np

OUTSIDE = "O"

Span = tuple[int, int, str]  # first word, word after the last, type


def type_of(label: str) -> str:
    """The type of a label: "PER" of "B-PER"; "" for ``OUTSIDE``.

    Raises:
        ValueError: the label isn't ``O``, ``B-X`` or ``I-X``.
    """
    if label == OUTSIDE:
        return ""
    if label[:2] not in ("B-", "I-") or not label[2:].strip():
        raise ValueError(f"The label {label!r} isn't of the form O, B-X or I-X.")
    return label[2:]


def may_follow(before: str | None, label: str) -> bool:
    """Whether ``label`` may come after ``before`` (None: at the beginning): I-X goes on with B-X or I-X alone."""
    if not label.startswith("I-"):
        return True
    return before is not None and type_of(before) == type_of(label)


def mended(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels with a B for each I that begins a span, as CoNLL's scorer reads them."""
    repaired: list[str] = []
    before: str | None = None
    for label in labels:
        repaired.append(label if may_follow(before, label) else f"B-{type_of(label)}")
        before = label
    return tuple(repaired)


def spans_of(labels: Sequence[str]) -> list[Span]:
    """The spans that labels mark, in order; an I that begins a span counts as B."""
    spans: list[Span] = []
    for place, label in enumerate(mended(labels)):
        if label.startswith("B-"):
            spans.append((place, place + 1, type_of(label)))
        elif label.startswith("I-"):
            first, _, name = spans[-1]
            spans[-1] = (first, place + 1, name)
    return spans


def bio_labels(types: Sequence[str]) -> tuple[str, ...]:
    """All labels of some types, in the order of the logits: O, then B and I of each type."""
    return (OUTSIDE, *(f"{part}-{name}" for name in types for part in "BI"))


def transitions_of(labels: Sequence[str]) -> np.ndarray:
    """[K + 1, K], True where the label of the column may follow that of the row; the last row is the beginning."""
    rows: list[str | None] = [*labels, None]
    return np.array([[may_follow(before, label) for label in labels] for before in rows])
