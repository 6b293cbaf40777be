"""From the word pieces that a model reads to the words that a person wrote."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from valm_core.outputs import Explanation

JOINING = ("-", "'")


def words_of_pieces(
    question: str, offsets: Sequence[tuple[int, int]], special: Sequence[int]
) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    """The words of ``question``, split at white space, and for every token the word it belongs to.

    Args:
        question: the text that was tokenized.
        offsets: for each token where it begins and ends in the text.
        special: for each token whether it is a special one; those belong to no word (None).
    """
    token_words = tuple(
        None if is_special else len(question[:end].split()) - 1
        for (_, end), is_special in zip(offsets, special, strict=True)
    )
    return tuple(question.split()), token_words


def merge_word_pieces(
    explanation: Explanation, words: tuple[str, ...], token_words: tuple[int | None, ...]
) -> Explanation:
    """Bring an explanation from word pieces to words.

    A word's map is the mean of its pieces' maps; its scores and what patches gave it are their sums. Special tokens are
    left out, and what remains is scaled to sum to 1 again.

    Args:
        explanation: over T word pieces.
        words: the W words.
        token_words: for each piece the word it belongs to, or None.
    """
    membership = np.zeros((len(words), len(token_words)), dtype=np.float32)  # [W, T]
    for token, word in enumerate(token_words):
        if word is not None:
            membership[word, token] = 1.0
    mean = membership / np.maximum(membership.sum(axis=1, keepdims=True), 1)
    patch_to_token = explanation.patch_to_token @ membership.T  # [N, W]
    token_scores = membership @ explanation.token_scores
    # Where special tokens took everything, the words share alike.
    token_scores = np.where(token_scores.sum() > 0, token_scores, np.float32(1))
    patch_to_token = np.where(patch_to_token.sum(axis=1, keepdims=True) > 0, patch_to_token, np.float32(1))
    return dataclasses.replace(
        explanation,
        tokens=words,
        token_scores=token_scores / token_scores.sum(),
        token_to_patch=mean @ explanation.token_to_patch,
        patch_to_token=patch_to_token / patch_to_token.sum(axis=1, keepdims=True),
        text_to_image=np.einsum("wt,lhtn->lhwn", mean, explanation.text_to_image),
        image_to_text=np.einsum("wt,lhnt->lhnw", membership, explanation.image_to_text),
    )


def join_word_pieces(pieces: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Word pieces as a BERT tokenizer names them -> the words that people read, and the word of every piece.

    ``##`` marks a piece that goes on with a word; hyphens and apostrophes hold their neighbours together, as in
    "t-shirt" and "man's".
    """
    words: list[str] = []
    places = []
    for number, piece in enumerate(pieces):
        joins = piece.startswith("##") or piece in JOINING or (number > 0 and pieces[number - 1] in JOINING)
        text = piece.removeprefix("##")
        if joins and words:
            words[-1] += text
        else:
            words.append(text)
        places.append(len(words) - 1)
    return tuple(words), tuple(places)
