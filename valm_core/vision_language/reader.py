"""What ``TransformersPredictor`` asks of a model of any architecture: answers, likelihoods and attention rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from valm_core.outputs import Answer
from valm_core.vision_language.answers import Written
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

    ``words`` has, for each word of the answer, its pieces. ``long`` says that the answer is a longer text.
    """

    pieces: np.ndarray
    words: tuple[tuple[int, ...], ...]
    long: bool = False

    @property
    def probabilities(self) -> np.ndarray:
        """[F], 0..1: of the whole answer; of one piece of a longer text, in the geometric mean."""
        return np.exp(self.pieces.mean(axis=1) if self.long else self.pieces.sum(axis=1))


class Reader(Protocol):
    """One open model. ``sees_words`` says whether ``word_rows`` is there, ``gradients`` whether with gradients."""

    title: str
    labels: list[str]  # every answer that it can give; empty where it writes them
    sees_words: bool
    gradients: bool
    relative: bool  # whether a neutral prompt makes sense
    model: Any

    @property
    def asks(self) -> str:
        """Its prompt with ``{image}`` and ``{question}``, which can be changed; empty where there is none."""
        ...

    def asked_by(self, prompt: str | None) -> "Reader":
        """The same model, asked by another prompt; None for its own. Raises InputError."""
        ...

    def written(
        self,
        picture: Image.Image,
        question: str,
        tell: Callable[[str], None] | None = None,
        left: Callable[[], bool] | None = None,
    ) -> Written | None:
        """What it writes as long as it likes; None where its prompt asks for short answers. See ``write_on``."""
        ...

    def as_written(self, answer: str) -> str:
        """A given answer in the form that it has here: its normal form, as it is where it is a longer text, or the
        label of a model that chooses from some."""
        ...

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
