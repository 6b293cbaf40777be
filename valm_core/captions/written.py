"""Captions as people write them: in the plain words that they are learned and compared by, and in word pieces."""

import re

from valm_core.inputs.question import QuestionTokenizer

WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*|'[a-z]+")


def plain_words(text: str) -> list[str]:
    """The words that captions are compared by: lower case, without punctuation, 's apart.

    That is what the Penn Treebank tokenizer of the official evaluation leaves of plain English; it needs Java.
    """
    return WORD.findall(text.lower().replace("\u2019", "'"))


def caption_pieces(tokenizer: QuestionTokenizer, texts: list[str]) -> list[list[int]]:
    """The token ids of captions, each in its plain words."""
    return tokenizer.tokenizer([" ".join(plain_words(text)) for text in texts], add_special_tokens=False).input_ids
