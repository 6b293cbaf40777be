"""The objective of captions: what a photo costs doesn't depend on how many captions the photos beside it have."""

import pytest
import torch

from valm_core.config import ValmConfig
from valm_core.learning.captioning import NO_TARGET, CaptionObjective, token_loss
from valm_core.model.build import build_caption_model
from valm_core.model.tasks.beam_search import END

CAPTIONS = [[3, 2], [4], [3, 4, 5], [2]]  # pieces in each caption of four photos


@pytest.fixture(scope="module")
def model(tiny_config):
    config = ValmConfig(
        **{name: getattr(tiny_config, name) for name in ("text_encoder", "image_encoder", "image_size", "heads")},
        **{"task": "caption", "width": 16, "layers": 2, "dropout": 0.0, "max_question_tokens": 12, "vocabulary": 11},
    )
    torch.manual_seed(0)
    model = build_caption_model(config).eval()
    torch.nn.init.normal_(model.pieces.weight)
    return model


@pytest.fixture(scope="module")
def batch(model):
    """Four photos, the arguments of ``CaptionObjective.forward``."""
    generator = torch.Generator().manual_seed(1)
    shape = len(CAPTIONS), max(map(sum, CAPTIONS))
    places, targets = torch.full(shape, END), torch.full(shape, NO_TARGET)
    captions, positions = torch.full(shape, -1), torch.zeros(shape, dtype=torch.long)
    for photo, lengths in enumerate(CAPTIONS):
        whole = slice(sum(lengths))
        places[photo, whole] = torch.randint(3, 11, (sum(lengths),), generator=generator)
        targets[photo, whole] = torch.randint(3, 11, (sum(lengths),), generator=generator)
        captions[photo, whole] = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        positions[photo, whole] = torch.cat([torch.arange(length) for length in lengths])
    pixels = torch.rand(len(CAPTIONS), 3, model.config.image_size, model.config.image_size, generator=generator)
    return {"places": places, "targets": targets, "captions": captions, "positions": positions, "pixels": pixels}


def test_a_batch_costs_what_its_photos_cost_one_by_one(model, batch):
    objective = CaptionObjective(model, visual_weight=0.5, alignment_weight=0.25)
    together = objective(**batch)
    alone, pieces = [], []
    for photo, lengths in enumerate(CAPTIONS):
        own = {name: value[photo : photo + 1] for name, value in batch.items()}
        own |= {name: own[name][:, : sum(lengths)] for name in ("places", "targets", "captions", "positions")}
        alone.append(objective(**own))
        pieces.append(sum(lengths))
    expected = sum(terms.task * count for terms, count in zip(alone, pieces, strict=True)) / sum(pieces)
    assert together.task.item() == pytest.approx(expected.item(), rel=1e-5)
    for name in ("visual", "alignment"):
        mean = torch.stack([getattr(terms, name) for terms in alone]).mean().item()
        assert getattr(together, name).item() == pytest.approx(mean, rel=1e-5) and mean > 0
    total = together.task + 0.5 * together.visual + 0.25 * together.alignment
    assert together.total.item() == pytest.approx(total.item(), rel=1e-6)


def test_its_task_is_the_loss_that_validation_measures(model, batch):
    summed, pieces = token_loss(model, batch)
    assert pieces == sum(map(sum, CAPTIONS))
    assert CaptionObjective(model)(**batch).task.item() == pytest.approx(summed / pieces, rel=1e-5)
