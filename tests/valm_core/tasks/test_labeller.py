"""Labels with what spoke for them: a planted word and a planted place are named, bad input is told."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from valm_core.model.build import build_task_model
from valm_core.outputs import InputError
from valm_core.tasks.labeller import Labeller, parse_marked

PLACE = 5  # of the planted cell


def build(config, task, fusion="bi_attention"):
    torch.manual_seed(0)
    return build_task_model(dataclasses.replace(config, task=task, fusion=fusion), ["bad", "good"]).eval()


@pytest.fixture(scope="module")
def feeling(tiny_config):
    return build(tiny_config, "feel")


@pytest.fixture(scope="module")
def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))


def planted(model):
    """The model, saying "good" for the word red alone, and one of both labels by a single cell."""
    model = copy.deepcopy(model)
    red = model.tokenizer.tokenizer.convert_tokens_to_ids("red")
    direction = torch.randn(16, generator=torch.Generator().manual_seed(1))

    def forward(mask, ids, image_tokens=None, spans=None):
        score = 2.0 * ((ids == red) & mask).any(dim=1).float()
        if image_tokens is not None:
            score = score + 2.0 * (image_tokens[:, PLACE] @ direction)
        return torch.stack([-score, score], dim=1), None

    model.forward = forward
    return model


def test_probabilities_are_the_models_with_and_without_the_photo(feeling, noise):
    labelled = Labeller(feeling, torch.device("cpu")).label("what color is the square?", noise)
    ids, mask = feeling.tokenizer(["what color is the square?"])
    with torch.no_grad():
        seen = feeling(mask, ids, pixels=feeling.pixels(noise)[None])[0].softmax(dim=-1)[0]
        blind = feeling(mask, ids)[0].softmax(dim=-1)[0]
    for labels, expected in ((labelled.labels, seen), (labelled.blind_labels, blind)):
        assert labels[0].probability >= labels[1].probability
        assert {answer.text: answer.probability for answer in labels} == pytest.approx(
            dict(zip(feeling.answers, expected.tolist(), strict=True)), abs=1e-5
        )


def test_the_word_that_decides_is_named(feeling):
    labelled = Labeller(planted(feeling), torch.device("cpu")).label("there is any red square many is the what")
    assert labelled.labels[0].text == "good"
    assert labelled.words[int(labelled.effects.argmax())] == "red"
    assert np.count_nonzero(np.abs(labelled.effects) > 1e-6) == 1
    assert labelled.effects.max() == pytest.approx(4.0, abs=1e-4)  # from 2 and -2 to 0 and 0
    verdicts = dict(zip(labelled.words, labelled.word_verdicts, strict=True))
    assert verdicts.pop("red") == "matters"
    assert set(verdicts.values()) == {"no difference"}
    assert labelled.image_map is None
    with pytest.raises(ValueError, match="no map"):
        labelled.explanation()


def test_the_place_that_decides_is_named_and_no_word(feeling, noise):
    labelled = Labeller(planted(feeling), torch.device("cpu")).label("there is the square", noise)
    assert labelled.image_map.ravel()[PLACE] == pytest.approx(1.0)
    assert labelled.places_judged.verdict.startswith("matters")
    assert labelled.effects == pytest.approx(np.zeros(4), abs=1e-5)
    assert set(labelled.word_verdicts) == {"no difference"}
    explanation = labelled.explanation()
    assert explanation.image_map.sum() == pytest.approx(1.0)
    assert explanation.token_to_patch.shape == (4, 16)


def test_marked_parts_are_read_and_never_hidden(tiny_config):
    labeller = Labeller(build(tiny_config, "relate", "text"), torch.device("cpu"))
    labelled = labeller.label("what is [the red square] there is any [blue]")
    assert labelled.words == ("what", "is", "the", "red", "square", "there", "is", "any", "blue")
    assert labelled.spans == ((2, 5), (8, 9))
    assert not labelled.effects[[2, 3, 4, 8]].any()
    assert labelled.effects[[0, 1, 5, 6, 7]].all()
    other = labeller.label("what is [the red square] there is [any] blue")
    assert other.labels[0].probability != labelled.labels[0].probability


@pytest.mark.parametrize("text", ["no part", "[one] part", "[] and [b]", "a] b [c] d [", "[a] [b] [c]"])
def test_two_parts_must_be_marked(text):
    with pytest.raises(InputError, match="Mark two parts"):
        parse_marked(text)


def test_bad_input_is_told(tiny_config, feeling, noise):
    labeller = Labeller(feeling, torch.device("cpu"))
    for text, fault in (
        ("", "The text is empty"),
        ("!?", "empty"),
        ("a " * 501, "1002 characters"),
        ("a " * 30, "32 word"),
    ):
        with pytest.raises(InputError, match=fault):
            labeller.label(text)
    with pytest.raises(InputError, match="photo is needed to judge"):
        Labeller(build(tiny_config, "judge"), torch.device("cpu")).label("a red square")
    with pytest.raises(InputError, match="reads texts alone"):
        Labeller(build(tiny_config, "feel", "text"), torch.device("cpu")).label("a red square", noise)
