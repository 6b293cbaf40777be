"""Questions as people type them: in normal form, as token ids, and token by token back to their words.

torch is imported where it is needed: an exported model reads the same arrays without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from valm_core.inputs.text import clean_text
from valm_core.inputs.word_pieces import words_of_pieces
from valm_core.outputs import InputError

if TYPE_CHECKING:
    from torch import Tensor

# Version of what becomes of a question before an encoder sees it. Raise it with every change of the token ids that come
# out: features in a cache were made from the former ones.
QUESTION_PREPROCESSING = 2
MAX_QUESTION_CHARACTERS = 300
MAX_PROMPT = 1000  # characters of a prompt that a visitor sends
TOO_LONG = "The question is too long: {length} characters, at most {allowed} characters. Shorten it."


def clean_question(question: str) -> str:
    """The question in its normal form, see ``valm_core.inputs.text.clean_text``.

    Raises:
        InputError: nothing is left, it is longer than ``MAX_QUESTION_CHARACTERS``, or it holds half a character.
    """
    if len(question or "") > 10 * MAX_QUESTION_CHARACTERS:
        raise InputError(TOO_LONG, length=len(question), allowed=MAX_QUESTION_CHARACTERS)
    text = clean_text(question or "", "question")
    if not any(character.isalnum() for character in text):
        raise InputError("The question is empty. Type one, for example: What is in the photo?")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise InputError(TOO_LONG, length=len(text), allowed=MAX_QUESTION_CHARACTERS)
    return text


def check_choices(choices: Sequence[str], most: int) -> None:
    """Refuse a single answer to choose from, or more than ``most``; none are fine. Raises InputError."""
    if len(choices) == 1:
        raise InputError("Only one answer to choose from: {answer}. Give at least two.", answer=choices[0])
    if len(choices) > most:
        raise InputError("{count} answers to choose from; at most {most} are allowed.", count=len(choices), most=most)


class QuestionTokenizer:
    """Questions to token ids, and tokens back to the words that a reader sees.

    Args:
        tokenizer: a fast transformers tokenizer.
        max_tokens: longest question, special tokens included.
    """

    def __init__(self, tokenizer: Any, max_tokens: int):
        self.tokenizer = tokenizer
        self.tokenizer.split_special_tokens = True  # a typed [SEP] or [MASK] is a word, no command to the model
        self.max_tokens = max_tokens
        self.tokenizer("")  # drops the padding and truncation of its file, a change that threads must not meet later

    def __call__(self, questions: list[str], truncate: bool = False) -> tuple[Tensor, Tensor]:
        """Questions -> token ids [B, T] and mask [B, T], padded to the longest of them.

        The tokenizer's own padding and truncation change its state, so that two threads could disturb each other; both
        are done here instead. A truncated question keeps its closing special token.

        Raises:
            InputError: a question has more than ``max_tokens`` tokens and ``truncate`` is off.
        """
        import torch

        encoded = self.tokenizer(list(questions)).input_ids
        ids, mask = padded_ids(encoded, self.tokenizer.pad_token_id, self.max_tokens, truncate)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def words(self, question: str) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
        """The words of ``question`` and the word of every token, see ``words_of_pieces``."""
        encoding = self.tokenizer(question, return_offsets_mapping=True, return_special_tokens_mask=True)
        return words_of_pieces(question, encoding["offset_mapping"], encoding["special_tokens_mask"])


def padded_ids(encoded: list[list[int]], pad_id: int, max_tokens: int, truncate: bool) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of several questions -> ids [B, T] and mask [B, T], padded to the longest of them.

    Args:
        encoded: the ids of each question, special tokens included.
        pad_id: fills the rest of the shorter ones.
        max_tokens: longest question.
        truncate: cut longer ones, which keep their closing special token.

    Raises:
        InputError: a question has more than ``max_tokens`` tokens and ``truncate`` is off.
    """
    longest = max(map(len, encoded))
    if longest > max_tokens and not truncate:
        raise InputError(
            "The question is too long: {length} word pieces (a word has one or more), at most {allowed}. Shorten it.",
            length=longest,
            allowed=max_tokens,
        )
    if longest > max_tokens:
        keep = max_tokens - 1
        encoded = [ids if len(ids) <= max_tokens else [*ids[:keep], ids[-1]] for ids in encoded]
    lengths = np.array([len(ids) for ids in encoded])
    mask = np.arange(lengths.max()) < lengths[:, None]  # [B, T]
    padded = np.full(mask.shape, pad_id, dtype=np.int64)
    padded[mask] = np.concatenate(encoded)
    return padded, mask
