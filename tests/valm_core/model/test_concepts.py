"""The concept head: pooling of cells, and what is found joins the cells by its meaning."""

import math

import torch

from valm_core.model.concepts import POOLING_SHARPNESS, ConceptHead, photo_logits


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
