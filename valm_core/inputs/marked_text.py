"""Texts with marked parts as an encoder reads them, and the tokens of every part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from valm_core.inputs.question import QuestionTokenizer

MARKERS = ("$", "^")  # around the first and the second marked part: rare in texts, and each a token of its own

Span = tuple[int, int]  # first word, and one past the last


def marked_text(words: Sequence[str], spans: Sequence[Span]) -> tuple[str, list[int | None]]:
    """Words -> the text with a marker before and after each marked part, and for every word of it its place in
    ``words``, None for a marker.

    Raises:
        ValueError: a part has no word, or lies outside the text.
    """
    before: dict[int, list[str]] = {}
    after: dict[int, list[str]] = {}
    for (first, end), marker in zip(spans, MARKERS, strict=False):
        if not 0 <= first < end <= len(words):
            raise ValueError(f"A marked part is {[first, end]}; 0 <= first < end <= {len(words)} words is needed.")
        before.setdefault(first, []).append(marker)
        after.setdefault(end - 1, []).append(marker)
    text: list[str] = []
    places: list[int | None] = []
    for place, word in enumerate(words):
        opening, closing = before.get(place, []), after.get(place, [])
        text += [*opening, word, *closing]
        places += [*[None] * len(opening), place, *[None] * len(closing)]
    return " ".join(text), places


def span_masks(
    tokenizer: QuestionTokenizer, words: Sequence[str], spans: Sequence[Span], length: int | None = None
) -> np.ndarray:
    """Which tokens of ``marked_text`` belong to each marked part, markers left out: [S, T].

    Where a part was cut off, the first token stands for it, so that no part is without any.

    Args:
        tokenizer: of the model.
        words, spans: of the text.
        length: T, how many tokens are kept of it; None keeps all.
    """
    text, places = marked_text(words, spans)
    _, token_words = tokenizer.words(text)
    length = len(token_words) if length is None else length
    masks = np.zeros((len(spans), length), dtype=bool)
    for token, word in enumerate(token_words[:length]):
        place = None if word is None else places[word]
        for number, (first, end) in enumerate(spans):
            masks[number, token] = place is not None and first <= place < end
    masks[~masks.any(axis=1), 0] = True
    return masks
