"""Every term of the training loss against its formula or a case worked by hand."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from training.datasets.questions import QuestionDataset
from training.datasets.readers.jsonl import read_rows
from valm_core.explanations.attention_maps import cross_modal_maps, question_map
from valm_core.learning.losses import (
    AnswerObjective,
    ContrastiveAlignment,
    answer_loss,
    region_cells,
    region_loss,
    soft_answer_loss,
)
from valm_core.model.build import build_model
from valm_core.model.fusion.families import FUSIONS


def test_it_is_the_cross_entropy_of_the_two_distributions():
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.5, 0.5, 3.0]])
    targets = torch.tensor([[0.0, 1.0, 0.0], [0.25, 0.0, 0.75]])
    expected = -(targets * logits.log_softmax(dim=-1)).sum(dim=-1).mean()
    torch.testing.assert_close(answer_loss(logits, targets), expected)


def test_label_smoothing_spreads_a_share_over_all_answers():
    logits, targets = torch.tensor([[1.0, 2.0, 0.0, -1.0]]), torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    smoothed = 0.8 * targets + 0.2 / 4
    assert answer_loss(logits, targets, 0.2).item() == pytest.approx(answer_loss(logits, smoothed).item())


def test_soft_scores_are_summed_over_the_answers_and_averaged_over_the_rows():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])  # sigmoids 1/2, 3/4; 1/2, 1/2
    targets = torch.tensor([[0.3, 1.0], [0.0, 0.6]])
    first = math.log(2) + math.log(4 / 3)  # at 1/2 any target costs ln 2
    assert soft_answer_loss(logits, targets).item() == pytest.approx((first + 2 * math.log(2)) / 2)


# ---- the contrastive loss --------------------------------------------------------------------------------------------


@pytest.fixture
def contrastive():
    torch.manual_seed(0)
    return ContrastiveAlignment(8)


def test_it_is_the_symmetric_info_nce_without_rows_of_the_same_photo(contrastive):
    text, image = torch.randn(4, 8), torch.randn(4, 8)
    photo_ids = [7, 3, 7, 5]
    texts = F.normalize(contrastive.text(text), dim=-1)
    images = F.normalize(contrastive.image(image), dim=-1)
    total = 0.0
    for row in range(4):
        others = [other for other in range(4) if other == row or photo_ids[other] != photo_ids[row]]
        for scores in (texts[row] @ images[others].T, texts[others] @ images[row]):
            total -= (scores / 0.07).log_softmax(dim=0)[others.index(row)] / 8
    torch.testing.assert_close(contrastive(text, image, torch.tensor(photo_ids)), total)


def test_a_batch_about_one_photo_has_nothing_to_tell_apart(contrastive):
    loss = contrastive(torch.randn(3, 8), torch.randn(3, 8), torch.tensor([4, 4, 4]))
    assert loss.item() == 0 and not loss.isnan()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in contrastive.parameters())


def test_the_learned_scale_is_bounded(contrastive):
    with torch.no_grad():
        contrastive.log_scale.fill_(50.0)
    assert contrastive.similarity(torch.randn(5, 8), torch.randn(6, 8)).abs().max() <= 100


# ---- regions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "grid", "cells"),
    [
        ((0, 0, 1, 1), (2, 2), [1, 1, 1, 1]),
        ((0, 0, 0.5, 0.5), (2, 2), [1, 0, 0, 0]),
        ((0.5, 0, 1, 1), (2, 2), [0, 1, 0, 1]),
        ((0.25, 0.0, 0.75, 0.5), (2, 2), [1, 1, 0, 0]),
        ((0.0, 0.25, 1.0, 1.0), (2, 1), [1, 2]),  # half of the upper row, all of the lower one
        ((0.6, 0.1, 0.61, 0.11), (1, 3), [0, 1, 0]),  # smaller than a cell
        ((0.0, 0.9, 0.5, 1.0), (2, 4), [0, 0, 0, 0, 1, 1, 0, 0]),
    ],
)
def test_cells_share_a_region_by_area(region, grid, cells):
    found = region_cells(torch.tensor([region], dtype=torch.float32), grid)
    torch.testing.assert_close(found, torch.tensor([cells]) / sum(cells), atol=1e-5, rtol=0)


def test_rows_without_a_region_cost_nothing():
    nan = float("nan")
    regions = torch.tensor([[0, 0, 0.5, 1.0], [nan, nan, nan, nan]])
    maps = torch.tensor([[0.25, 0.75], [1.0, 0.0]], requires_grad=True)
    loss = region_loss(maps, regions, (1, 2))
    assert loss.item() == pytest.approx(math.log(4) / 2)  # KL((1, 0) || (1/4, 3/4)), and 0
    loss.backward()
    assert (maps.grad[1] == 0).all() and maps.grad.isfinite().all()
    assert region_loss(maps, regions[1:].expand(2, 4), (1, 2)).item() == 0


def test_a_map_that_fits_the_region_costs_nothing():
    maps = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert region_loss(maps, torch.tensor([[0, 0, 1, 0.5]]), (2, 2)).item() == pytest.approx(0, abs=1e-6)


# ---- the whole objective ---------------------------------------------------------------------------------------------


@pytest.fixture
def batch(tiny_model, colored_squares) -> dict:
    """The toy set as one batch of 8 rows."""
    return QuestionDataset(read_rows(colored_squares), tiny_model).collate(list(range(8)))


def objective_of(model, **weights) -> AnswerObjective:
    torch.manual_seed(0)
    return AnswerObjective(model, **weights)


def test_the_total_is_the_weighted_sum(tiny_model, batch):
    terms = objective_of(tiny_model, visual_weight=0.3, alignment_weight=2.0)(**batch)
    assert min(terms.task.item(), terms.visual.item(), terms.alignment.item()) > 0
    torch.testing.assert_close(terms.total, terms.task + 0.3 * terms.visual + 2.0 * terms.alignment)


def test_terms_with_weight_zero_are_not_computed(tiny_model, batch):
    objective = objective_of(tiny_model)
    terms = objective(**batch)
    assert objective.visual_head is None and objective.alignment is None
    assert terms.visual == terms.alignment == 0 and torch.equal(terms.total, terms.task)


def test_the_task_is_the_answer_loss_of_the_model(tiny_model, batch):
    inputs = {name: value for name, value in batch.items() if name not in ("targets", "photo_ids")}
    logits = tiny_model(**inputs).logits
    for settings, expected in (
        ({"label_smoothing": 0.1}, answer_loss(logits, batch["targets"], 0.1)),
        ({"soft_targets": True}, soft_answer_loss(logits, batch["targets"])),
    ):
        torch.testing.assert_close(objective_of(tiny_model, **settings)(**batch).task, expected)


@pytest.mark.parametrize("family", sorted(FUSIONS))
def test_the_visual_head_sees_the_image_stream_alone(tiny_config, batch, family):
    model = build_model(
        dataclasses.replace(tiny_config, fusion=family), ["red", "green", "blue", "yellow", "yes", "no"]
    )
    objective = objective_of(model, visual_weight=1.0)
    seen = []
    objective.visual_head.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    terms = objective(**batch)
    (image, logits), features = seen[0], model(**{k: v for k, v in batch.items() if k not in ("targets", "photo_ids")})
    torch.testing.assert_close(image, features.features.image)
    torch.testing.assert_close(terms.visual, answer_loss(logits, batch["targets"]))
    terms.visual.backward()
    assert all(parameter.grad is None for parameter in model.head.parameters())
    if family == "dual_tower":  # there no text token reaches the image stream
        gate, tower = model.fusion.gate.parameters(), model.fusion.text_tower.parameters()
        assert all(parameter.grad is None for parameter in (*gate, *tower))
        other = {**batch, "token_ids": batch["token_ids"].flip(0), "text_mask": batch["text_mask"].flip(0)}
        torch.testing.assert_close(objective(**other).visual, terms.visual)


def test_the_alignment_is_contrastive_between_the_attended_streams(tiny_model, batch):
    objective = objective_of(tiny_model, alignment_weight=1.0)
    features = tiny_model(**{k: v for k, v in batch.items() if k not in ("targets", "photo_ids")}).features
    expected = objective.alignment(features.text, features.image, batch["photo_ids"])
    torch.testing.assert_close(objective(**batch).alignment, expected)


def test_the_alignment_needs_photos(tiny_model, batch):
    del batch["photo_ids"]
    with pytest.raises(ValueError, match="alignment_weight needs photos"):
        objective_of(tiny_model, alignment_weight=1.0)(**batch)


@pytest.mark.parametrize("family", sorted(FUSIONS))
def test_the_region_term_moves_the_map_into_the_region(tiny_config, batch, family):
    torch.manual_seed(0)
    model = build_model(
        dataclasses.replace(tiny_config, fusion=family), ["red", "green", "blue", "yellow", "yes", "no"]
    )
    objective = objective_of(model, alignment_weight=1.0).eval()
    region = torch.tensor([0.0, 0.0, 0.5, 0.25])  # the first two of 4 x 4 cells
    batch["regions"] = region.repeat(8, 1)
    batch["regions"][6:] = float("nan")

    def in_region() -> float:
        inputs = {k: v for k, v in batch.items() if k not in ("targets", "photo_ids", "regions")}
        features = model(**inputs, return_attention=True).features
        return question_map(features, cross_modal_maps(features)[0])[:6, :2].sum(dim=1).mean().item()

    before = in_region()
    optimizer = torch.optim.Adam(model.fusion.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        objective(**batch).alignment.backward()
        optimizer.step()
    after = in_region()
    assert before < 0.25 and after > 2 * before, (before, after)
