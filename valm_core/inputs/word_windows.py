"""Sentences of given words as windows of word pieces: each piece knows its word, sentences in a row share a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from valm_core.inputs.question import QuestionTokenizer
from valm_core.inputs.word_shapes import word_letters, word_shapes

if TYPE_CHECKING:
    from torch import Tensor

SENTENCES_A_WINDOW = 8  # that are read side by side
PIECES_A_WORD = 12  # of a longer word the rest isn't read; how it is written still tells of its end


@dataclass(frozen=True)
class WordPieces:
    """A sentence's W words, or a part of a long one's, as pieces.

    ``pieces`` are P token ids, ``words`` the place of each one's word; ``letters`` [W, C] and ``shapes`` [W, F] say how
    the words are written, see ``word_shapes``.
    """

    pieces: tuple[int, ...]
    words: tuple[int, ...]
    letters: np.ndarray
    shapes: np.ndarray

    @property
    def count(self) -> int:
        """How many words."""
        return len(self.letters)


def sentence_pieces(tokenizer: QuestionTokenizer, words: Sequence[str], most: int) -> list[WordPieces]:
    """A sentence in pieces; one that is too long for a window comes in parts, cut between words.

    Args:
        tokenizer: of the text encoder.
        words: as they are written.
        most: pieces in a window, its two special ones included.
    """
    encoded = tokenizer.tokenizer(list(words), add_special_tokens=False).input_ids
    encoded = [ids[:PIECES_A_WORD] for ids in encoded]
    letters, shapes = word_letters(words), word_shapes(words)
    cuts, filled = [0], 0
    for place, ids in enumerate(encoded):
        if filled and filled + len(ids) > most - 2:
            cuts.append(place)
            filled = 0
        filled += len(ids)
    parts = []
    for first, end in zip(cuts, [*cuts[1:], len(words)], strict=True):
        own = encoded[first:end]
        pieces = tuple(piece for ids in own for piece in ids)
        places = tuple(place for place, ids in enumerate(own) for _ in ids)
        parts.append(WordPieces(pieces, places, letters[first:end], shapes[first:end]))
    return parts


def windows_in_a_row(sentences: Sequence[WordPieces], most: int) -> list[list[int]]:
    """The numbers of sentences that share a window: in a row, ``SENTENCES_A_WINDOW`` and ``most`` pieces at most."""
    windows: list[list[int]] = []
    filled = most
    for number, sentence in enumerate(sentences):
        if filled + len(sentence.pieces) + 1 > most or len(windows[-1]) == SENTENCES_A_WINDOW:
            windows.append([])
            filled = 1
        windows[-1].append(number)
        filled += len(sentence.pieces) + 1
    return windows


def window_tensors(windows: Sequence[Sequence[WordPieces]], tokenizer: QuestionTokenizer) -> dict[str, Tensor]:
    """Windows of sentences as the arguments of ``TagModel.forward``; a closing piece stands behind each sentence."""
    import torch

    opening, closing = tokenizer.tokenizer.cls_token_id, tokenizer.tokenizer.sep_token_id
    sentences = [sentence for window in windows for sentence in window]
    longest = max(sentence.count for sentence in sentences)
    shape = len(windows), max(1 + sum(len(sentence.pieces) + 1 for sentence in window) for window in windows)
    ids, index = np.full(shape, tokenizer.tokenizer.pad_token_id), np.zeros(shape, dtype=np.int64)
    mask, number = np.zeros(shape, dtype=bool), 0
    for row, window in enumerate(windows):
        ids[row, 0], place = opening, 1
        for sentence in window:
            end = place + len(sentence.pieces)
            ids[row, place:end] = sentence.pieces
            index[row, place:end] = 1 + number * longest + np.array(sentence.words, dtype=np.int64)
            ids[row, end] = closing
            place, number = end + 1, number + 1
        mask[row, :place] = True
    word_mask = np.arange(longest) < np.array([sentence.count for sentence in sentences])[:, None]
    arrays = {"token_ids": ids.astype(np.int64), "text_mask": mask, "word_index": index, "word_mask": word_mask}
    arrays |= {name: np.concatenate([getattr(one, name) for one in sentences]) for name in ("letters", "shapes")}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
