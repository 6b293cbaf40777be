"""What makes a verdict on a map out of plain arrays: what to hide, support and its thresholds, agreement, evenness.

Used by every predictor, with torch (``evidence.measure``) and without (``exported.predictor``).
"""

import zlib

import numpy as np

from valm_core.answers import differ
from valm_core.outputs import Answer, Evidence

HIDDEN_SHARE = 0.1  # of the cells
RANDOM_DRAWS = 8
VERDICTS = ("faithful", "weak", "not supported")

# The least support for a verdict, so that a shuffled map of the default checkpoint reaches it in 3 % and 0.5 % of the
# cases. Made by `python -m training.evidence` on one half of the validation questions, tested on the other; see
# docs/reports/evidence.md. Another checkpoint can be calibrated by the same command.
WEAK_SUPPORT, FAITHFUL_SUPPORT = 2.4, 4.1


def hidden_variants(image_tokens: np.ndarray, text_tokens: np.ndarray, image_maps: list[np.ndarray]) -> np.ndarray:
    """Which cells to hide in each variant of a photo: [1 + M + RANDOM_DRAWS, N], True where hidden.

    The first variant hides nothing, the next hide the hottest ``HIDDEN_SHARE`` of each map, the last as many at random:
    the same ones every time for this question and photo.

    Args:
        image_tokens: [1, N, D_image] of the photo, float32.
        text_tokens: [1, T, D_text] of the question.
        image_maps: M maps of N cells.
    """
    cells = image_tokens.shape[1]
    count = hidden_count(HIDDEN_SHARE, cells)
    generator = np.random.default_rng(zlib.crc32(image_tokens.tobytes(), zlib.crc32(text_tokens.tobytes())))
    hidden = np.zeros((1 + len(image_maps) + RANDOM_DRAWS, cells), dtype=bool)
    for row, image_map in enumerate(image_maps, 1):
        hidden[row, np.argsort(-image_map.ravel(), kind="stable")[:count]] = True
    for row in range(1 + len(image_maps), len(hidden)):
        hidden[row, generator.choice(cells, count, replace=False)] = True
    return hidden


def split_variants(probabilities: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The answer's probability in ``hidden_variants``: of the whole photo, without the hottest [M], without random."""
    return float(probabilities[0]), probabilities[1:-RANDOM_DRAWS], probabilities[-RANDOM_DRAWS:]


def gather_evidence(
    method: str,
    answer: str,
    probabilities: tuple[float, np.ndarray, np.ndarray],
    blind_answer: Answer,
    image_map: np.ndarray,
    others: list[np.ndarray],
) -> Evidence:
    """The evidence for one map.

    Args:
        method: that made the map.
        answer: the explained answer.
        probabilities: of ``split_variants`` for this one map.
        blind_answer: the likeliest answer without the photo.
        image_map: [rows, columns].
        others: maps of other methods.
    """
    probability, hottest, random = probabilities
    value = support(float(hottest[0]), random)
    return Evidence(
        method=method,
        answer=answer,
        probability=probability,
        hidden_share=HIDDEN_SHARE,
        hottest_hidden=float(hottest[0]),
        random_hidden=float(random.mean()),
        random_draws=RANDOM_DRAWS,
        blind_answer=blind_answer,
        same_as_blind=blind_answer.text == answer,
        agreement=agreement(image_map, others),
        evenness=evenness(image_map),
        support=value,
        verdict=verdict(value, probability, float(hottest[0]), float(random.mean())),
    )


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


def verdict(value: float, probability: float, hottest: float, random: float) -> str:
    """One of ``VERDICTS``; without an effect of hiding there is nothing that a map could be faithful to.

    Args:
        value: of ``support``.
        probability: the answer's with the whole photo.
        hottest: without the map's hottest cells; it must lie below the other two by what ``answers.differ`` asks for.
        random: without random cells, the mean of the draws.
    """
    without = min(probability, random)
    if hottest >= without or not differ(hottest, without):
        return "not supported"
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


def _log_odds(probability: float | np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def hidden_count(fraction: float, cells: int) -> int:
    """How many of the cells a fraction is: the nearest whole number, but all or none for 1 and 0 only."""
    if fraction in (0.0, 1.0):
        return round(fraction * cells)
    return min(max(round(fraction * cells), 1), cells - 1)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of two maps of one shape, -1..1; 0 where one of them is flat."""
    first, second = (ranks(values.ravel()) for values in (first, second))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of a vector from 0, equal values sharing the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts + 1) / 2)[places]
