"""Captions as people write them: in the plain words that they are learned and compared by, and in word pieces."""

import re
from collections.abc import Sequence

from valm_core.inputs.question import QuestionTokenizer
from valm_core.model.tasks.beam_search import BEGIN, END, UNKNOWN
from valm_core.outputs import InputError

MAX_SHOWN_TEXT = 100  # letters of a text that a message repeats

WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*|'[a-z]+")


def plain_words(text: str) -> list[str]:
    """The words that captions are compared by: lower case, without punctuation, 's apart.

    That is what the Penn Treebank tokenizer of the official evaluation leaves of plain English; it needs Java.
    """
    return WORD.findall(text.lower().replace("\u2019", "'"))


def caption_pieces(tokenizer: QuestionTokenizer, texts: list[str]) -> list[list[int]]:
    """The token ids of captions, each in its plain words."""
    return tokenizer.tokenizer([" ".join(plain_words(text)) for text in texts], add_special_tokens=False).input_ids


def caption_places(pieces: Sequence[Sequence[int]], vocabulary: Sequence[int], most: int) -> list[list[int]]:
    """Captions' token ids as places in a model's vocabulary, each from ``BEGIN`` to ``END``, cut at ``most`` places.

    Args:
        pieces: of each caption, see ``caption_pieces``.
        vocabulary: the token id of each place.
        most: the model's places.
    """
    place = {token: number for number, token in enumerate(vocabulary)}
    return [[BEGIN, *(place.get(token, UNKNOWN) for token in tokens), END][:most] for tokens in pieces]


def check_has_word(text: str) -> None:
    """Refuse a text without a word. Raises InputError."""
    if not plain_words(text):
        raise InputError("The text {text!r} has no word. Write what the photo shows.", text=text[:MAX_SHOWN_TEXT])
