"""Evidence for one map: what hiding its hottest cells does to the answer, against random ones."""

import zlib

import numpy as np
import torch

from valm_core.explanations.faithfulness import hidden_count, rank_correlation
from valm_core.explanations.hiding import logits_without_cells
from valm_core.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText

HIDDEN_SHARE = 0.1  # of the cells
RANDOM_DRAWS = 8
COMPARED_METHODS = ("raw_attention", "attention_rollout", "grad_cam", "gradient_relevancy")  # the quick ones
VERDICTS = ("faithful", "weak", "not supported")

# The least support for a verdict, so that a shuffled map of the default checkpoint reaches it in 3 % and 0.5 % of the
# cases. Made by `python -m training.evidence` on one half of the validation questions, tested on the other; see
# docs/reports/evidence.md. Another checkpoint can be calibrated by the same command.
WEAK_SUPPORT, FAITHFUL_SUPPORT = 2.0, 3.7


def hiding_probabilities(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int, image_maps: list[np.ndarray]
) -> tuple[float, np.ndarray, np.ndarray]:
    """The answer's calibrated probability with the whole photo, without the hottest cells, and without random ones.

    Args:
        model: in evaluation mode.
        text: one encoded question.
        image: one encoded photo, N tokens.
        answer_index: the explained answer.
        image_maps: M maps of N cells.

    Returns:
        One probability; those without the hottest ``HIDDEN_SHARE`` of each map [M]; and those of ``RANDOM_DRAWS``
        random choices of as many cells, the same ones every time for this question and photo.
    """
    cells = image.tokens.shape[1]
    count = hidden_count(HIDDEN_SHARE, cells)
    seed = zlib.crc32(image.tokens.float().cpu().numpy().tobytes(), zlib.crc32(text.tokens.cpu().numpy().tobytes()))
    generator = np.random.default_rng(seed)
    hidden = np.zeros((1 + len(image_maps) + RANDOM_DRAWS, cells), dtype=bool)
    for row, image_map in enumerate(image_maps, 1):
        hidden[row, np.argsort(-image_map.ravel(), kind="stable")[:count]] = True
    for row in range(1 + len(image_maps), len(hidden)):
        hidden[row, generator.choice(cells, count, replace=False)] = True
    logits = logits_without_cells(model, text, image, torch.from_numpy(hidden)) / model.config.temperature
    probabilities = logits.softmax(dim=-1)[:, answer_index].cpu().numpy()
    return float(probabilities[0]), probabilities[1:-RANDOM_DRAWS], probabilities[-RANDOM_DRAWS:]


def support(hottest: float, random: np.ndarray) -> float:
    """How far the answer falls below its mean under random hiding, in standard deviations of that.

    On the scale of log-odds, where a fall from 99 to 98 % counts as much as one from 2 to 1 %. A map that knows nothing
    is near 0, with a spread of about 1. The deviation is at least 0.02: a question whose answer nothing moves supports
    no map.

    Args:
        hottest: the answer's probability without the map's hottest cells.
        random: the same without random cells [draws].
    """
    odds = _log_odds(random)
    return float((odds.mean() - _log_odds(hottest)) / max(odds.std(ddof=1), 0.02))


def verdict(value: float) -> str:
    """One of ``VERDICTS`` for a value of ``support``."""
    if value >= FAITHFUL_SUPPORT:
        return "faithful"
    return "weak" if value >= WEAK_SUPPORT else "not supported"


def agreement(image_map: np.ndarray, others: list[np.ndarray]) -> float:
    """Mean rank correlation of a map with others of its shape, -1..1."""
    return float(np.mean([rank_correlation(image_map, other) for other in others]))


def evenness(image_map: np.ndarray) -> float:
    """The map's entropy as a share of a uniform map's, 0..1: 1 says everywhere the same, 0 all in one cell."""
    shares = image_map.ravel()[image_map.ravel() > 0]
    return abs(float((shares * np.log(shares)).sum() / np.log(image_map.size))) if image_map.size > 1 else 1.0


def _log_odds(probability: np.ndarray | float) -> np.ndarray:
    probability = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.log(probability / (1 - probability))
