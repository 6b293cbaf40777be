"""The retrieval objective against the loss written out."""

import dataclasses

import pytest
import torch

from valm_core.learning.retrieval import RetrievalObjective
from valm_core.model.build import build_task_model
from valm_core.model.tasks.retrieval import late_interaction


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(3)
    return build_task_model(dataclasses.replace(tiny_config, task="retrieval")).eval()


@pytest.fixture
def batch(model):
    torch.manual_seed(4)
    ids, mask = model.tokenizer(["red square", "a green square", "blue", "yellow square"])
    return {
        "token_ids": ids,
        "text_mask": mask,
        "photo_ids": torch.tensor([0, 1, 1, 2]),
        "photo_index": torch.tensor([0, 1, 1, 2]),
        "pixels": torch.rand(3, 3, 32, 32),
    }


def contrastive(scores, photo_ids):
    """Each row against its own column and those of other photos; then each column; by loops."""
    losses = []
    for table in (scores, scores.T):
        for row in range(len(table)):
            kept = [column for column in range(len(table)) if column == row or photo_ids[column] != photo_ids[row]]
            losses.append(table[row, kept].logsumexp(dim=0) - table[row, row])
    return torch.stack(losses).mean()


@torch.no_grad()
def test_terms_equal_the_written_out_loss(model, batch):
    vocabulary = model.tokenizer.tokenizer.convert_tokens_to_ids(["red", "square"])
    objective = RetrievalObjective(model, 0.5, 2.0, vocabulary=torch.tensor(vocabulary)).eval()
    terms = objective(**batch)
    texts = model.encode_texts(batch["token_ids"], batch["text_mask"])
    photos = model.encode_photos(batch["pixels"])
    vectors = photos.vector[batch["photo_index"]]
    late = late_interaction(texts, photos)[:, batch["photo_index"]]
    assert terms.task == pytest.approx(
        float(contrastive(model.scales[0] * texts.vector @ vectors.T, batch["photo_ids"])), abs=1e-4
    )
    assert terms.alignment == pytest.approx(float(contrastive(model.scales[1] * late, batch["photo_ids"])), abs=1e-4)
    present = torch.tensor([[1.0, 1], [0, 1], [0, 0], [0, 1]])
    chances = objective.named(vectors).sigmoid()
    visual = -(present * chances.log() + (1 - present) * (1 - chances).log()).sum(dim=1).mean()
    assert terms.visual == pytest.approx(float(visual), abs=1e-4)
    assert terms.total == pytest.approx(float(terms.task + 0.5 * terms.visual + 2.0 * terms.alignment), abs=1e-4)


def test_terms_of_no_weight_are_not_computed(model, batch):
    terms = RetrievalObjective(model, alignment_weight=0.0)(**batch)
    assert terms.visual == terms.alignment == 0
    assert terms.total == terms.task


def test_a_visual_term_needs_a_vocabulary(model):
    with pytest.raises(ValueError, match="there is no vocabulary"):
        RetrievalObjective(model, visual_weight=1.0)
