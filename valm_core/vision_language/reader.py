"""What ``TransformersPredictor`` asks of a model of any architecture: answers, likelihoods and attention rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from valm_core.outputs import Answer
from valm_core.vision_language.geometry import Places


@dataclass(frozen=True)
class WordRows:
    """Where words looked: ``weights`` [L, H, W, N] on the photo's cells, at least 0, not scaled.

    W are the words of the question, then those of the answer, ``answer_words`` of them. What a word's row sums to is
    the share of its attention that went to the photo.
    """

    weights: np.ndarray
    answer_words: int


@dataclass(frozen=True)
class PieceLikelihood:
    """How likely an answer is for each of F photos: log-probabilities [F, P] of its pieces, the end among them.

    ``words`` has, for each word of the answer, its pieces.
    """

    pieces: np.ndarray
    words: tuple[tuple[int, ...], ...]

    @property
    def probabilities(self) -> np.ndarray:
        """[F], 0..1: of the whole answer."""
        return np.exp(self.pieces.sum(axis=1))


class Reader(Protocol):
    """One open model. ``sees_words`` says whether ``word_rows`` is there, ``gradients`` whether with gradients."""

    title: str
    labels: list[str]  # every answer that it can give; empty where it writes them
    sees_words: bool
    gradients: bool
    relative: bool  # whether a neutral prompt makes sense
    model: Any

    def places(self, picture: Image.Image) -> Places | None:
        """Where its image tokens lie; None where that isn't known."""
        ...

    def answers(self, picture: Image.Image, question: str, top: int) -> tuple[Answer, ...]:
        """The likeliest answers."""
        ...

    def first_answers(self, pictures: Sequence[Image.Image], question: str) -> list[str]:
        """The likeliest answer for each photo, in its normal form, all photos of one size."""
        ...

    def likelihood(self, pictures: Sequence[Image.Image], question: str, answer: str) -> PieceLikelihood:
        """How likely one answer is for each photo, all of one size. Raises UnknownAnswer."""
        ...

    def word_rows(self, picture: Image.Image, question: str, answer: str, how: str) -> WordRows:
        """Where words looked: ``how`` is "attention", "gradients" (times attention) or "relative"."""
        ...
