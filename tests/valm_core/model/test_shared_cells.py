"""Variants of one photo asked at once give the logits that each variant has alone, with every kind of model."""

import dataclasses

import pytest
import torch

from valm_core.explanations.hiding import logits_without_cells, without_cells
from valm_core.model.build import build_model
from valm_core.outputs import EncodedImage

KINDS = {
    "plain": {},
    "concatenation": {"fusion": "concatenation"},
    "dual_tower": {"fusion": "dual_tower"},
    "similarity": {"similarity": True},
    "glimpses": {"question_head": True, "glimpse_width": 12},
    "everything": {"question_head": True, "glimpse_width": 12, "similarity": True, "product": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_shared_cells_give_each_variants_own_logits(tiny_config, kind):
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
