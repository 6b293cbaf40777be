"""Scores for candidate answers outside the list."""

import torch
from torch.nn import functional as F

from valm_core.model.heads import AnswerHead, candidate_scores


def test_the_head_scores_every_answer():
    assert AnswerHead(8, 5)(torch.randn(3, 8)).shape == (3, 5)


def test_a_listed_answer_counts_by_its_probability_and_a_near_one_by_its_nearness():
    answers = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), dim=-1)
    near_first = F.normalize(torch.tensor([[1.0, 0.2, 0.0]]), dim=-1)
    candidates = torch.cat([answers, near_first, torch.tensor([[0.0, 0.0, 1.0]])])
    first, second, near, far = candidate_scores(torch.tensor([0.7, 0.3]), answers, candidates).tolist()
    assert first > near > second > far > 0
    assert abs(first - 0.7) < 1e-5  # the other answer is orthogonal: exp(-12) of .3


def test_the_order_of_candidates_does_not_matter():
    torch.manual_seed(0)
    answers, candidates = F.normalize(torch.randn(4, 6), dim=-1), F.normalize(torch.randn(3, 6), dim=-1)
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.4])
    scores = candidate_scores(probabilities, answers, candidates)
    torch.testing.assert_close(candidate_scores(probabilities, answers, candidates.flip(0)), scores.flip(0))
