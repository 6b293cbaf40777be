"""Descriptions with their words' probabilities, maps and verdicts, in numpy alone: whatever model writes them.

``captions.captioner`` has the model in torch, ``exported.captioner`` an exported one.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from valm_core.captions.written import caption_places, check_has_word, plain_words
from valm_core.evidence.rules import hidden_variants, is_flat, split_variants, support, verdict
from valm_core.inputs.word_pieces import join_word_pieces
from valm_core.model.tasks.beam_search import BEGIN, END, UNKNOWN, PieceCaption
from valm_core.outputs import Explanation, InputError, Photo, in_shares

MAX_BEAMS = 10
METHOD = "caption_attention"  # how the maps are made
Cells = TypeVar("Cells")  # what a decoder reads of one photo


@dataclass(frozen=True)
class DescribedWord:
    """A word of a description.

    ``probability`` is the model's, 0..1, after the words before it; ``support`` how far it falls when the hottest cells
    of its map are hidden and not random ones, in deviations, and ``verdict`` what that means, see ``evidence.rules``.
    """

    text: str
    probability: float
    support: float
    verdict: str


@dataclass(frozen=True)
class Description:
    """A photo in words.

    ``text`` is a sentence; ``maps`` [W, rows, columns], each summing to 1, say which cells each of the W ``words`` was
    read from. ``others`` are further descriptions that the search found, the better first.
    """

    text: str
    words: tuple[DescribedWord, ...]
    maps: np.ndarray
    others: tuple[str, ...] = ()

    def explanation(self) -> Explanation:
        """The maps in the form that pictures are drawn from; the whole map is the mean of the words' maps."""
        words, cells = len(self.words), self.maps[0].size
        flat = self.maps.reshape(words, cells)
        return Explanation(
            method=METHOD,
            tokens=tuple(word.text for word in self.words),
            image_map=self.maps.mean(axis=0),
            token_scores=np.full(words, 1 / words, dtype=np.float32),
            token_to_patch=flat,
            patch_to_token=in_shares(flat.T),
            text_to_image=flat[None, None],
            image_to_text=in_shares(flat.T)[None, None],
            grid=(self.maps.shape[1], self.maps.shape[2]),
        )


@dataclass(frozen=True)
class Pieces:
    """The V word pieces that a model writes: their ``tokens`` (ids of its tokenizer), and their ``names``."""

    tokens: tuple[int, ...]
    names: tuple[str, ...]

    def words(self, places: Sequence[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Places in the vocabulary, ``END`` left out -> the words, and the word of every piece."""
        return join_word_pieces([self.names[place] for place in places])

    def belonging(self, places: Sequence[int]) -> np.ndarray:
        """[W, T], 1 where one of T pieces is of a word."""
        words, word_of = self.words(places)
        return (np.array(word_of)[None] == np.arange(len(words))[:, None]).astype(np.float32)

    def sentence(self, caption: PieceCaption) -> str:
        """A caption as a sentence."""
        return sentence(self.words(caption.content)[0])


class Describer(ABC, Generic[Cells]):
    """Describes photos, by a model that its subclasses have; safe to share between threads.

    ``pieces`` are what it writes, ``grid`` (rows, columns) the cells that it reads, ``longest`` the places of a caption
    at most, ``BEGIN`` and ``END`` included.
    """

    pieces: Pieces
    grid: tuple[int, int]
    longest: int

    def describe(self, photo: Photo, beams: int = 3) -> Description:
        """Describe a photo.

        Args:
            photo: file, content or opened picture.
            beams: of the search, 1 (greedy) to ``MAX_BEAMS``.

        Raises:
            InputError: the photo can't be used, or ``beams`` is outside that.
        """
        found, cells = self._found(photo, beams)
        places = found[0].content
        maps = self.word_maps(places, cells)
        words = self.judge_words(places, cells, maps)
        texts = [self.pieces.sentence(one) for one in found]
        others = tuple(dict.fromkeys(text for text in texts if text != texts[0]))
        return Description(texts[0], words, maps.reshape(-1, *self.grid), others)

    def write(self, photo: Photo, beams: int = 3) -> str:
        """The text of ``describe`` alone, without maps and evidence, which take most of its time."""
        found, _ = self._found(photo, beams)
        return self.pieces.sentence(found[0])

    def log_probabilities(self, texts: Sequence[str], photo: Photo) -> np.ndarray:
        """How likely it is, by its natural logarithm, that each text is what the model would write of a photo: [T].

        Pieces of words that the model can't write count for nothing, and what is beyond its longest caption.

        Args:
            texts: captions, in any case and punctuation.
            photo: file, content or opened picture.

        Raises:
            InputError: the photo can't be used, or a text has no word.
        """
        return self.log_probabilities_of(texts, self._cells(photo))

    def log_probabilities_of(self, texts: Sequence[str], cells: Cells) -> np.ndarray:
        """``log_probabilities`` by the cells of a photo. Raises InputError where a text has no word."""
        for text in texts:
            check_has_word(text)
        tokens = self._tokens([" ".join(plain_words(text)) for text in texts])
        rows = caption_places(tokens, self.pieces.tokens, self.longest)
        length = max(map(len, rows)) - 1
        before = np.array([row[:-1] + [END] * (length - len(row) + 1) for row in rows])  # [T, L]
        after = np.array([row[1:] + [UNKNOWN] * (length - len(row) + 1) for row in rows])
        return np.where(after == UNKNOWN, np.float32(0), self._likely(before, after, cells)).sum(axis=1)

    def word_maps(self, places: Sequence[int], cells: Cells) -> np.ndarray:
        """Where each of the W words of a photo's caption was read: maps [W, N], each summing to 1.

        What a word's pieces read from the cells, the mean over layers and heads.

        Args:
            places: in the vocabulary, ``END`` left out.
            cells: of the photo.
        """
        return in_shares(self.pieces.belonging(places) @ self._read(np.array([[BEGIN, *places[:-1]]]), cells))

    def judge_words(self, places: Sequence[int], cells: Cells, maps: np.ndarray) -> tuple[DescribedWord, ...]:
        """Whether it matters for each word what a map of it marks, by hiding cells; the words before it stay.

        Args:
            places, cells: as for ``word_maps``.
            maps: [W, N], for each word one.
        """
        hidden = hidden_variants(maps.shape[1], places, list(maps))  # [F, N]
        before, after = (np.tile(row, (len(hidden), 1)) for row in ([BEGIN, *places[:-1]], places))  # [F, T] each
        likely = self._likely(before, after, cells, hidden)  # [F, T]
        probabilities = np.exp(likely @ self.pieces.belonging(places).T)  # [F, W]
        told = []
        for number, word in enumerate(self.pieces.words(places)[0]):
            whole, hottest, random = split_variants(probabilities[:, number])
            said = "cannot tell" if is_flat(maps[number]) else verdict(whole, hottest[number], random)
            told.append(DescribedWord(word, whole, support(hottest[number], random), said))
        return tuple(told)

    def _found(self, photo: Photo, beams: int) -> tuple[list[PieceCaption], Cells]:
        """The captions that the search finds for a photo, the best first, and its cells."""
        if type(beams) is not int or not 1 <= beams <= MAX_BEAMS:
            raise InputError("beams is {beams!r}; allowed: 1 to {most}.", beams=beams, most=MAX_BEAMS)
        cells = self._cells(photo)
        return self._search(cells, beams), cells

    @abstractmethod
    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """The token ids of texts, without special tokens."""

    @abstractmethod
    def _cells(self, photo: Photo) -> Cells:
        """What the decoder reads of a photo. Raises InputError for one that can't be used."""

    @abstractmethod
    def _search(self, cells: Cells, beams: int) -> list[PieceCaption]:
        """The captions that a beam search finds for a photo, the best first."""

    @abstractmethod
    def _likely(
        self, before: np.ndarray, after: np.ndarray, cells: Cells, hidden: np.ndarray | None = None
    ) -> np.ndarray:
        """The log-probability [B, T] float32 of each piece ``after`` those ``before``, both [B, T], with the photo.

        ``hidden`` [B, N] are cells that can't be read.
        """

    @abstractmethod
    def _read(self, places: np.ndarray, cells: Cells) -> np.ndarray:
        """What each piece of a caption [1, T] read from each cell, [T, N], the mean over layers and heads."""


def sentence(words: tuple[str, ...]) -> str:
    """Words as a sentence: a capital letter in front and a full stop behind."""
    text = " ".join(words)
    return text[:1].upper() + text[1:] + "."
