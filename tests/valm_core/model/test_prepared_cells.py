"""Cells made ready once answer as the photo does, and are kept no longer than it; variants answer as each alone."""

import dataclasses
import gc

import pytest
import torch
from PIL import Image

from valm_core.explanations.hiding import logits_without_cells, without_cells
from valm_core.model.build import build_model
from valm_core.outputs import EncodedImage
from valm_core.predictor import MAX_PREPARED, VqaPredictor

KINDS = {
    "plain": {},
    "concatenation": {"fusion": "concatenation"},
    "dual_tower": {"fusion": "dual_tower"},
    "similarity": {"similarity": True},
    "glimpses": {"question_head": True, "glimpse_width": 12},
    "everything": {"question_head": True, "glimpse_width": 12, "similarity": True, "product": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_cells_give_each_variants_own_logits(tiny_config, kind):
    torch.manual_seed(2)
    model = build_model(dataclasses.replace(tiny_config, **KINDS[kind]), ["red", "green", "blue"]).eval()
    torch.nn.init.normal_(model.mean_image_token)
    with torch.no_grad():
        for parameter in (*model.fusion.parameters(), *model.head.parameters()):
            parameter += 0.1 * torch.randn_like(parameter)  # a new head reads nothing of the photo
    text = model.encode_question(*model.tokenizer(["what color is the square?"], True))
    cells = model.image_encoder.grid[0] * model.image_encoder.grid[1]
    image = EncodedImage(torch.randn(1, cells, model.image_encoder.width), model.image_encoder.grid)
    hidden = torch.rand(20, cells) < torch.linspace(0, 1, 20)[:, None]  # more than one batch; from none to nearly all
    tokens = without_cells(model, image.tokens, hidden)
    with torch.no_grad():
        own = model(
            text_tokens=text.tokens.expand(20, -1, -1), text_mask=text.mask.expand(20, -1), image_tokens=tokens
        ).logits
    assert own.std(dim=0).max() > 1e-4  # hiding does something
    torch.testing.assert_close(logits_without_cells(model, text, image, hidden), own, atol=1e-5, rtol=1e-5)


def test_cells_of_several_photos_are_prepared_one_by_one_or_together(tiny_config):
    torch.manual_seed(3)
    model = build_model(dataclasses.replace(tiny_config, **KINDS["everything"]), ["red", "green"]).eval()
    cells = model.image_encoder.grid[0] * model.image_encoder.grid[1]
    tokens = torch.randn(2, cells, model.image_encoder.width)
    with torch.no_grad():
        together = model.prepare(tokens, model.image_encoder.grid)
        first, second = (model.prepare(photo[None], model.image_encoder.grid) for photo in tokens)
    for part in ("projected", "matched", "glimpsed"):
        torch.testing.assert_close(getattr(first.joined([second]), part), getattr(together, part))


def test_a_photo_is_prepared_once_and_forgotten_with_it(tiny_config, monkeypatch):
    model = build_model(dataclasses.replace(tiny_config, **KINDS["everything"]), ["red", "green"])
    predictor, prepared = VqaPredictor(model, torch.device("cpu")), []
    prepare = model.prepare
    monkeypatch.setattr(model, "prepare", lambda *cells: prepared.append(cells[1]) or prepare(*cells))
    photo = predictor.encode(Image.new("RGB", (40, 30), "red"))
    first = predictor.answer(photo, "what is this?")
    assert predictor.answer(photo, "what is this?") == first
    assert prepared.count(photo.grid) == 1
    assert len(predictor.prepared) == 1
    del photo
    gc.collect()
    assert len(predictor.prepared) == 0  # nothing is kept of people's photos
    photos = predictor.encode_many([Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(MAX_PREPARED + 5)])
    replies = predictor.answer_many(photos, ["what is this?"] * len(photos))
    assert len(predictor.prepared) <= MAX_PREPARED
    alone = VqaPredictor(model, torch.device("cpu")).answer(photos[-1], "what is this?")
    assert [answer.text for answer in replies[-1].answers] == [answer.text for answer in alone.answers]
    assert replies[-1].answers[0].probability == pytest.approx(alone.answers[0].probability, abs=1e-5)
