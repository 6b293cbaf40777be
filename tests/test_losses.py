"""The answer loss against the formula."""

import pytest
import torch

from valm_core.losses import answer_loss


def test_it_is_the_cross_entropy_of_the_two_distributions():
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.5, 0.5, 3.0]])
    targets = torch.tensor([[0.0, 1.0, 0.0], [0.25, 0.0, 0.75]])
    expected = -(targets * logits.log_softmax(dim=-1)).sum(dim=-1).mean()
    torch.testing.assert_close(answer_loss(logits, targets), expected)


def test_label_smoothing_spreads_a_share_over_all_answers():
    logits, targets = torch.tensor([[1.0, 2.0, 0.0, -1.0]]), torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    smoothed = 0.8 * targets + 0.2 / 4
    assert answer_loss(logits, targets, 0.2).item() == pytest.approx(answer_loss(logits, smoothed).item())
