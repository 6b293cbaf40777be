"""Calibration: the error worked by hand, and a planted temperature found again."""

import numpy as np
import pytest
import torch

from training.metrics.calibration import accuracy_at_coverage, expected_calibration_error, fit_temperature, reliability


def test_the_error_as_worked_by_hand():
    # 2 bins. Lower: confidences .2 .4 (mean .3), right 0 1 (mean .5): gap .2, 2 of 5 rows.
    # Upper: confidences .6 .8 1 (mean .8), right 1 0 .5 (mean .5): gap .3, 3 of 5 rows.
    # .4 * .2 + .6 * .3 = .26
    confidence, correct = np.array([0.2, 0.6, 0.4, 0.8, 1.0]), np.array([0, 1, 1, 0, 0.5])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.26)


def test_gaps_in_different_bins_do_not_cancel_out():
    confidence, correct = np.array([0.1, 0.9]), np.array([0.2, 0.8])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.1)
    assert expected_calibration_error(confidence, correct, bins=1) == pytest.approx(0)


def test_certainty_belongs_to_the_last_bin():
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0


@pytest.mark.parametrize("planted", [0.5, 1.0, 2.5])
def test_a_planted_temperature_is_found_again(planted):
    generator = torch.Generator().manual_seed(0)
    true_logits = torch.randn(20_000, 4, generator=generator) * 2
    answers = torch.multinomial(true_logits.softmax(dim=-1), 1, generator=generator).squeeze(1)
    correct = (true_logits.argmax(dim=-1) == answers).float()
    assert fit_temperature(true_logits * planted, correct) == pytest.approx(planted, rel=0.1)


def test_answers_that_are_never_right_get_the_flattest_probabilities():
    logits = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)) * 3
    assert fit_temperature(logits, torch.zeros(100)) == pytest.approx(5.0)


def test_the_surest_questions_are_answered_first():
    confidence, correct = np.array([0.2, 0.9, 0.5, 0.7]), np.array([0.0, 1.0, 0.0, 0.5])
    found = accuracy_at_coverage(confidence, correct, (0.01, 0.25, 0.5, 0.75, 1.0))
    assert found == pytest.approx({0.01: 1.0, 0.25: 1.0, 0.5: 0.75, 0.75: 0.5, 1.0: 0.375})


def test_a_reliability_table_as_worked_by_hand():
    confidence, correct = np.array([0.1, 0.45, 0.3, 1.0]), np.array([0.0, 1.0, 0.5, 1.0])
    assert reliability(confidence, correct, bins=4) == [
        {"low": 0.0, "high": 0.25, "questions": 1, "accuracy": 0.0},
        {"low": 0.25, "high": 0.5, "questions": 2, "accuracy": 0.75},
        {"low": 0.75, "high": 1.0, "questions": 1, "accuracy": 1.0},
    ]
