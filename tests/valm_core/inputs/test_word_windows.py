"""Words as pieces in windows: every piece finds its word back, however sentences are put together or cut."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from valm_core.inputs.question import QuestionTokenizer
from valm_core.inputs.word_shapes import LETTERS, SHAPES, word_letters, word_shapes
from valm_core.inputs.word_windows import SENTENCES_A_WINDOW, sentence_pieces, window_tensors, windows_in_a_row
from valm_core.model.encoders.packages import packaged_file
from valm_core.model.tasks.tagger import mean_of_words


@pytest.fixture(scope="module")
def tokenizer() -> QuestionTokenizer:
    return QuestionTokenizer(AutoTokenizer.from_pretrained(packaged_file("all-minilm-l6-v2").parent), 64)


SENTENCES = [["LEICESTERSHIRE", "beat", "Somerset", "."], ["Rain", "\u200b", "stopped"], ["[SEP]", "Zürich"]]


def test_pieces_of_windows_belong_to_their_words(tokenizer):
    parts = [part for words in SENTENCES for part in sentence_pieces(tokenizer, words, 64)]
    tensors = window_tensors([parts[:2], parts[2:]], tokenizer)
    assert tensors["word_mask"].tolist() == [[True] * 4, [True] * 3 + [False], [True] * 2 + [False] * 2]
    names = np.array([list(words) + [""] * (4 - len(words)) for words in SENTENCES]).flatten()
    read: dict[str, list[int]] = {}
    for ids, places in zip(tensors["token_ids"].tolist(), tensors["word_index"].tolist(), strict=True):
        for piece, place in zip(ids, places, strict=True):
            if place:
                read.setdefault(str(names[place - 1]), []).append(piece)
    whole = {word: tokenizer.tokenizer(word, add_special_tokens=False).input_ids for row in SENTENCES for word in row}
    assert read == {word: ids for word, ids in whole.items() if ids}  # what can't be seen has no piece
    assert tensors["letters"].shape == (9, LETTERS) and tensors["shapes"].shape == (9, len(SHAPES))


def test_words_get_the_mean_of_their_pieces_and_zeros_without_any():
    tokens = torch.arange(8.0).reshape(1, 4, 2)
    means = mean_of_words(tokens, torch.tensor([[0, 1, 1, 3]]), 3)
    assert means.tolist() == [[3.0, 4.0], [0.0, 0.0], [6.0, 7.0]]


def test_a_long_sentence_is_cut_between_words_and_none_is_lost(tokenizer):
    words = [f"word{number}" for number in range(60)]
    parts = sentence_pieces(tokenizer, words, 32)
    assert len(parts) > 1 and sum(part.count for part in parts) == 60
    assert all(len(part.pieces) <= 30 for part in parts)
    assert (np.concatenate([part.letters for part in parts]) == word_letters(words)).all()
    assert sentence_pieces(tokenizer, ["x" * 5000], 32)[0].count == 1  # one endless word


def test_windows_hold_neighbours_within_their_limits(tokenizer):
    parts = [sentence_pieces(tokenizer, ["a", "b"], 64)[0]] * 20
    windows = windows_in_a_row(parts, 64)
    assert [number for window in windows for number in window] == list(range(20))
    assert max(map(len, windows)) == SENTENCES_A_WINDOW
    assert [len(window) for window in windows_in_a_row(parts, 8)] == [2] * 10


def test_shapes_tell_what_an_uncased_encoder_cannot_see():
    def named(words, place):
        return {name for name, holds in zip(SHAPES, word_shapes(words)[place], strict=True) if holds}

    assert "first letter is a capital" in named(["he", "met", "Bush"], 2)
    assert "first letter is a capital" not in named(["the", "bush"], 1)
    assert {"all capitals", "sentence in capitals"} <= named(["ENGLAND", "WIN", "."], 0)
    assert "sentence in capitals" not in named(["US", "troops", "left"], 0)
    assert "capitals with full stops" in named(["U.S.", "troops"], 0)
    assert {"has a digit", "digits with marks"} <= named(["1996-08-22"], 0)
    assert (word_letters(["US"]) != word_letters(["us"])).any()
    assert word_shapes([]).shape == (0, len(SHAPES))
