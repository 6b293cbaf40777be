"""How far stated probabilities can be believed: calibration error, what declining to answer is worth, temperature."""

import numpy as np
import torch
from torch import Tensor


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equally wide bins, weighted by their size (Guo et al. 2017).

    Args:
        confidence: [R] probabilities in 0..1 of the given answers.
        correct: [R] their accuracies in 0..1.
        bins: number of bins over 0..1.

    Returns:
        The error in 0..1 (https://arxiv.org/abs/1706.04599, equation 3).
    """
    bin_of_row = _bin_of_row(confidence, bins)
    gap = 0.0
    for index in np.unique(bin_of_row):
        inside = bin_of_row == index
        gap += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return float(gap)


def _bin_of_row(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Which of so many equally wide bins over 0..1 each row is in, [R]; certainty belongs to the last."""
    return np.minimum((confidence * bins).astype(int), bins - 1)


def accuracy_at_coverage(
    confidence: np.ndarray, correct: np.ndarray, coverages: tuple[float, ...]
) -> dict[float, float]:
    """Accuracy where only the surest questions are answered and the others are declined.

    Args:
        confidence: [R] probabilities in 0..1 of the given answers.
        correct: [R] their accuracies in 0..1.
        coverages: shares of the questions to answer, each above 0 and at most 1.

    Returns:
        The accuracy in 0..1 by coverage; one minus it is the risk (El-Yaniv & Wiener 2010, JMLR 11).
    """
    surest_first = correct[np.argsort(-confidence, kind="stable")]
    return {share: float(surest_first[: max(1, round(share * len(correct)))].mean()) for share in coverages}


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """What a reliability diagram shows: how often answers were right, by how sure they were (Guo et al. 2017).

    Args:
        confidence: [R] probabilities in 0..1 of the given answers.
        correct: [R] their accuracies in 0..1.
        bins: number of equally wide bins over 0..1.

    Returns:
        For each bin that isn't empty ``low`` and ``high``, its bounds, ``questions`` and ``accuracy``.
    """
    bin_of_row = _bin_of_row(confidence, bins)
    return [
        {
            "low": round(index / bins, 6),
            "high": round((index + 1) / bins, 6),
            "questions": int((bin_of_row == index).sum()),
            "accuracy": float(correct[bin_of_row == index].mean()),
        }
        for index in np.unique(bin_of_row).tolist()
    ]


def fit_temperature(logits: Tensor, correct: Tensor) -> float:
    """The temperature under which the likeliest answer's probability best predicts whether it is right.

    Minimises the log loss of that probability against ``correct``. Unlike the usual fit against the given answers it
    also counts the questions whose answer is not in the list, so the page doesn't overstate itself on them.

    Args:
        logits: [R, A] before any temperature.
        correct: [R] accuracy in 0..1 of the likeliest answer.

    Returns:
        The best of 200 temperatures spaced evenly on a log scale from 0.2 to 5.
    """
    candidates = torch.logspace(np.log10(0.2), np.log10(5.0), 200).tolist()

    def log_loss(temperature: float) -> float:
        confidence = (logits / temperature).softmax(dim=-1).amax(dim=-1).clamp(1e-6, 1 - 1e-6)
        return -(correct * confidence.log() + (1 - correct) * (1 - confidence).log()).mean().item()

    return min(candidates, key=log_loss)
