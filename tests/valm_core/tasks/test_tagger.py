"""Tagger: words as typed become labelled words; what is hidden is hidden; bad input is named."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from valm_core.model.build import build_task_model
from valm_core.model.tasks.span_labels import bio_labels, mended
from valm_core.outputs import InputError
from valm_core.tasks.tagger import MAX_WORDS, Tagger, split_words


@pytest.fixture(scope="module")
def tagger(tiny_config) -> Tagger:
    """With random weights; it sees photos, and words are at most 14 pieces in a window."""
    torch.manual_seed(4)
    model = build_task_model(dataclasses.replace(tiny_config, task="tag"), bio_labels(("LOC", "PER")))
    torch.nn.init.normal_(model.written_projection.weight)  # zero until something is learned
    torch.nn.init.normal_(model.head[-1].weight, std=3.0)
    return Tagger(model, torch.device("cpu"))


def test_what_is_hidden_has_no_influence_and_what_is_not_has(tagger):
    hidden = np.array([[False, True, False]])
    one, _ = tagger._logits(("Red", "blue", "what"), hidden, None)
    other, _ = tagger._logits(("Red", "SQUARE", "what"), hidden, None)
    assert torch.equal(one, other)
    written, _ = tagger._logits(("red", "blue", "what"), hidden, None)
    assert not torch.equal(one, written)  # an uncased tokenizer, and yet the capital counts


def test_variants_side_by_side_are_what_each_is_alone(tagger):
    words = ("red", "Blue", "what", "is", "this", "square", "the", "red", "blue", "what", "is", "this", "A", "b", "c")
    hidden = np.zeros((3, len(words)), dtype=bool)  # more words than fit in one window
    hidden[1, 4], hidden[2, 13:] = True, True
    together, mask = tagger._logits(words, hidden, None)
    assert together.shape == (3, len(words), 5) and mask.all()
    for row in range(3):
        alone, _ = tagger._logits(words, hidden[row : row + 1], None)
        assert torch.allclose(together[row], alone[0], atol=1e-5)


def test_a_sentence_and_its_photo_are_labelled_and_explained(tagger):
    tagged = tagger.tag("Red square, the BLUE what?", Image.new("RGB", (50, 40), (200, 30, 30)))
    assert tagged.words == ("Red", "square", ",", "the", "BLUE", "what", "?")
    assert len(tagged.labels) == 7 and mended(tagged.labels) == tagged.labels
    assert tagged.spans and all(0 <= value <= 1 for value in tagged.probabilities)
    for span in tagged.spans:
        assert span.word_scores.shape == (7,) and (span.word_scores >= 0).all()
        assert span.cell_map.shape == tagger.model.grid
        assert span.text == " ".join(tagged.words[span.first : span.end])
        assert span.verdict and span.photo_verdict
    quick = tagger.tag("Red square, the BLUE what?", explain=False)
    assert quick.words == tagged.words and all(span.verdict == "" for span in quick.spans)


def test_text_becomes_the_words_of_the_training_data():
    text = "The U.S. didn't beat U.N.'s team 3-1, said @ann on http://t.co/x1: #win."
    assert split_words(text) == (
        *("The", "U.S.", "didn't", "beat", "U.N.", "'s", "team", "3-1", ",", "said", "@ann"),
        *("on", "http://t.co/x1:", "#win", "."),
    )
    assert split_words("Ben-Elissar's AT&T") == ("Ben-Elissar", "'s", "AT&T")


@pytest.mark.parametrize(
    ("text", "fault"),
    [("", "empty"), (" ?! ", "empty"), ("a" * 2001, "too long"), ("word " * (MAX_WORDS + 1), "at most 120 words")],
)
def test_what_cannot_be_labelled_is_named(tagger, text, fault):
    with pytest.raises(InputError, match=fault):
        tagger.tag(text)


def test_a_model_of_texts_alone_refuses_a_photo(tiny_config):
    config = dataclasses.replace(tiny_config, task="tag", fusion="text")
    tagger = Tagger(build_task_model(config, bio_labels(("X",))), torch.device("cpu"))
    with pytest.raises(InputError, match="texts alone"):
        tagger.tag("red square", Image.new("RGB", (8, 8)))
