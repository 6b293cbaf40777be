"""How words and photos are compared, and where they match, in numpy alone: whatever model encodes them.

``retrieval.finder`` has the model in torch, ``exported.finder`` an exported one.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from valm_core.inputs.question import clean_question
from valm_core.outputs import Explanation, InputError, Photo, in_shares

TEXTS_AT_ONCE = 64
CELL_STEPS = 127  # a cell's numbers, -1..1, are kept as whole numbers of 1/127

Record = tuple[float, float, int, float]  # lowest and highest score, searches with such a one, share that found theirs


@dataclass(frozen=True)
class PhotoKeys:
    """What an index keeps of P photos: ``vectors`` [P, D] float16 of length 1, ``cells`` [P, M, D] int8."""

    vectors: np.ndarray
    cells: np.ndarray


@dataclass(frozen=True)
class Query:
    """Words to look for: ``words`` as people read them, and what the model compares.

    ``vector`` [D]; ``pieces`` [T, D] and their ``shares`` [T], which sum to 1; ``piece_words`` [T] is the word of each
    piece, -1 for special tokens.
    """

    text: str
    words: tuple[str, ...]
    vector: np.ndarray
    pieces: np.ndarray
    shares: np.ndarray
    piece_words: tuple[int, ...]


class Finder(ABC):
    """Photos and words in one space, by a model that its subclasses have; safe to share between threads.

    ``fingerprint`` names the model, "" where it came from no checkpoint; ``width`` is the size D of a vector and of a
    cell, ``ranking_grid`` (rows, columns) that of the cells which an index keeps of a photo, ``grid`` that of a map;
    ``scales`` [2] are the factors of both cosines, and ``records`` say what a score means, see ``found_share``.
    """

    fingerprint: str
    width: int
    ranking_grid: tuple[int, int]
    grid: tuple[int, int]
    scales: np.ndarray
    records: Sequence[Record]

    @property
    def cells(self) -> int:
        """How many cells M an index keeps of a photo."""
        return math.prod(self.ranking_grid)

    def encode_photos(self, photos: Sequence[Photo]) -> PhotoKeys:
        """What an index keeps of photos. Raises InputError for one that can't be used."""
        return photo_keys(*self.photo_features(photos))

    def encode_words(self, text: str) -> Query:
        """Words to look for. Raises InputError where they are empty or too long."""
        text = clean_question(text)
        (vector,), (pieces,), (shares,) = self.text_features([text])
        words, piece_words = self._words(text)
        return Query(text, words, vector, pieces, shares, tuple(-1 if word is None else word for word in piece_words))

    def scores(self, query: Query, keys: PhotoKeys) -> np.ndarray:
        """How well photos fit words, [P]: what ``retrieval.pair_scores`` says, from an index's rounded numbers."""
        vectors, cells = keys.vectors.astype(np.float32), keys.cells.astype(np.float32) / CELL_STEPS
        return match(self.scales, (query.vector, query.pieces, query.shares), (vectors, cells))

    def rank_texts(self, texts: Sequence[str], photo: Photo) -> list[tuple[str, float]]:
        """Texts with the score that each has with a photo, the best first; one that is too long is cut.

        Raises:
            InputError: the photo or a text can't be used; the message says which text.
        """
        cleaned = []
        for number, text in enumerate(texts, 1):
            try:
                cleaned.append(clean_question(text))
            except InputError as error:
                raise InputError("Text {number}: {error}", number=number, error=str(error)) from error
        found = self.photo_features([photo])
        scores: list[float] = []
        for first in range(0, len(cleaned), TEXTS_AT_ONCE):
            encoded = self.text_features(cleaned[first : first + TEXTS_AT_ONCE], truncate=True)
            scores += [float(match(self.scales, text, found)[0]) for text in zip(*encoded, strict=True)]
        order = sorted(range(len(cleaned)), key=lambda place: -scores[place])
        return [(cleaned[place], scores[place]) for place in order]

    def explain(self, query: Query, photo: Photo) -> Explanation:
        """Where a photo matched the words: cosines of words and the image encoder's own cells, those above 0.

        A word is the mean of its pieces by their shares, the whole map the mean of the words. Raises InputError.
        """
        similar = np.maximum(query.pieces @ self._image_cells(photo).T, 0)  # [T, N]
        of_word = np.array(query.piece_words)
        chosen = of_word == np.arange(len(query.words))[:, None]  # [W, T]
        shares = chosen * query.shares  # [W, T]
        words = in_shares(shares) @ similar  # [W, N]
        counted = in_shares(shares.sum(axis=1))  # [W]
        maps = in_shares(words)
        return Explanation(
            method="late_interaction",
            tokens=query.words,
            image_map=in_shares(counted @ words).reshape(self.grid),
            token_scores=counted,
            token_to_patch=maps,
            patch_to_token=in_shares(words.T),
            text_to_image=maps[None, None],
            image_to_text=in_shares(words.T)[None, None],
            grid=self.grid,
        )

    def found_share(self, score: float) -> float | None:
        """Of searches whose best photo had about this score, the share that found the described one; None if unknown.

        Measured on the checkpoint's validation photos; in a larger collection it is less.
        """
        for low, high, _, share in self.records:
            if low <= score <= high:
                return share
        return None

    @abstractmethod
    def photo_features(self, photos: Sequence[Photo]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors [P, D] and cells [P, M, D] of photos before rounding, of length 1, float32. Raises InputError."""

    @abstractmethod
    def text_features(self, texts: list[str], truncate: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vectors [B, D], pieces [B, T, D] and their shares [B, T] of clean texts, float32.

        Raises:
            InputError: a text is too long, and ``truncate`` is off.
        """

    @abstractmethod
    def _words(self, text: str) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
        """The words of a clean text, and the word of every piece, see ``words_of_pieces``."""

    @abstractmethod
    def _image_cells(self, photo: Photo) -> np.ndarray:
        """The image encoder's own cells [N, D] in the common space, of length 1. Raises InputError."""


def photo_keys(vectors: np.ndarray, cells: np.ndarray) -> PhotoKeys:
    """What an index keeps of P photos, of their vectors [P, D] and cells [P, M, D]: rounded."""
    return PhotoKeys(vectors.astype(np.float16), (cells * CELL_STEPS).round().astype(np.int8))


def match(
    scales: np.ndarray, text: tuple[np.ndarray, np.ndarray, np.ndarray], photos: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """How well P photos fit a text, [P]: the cosine of the vectors and late interaction, each times its scale.

    Args:
        scales: [2].
        text: its vector [D], pieces [T, D] and their shares [T].
        photos: their vectors [P, D] and cells [P, M, D].
    """
    (vector, pieces, shares), (vectors, cells) = text, photos
    nearest = (cells @ pieces.T).max(axis=1)  # [P, T]
    return scales[0] * (vectors @ vector) + scales[1] * (nearest @ shares)


def score_records(bins: object) -> tuple[Record, ...]:
    """``found_by_score`` of a checkpoint's figures as records, open at both ends; nothing where that is none."""
    try:
        rows = [(float(b["low"]), float(b["high"]), int(b["searches"]), float(b["found"])) for b in bins]  # type: ignore[attr-defined]
    except (ValueError, KeyError, TypeError):
        return ()
    if rows:
        rows[0] = (float("-inf"), *rows[0][1:])
        rows[-1] = (rows[-1][0], float("inf"), *rows[-1][2:])
    return tuple(rows)
