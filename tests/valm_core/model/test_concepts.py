"""The concept head: pooling of cells, and what is found joins the cells by its meaning."""

import dataclasses
import math

import pytest
import torch
from PIL import Image

from valm_core.model.build import build_model
from valm_core.model.encoders.concepts import POOLING_SHARPNESS, ConceptHead, photo_logits
from valm_core.outputs import NotOffered
from valm_core.predictor import VqaPredictor


def test_a_photo_shows_what_a_cell_shows_by_a_smooth_maximum():
    cells = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)) * 3
    found = photo_logits(cells)
    for photo in range(2):
        for concept in range(3):
            column = cells[photo, :, concept].tolist()
            mean = sum(math.exp(POOLING_SHARPNESS * value) for value in column) / len(column)
            assert math.isclose(found[photo, concept], math.log(mean) / POOLING_SHARPNESS, abs_tol=1e-4)
    assert (found > cells.mean(dim=1)).all() and (found < cells.amax(dim=1)).all()
    same = torch.full((1, 4, 1), 2.5)
    torch.testing.assert_close(photo_logits(same), torch.tensor([[2.5]]))


def test_every_cell_learns_and_the_likeliest_most():
    cells = torch.tensor([[[0.0], [1.0], [3.0]]], requires_grad=True)
    photo_logits(cells).sum().backward()
    gradient = cells.grad.flatten()
    assert (gradient > 0).all() and gradient.argmax() == 2 and torch.isclose(gradient.sum(), torch.tensor(1.0))


def test_meaning_is_the_sum_of_what_is_shown():
    head = ConceptHead(4, 3, 2)
    head.embeddings.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]))
    meaning = head.meaning(torch.tensor([[0.0, 100.0, -100.0]]))
    torch.testing.assert_close(meaning, torch.tensor([[0.5, 1.0]]))


def test_before_anything_is_learned_concepts_are_rare():
    assert (ConceptHead(4, 3, 2)(torch.zeros(1, 4)).sigmoid() < 0.02).all()


def test_a_predictor_names_what_each_photo_shows_from_its_encoding(tiny_config):
    torch.manual_seed(3)
    config = dataclasses.replace(tiny_config, concepts=3)
    predictor = VqaPredictor(build_model(config, ["yes", "no"], concepts=["dog", "red", "bus"]), torch.device("cpu"))
    head = predictor.model.image_encoder.concept_head
    torch.nn.init.zeros_(head.score.weight)
    head.score.bias.data = torch.tensor([0.0, 2.0, -2.0])
    photos = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    for image in predictor.encode_many(photos):
        assert image.concept_logits.shape == (1, 3) and image.to("cpu").concept_logits is not None
        names, scores = zip(*predictor.concepts(image), strict=True)
        assert names == ("red", "dog", "bus")
        assert scores == pytest.approx([1 / (1 + math.exp(-logit)) for logit in (2, 0, -2)], abs=1e-4)
        assert predictor.concepts(image, 1) == (("red", scores[0]),)
    assert "concepts" in predictor.offers

    head.score.weight.data[0] = torch.randn(head.score.in_features, generator=torch.Generator().manual_seed(1))
    together = [image.concept_logits[0, 0] for image in predictor.encode_many(photos)]
    alone = [predictor.encode(photo).concept_logits[0, 0] for photo in photos]
    torch.testing.assert_close(together, alone)
    assert abs(together[0] - together[1]) > 1e-3  # each photo has its own


def test_a_model_without_concepts_says_so(tiny_predictor):
    assert "concepts" not in tiny_predictor.offers
    with pytest.raises(NotOffered, match="knows no concepts"):
        tiny_predictor.concepts(tiny_predictor.encode(Image.new("RGB", (40, 30), "red")))
