"""What makes a verdict on a map out of plain arrays: what to hide, support and its thresholds, agreement, evenness.

Used by every predictor, with torch (``evidence.measure``) and without (``exported.predictor``).
"""

from collections.abc import Sequence

import numpy as np

from valm_core.answers import differ
from valm_core.outputs import Answer, Evidence, Explanation, WordEvidence

HIDDEN_SHARES = (0.05, 0.2, 0.5, 0.9)  # of the cells: few for what lies in few, nearly all for what lies everywhere
RANDOM_DRAWS = 8  # of orders; twice as many change no verdict and take twice as long
VERDICTS = ("matters", "matters a little", "no difference", "cannot tell")
MIN_CONTRAST = 0.05  # of the hottest cell's share; with less between hottest and coldest a map is flat
SAME_MAP = 0.02  # the share of a map that lies elsewhere than another one, up to which both are the same
MIN_PROBABILITY = 1e-6  # so that its logarithm is a number
SMALLEST_SPREAD = 0.1  # of log-odds: what nothing moves supports no map

# The least support for a verdict, so that a shuffled map of the default checkpoint reaches it in 3 % and 0.5 % of the
# cases. Made by `python -m training.evidence` on one half of the validation questions, tested on the other; see
# docs/reports/maps/evidence.md. Another checkpoint can be calibrated by the same command.
LITTLE_SUPPORT, SUPPORT = 2.2, 4.4
Thresholds = tuple[float, float]  # these two of another model


def hidden_variants(cells: int, asked: Sequence[int], image_maps: list[np.ndarray]) -> np.ndarray:
    """Which cells to hide in each variant of a photo: [1 + (M + RANDOM_DRAWS) * S, N], True where hidden.

    The first variant hides nothing; then each map's hottest cells go, S shares of them (``HIDDEN_SHARES``) a map; then
    random ones: each draw is one order of all cells, of which the same S shares are hidden. No two draws begin with the
    same cell where there are enough of them, for by chance the one cell that counts would often go in several, and
    nothing would be left to compare with. The orders follow from what is asked, not from how it was computed: every
    machine and runtime hides the same cells.

    Args:
        cells: how many a photo has, N.
        asked: numbers that stand for the question, ids of its word pieces for one.
        image_maps: M maps of N cells.
    """
    generator = np.random.default_rng(list(asked))
    orders = [np.argsort(-image_map.ravel(), kind="stable") for image_map in image_maps]
    orders += [_begun_with(first, generator.permutation(cells)) for first in _first_cells(cells, generator)]
    places = np.argsort(np.stack(orders), axis=1)  # [M + RANDOM_DRAWS, N], of each cell in each order
    counts = np.array([hidden_count(share, cells) for share in HIDDEN_SHARES])
    hidden = places[:, None] < counts[:, None]  # [M + RANDOM_DRAWS, S, N]
    return np.concatenate([np.zeros((1, cells), dtype=bool), hidden.reshape(-1, cells)])


def _first_cells(cells: int, generator: np.random.Generator) -> np.ndarray:
    """The cell that each draw begins with [RANDOM_DRAWS], none more than once before all were drawn."""
    return np.resize(generator.permutation(cells), RANDOM_DRAWS)


def _begun_with(first: int, order: np.ndarray) -> np.ndarray:
    """An order with one cell drawn to its beginning."""
    return np.concatenate([[first], order[order != first]])


def split_variants(probabilities: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The answer's probability in ``hidden_variants``: of the whole photo; without the hottest cells [M, S]; without
    random ones [RANDOM_DRAWS, S]."""
    curves = probabilities[1:].reshape(-1, len(HIDDEN_SHARES))
    return float(probabilities[0]), curves[:-RANDOM_DRAWS], curves[-RANDOM_DRAWS:]


def gather_evidence(
    method: str,
    answer: str,
    probabilities: tuple[float, np.ndarray, np.ndarray],
    blind_answer: Answer,
    image_map: np.ndarray,
    others: list[np.ndarray],
    thresholds: Thresholds | None = None,
) -> Evidence:
    """The evidence for one map.

    Args:
        method: that made the map.
        answer: the explained answer.
        probabilities: of ``split_variants`` for this one map.
        blind_answer: the likeliest answer without the photo.
        image_map: [rows, columns].
        others: maps of other methods.
        thresholds: as of ``verdict``, measured on this model; None where none were.
    """
    probability, (hottest,), random = probabilities
    return Evidence(
        method=method,
        answer=answer,
        probability=probability,
        hidden_shares=HIDDEN_SHARES,
        hottest_hidden=tuple(hottest.tolist()),
        random_hidden=tuple(random.mean(axis=0).tolist()),
        random_draws=len(random),
        blind_answer=blind_answer,
        same_as_blind=blind_answer.text == answer,
        agreement=agreement(image_map, others),
        evenness=evenness(image_map),
        support=support(hottest, random),
        verdict=verdict(probability, hottest, random, thresholds),
        own_thresholds=thresholds is not None,
    )


def support(hottest: np.ndarray, random: np.ndarray) -> float:
    """How far the answer falls below its mean under random hiding, in standard deviations of that, at the share of
    hidden cells where it is farthest.

    On the scale of log-odds, where a fall from 99 to 98 % counts as much as one from 2 to 1 %. What the answer rests on
    may lie in few cells, which random hiding soon takes too, or be seen by many, so that a sure answer moves only once
    nearly all are hidden: each share has deviations of its own. A deviation is at least ``SMALLEST_SPREAD``. A map that
    knows nothing is near 1, the largest of a few numbers around 0.

    Args:
        hottest: the answer's probability without the map's hottest cells [S].
        random: the same without random cells [draws, S].
    """
    odds = log_odds(random)  # [draws, S]
    falls = odds.mean(axis=0) - log_odds(hottest)  # [S]
    return float((falls / np.maximum(odds.std(axis=0, ddof=1), SMALLEST_SPREAD)).max())


def verdict(probability: float, hottest: np.ndarray, random: np.ndarray, thresholds: Thresholds | None = None) -> str:
    """One of ``VERDICTS``.

    "cannot tell" where the answer stays with up to nine tenths of the photo hidden: no share of hottest or of random
    cells moves it by what ``answers.differ`` asks for. "no difference" where hiding the hottest cells costs no more
    than hiding random ones.

    Args:
        probability: the answer's with the whole photo.
        hottest: without the map's hottest cells [S].
        random: without random cells [draws, S].
        thresholds: the least support for "matters a little" and for "matters"; the default checkpoint's for None.
    """
    little, much = thresholds or (LITTLE_SUPPORT, SUPPORT)
    if not any(differ(probability, moved) for moved in [*hottest, *random.mean(axis=0)]):
        return "cannot tell"
    value = support(hottest, random)
    if value < little or not has_effect(probability, hottest, random):
        return "no difference"
    return "matters" if value >= much else "matters a little"


def has_effect(probability: float, hottest: np.ndarray, random: np.ndarray) -> bool:
    """Whether at some share the answer lies far enough below the whole photo's and below that of random hiding.

    Arguments as of ``verdict``; far enough is what ``answers.differ`` says.
    """
    without = np.minimum(probability, random.mean(axis=0))  # [S]
    return any(left < most and differ(left, most) for left, most in zip(hottest, without, strict=True))


def check_method(explanation: Explanation, method: str) -> None:
    """Refuse the evidence of one method for the map of another. Raises ValueError."""
    if explanation.method != method:
        raise ValueError(f"explanation is by {explanation.method!r}, but method is {method!r}; use the same.")


def word_without_evidence(explanation: Explanation, word: int) -> WordEvidence | None:
    """What is said of a word whose map can't speak for it, see ``word_doubts``; None where it can."""
    flat, same_as = word_doubts(explanation.token_to_patch, word)
    return WordEvidence(word, flat, same_as, None) if flat or same_as is not None else None


def word_doubts(word_maps: np.ndarray, word: int) -> tuple[bool, int | None]:
    """Why a word's map can't speak for it: whether it is flat, and which other word's map (the first) it equals.

    Args:
        word_maps: [W, N], each of a sum of 1.
        word: which of the W words.

    Raises:
        ValueError: there is no such word.
    """
    if not 0 <= word < len(word_maps):
        raise ValueError(f"word is {word}, but the question has the words 0 to {len(word_maps) - 1}.")
    if is_flat(word_maps[word]):
        return True, None
    apart = np.abs(word_maps - word_maps[word]).sum(axis=1) / 2  # 0..1, the share of a map that lies elsewhere
    apart[word] = 1
    return False, int(apart.argmin()) if apart.min() <= SAME_MAP else None


def is_flat(heat: np.ndarray) -> bool:
    """Whether no place of a map stands out: its hottest cell is hardly hotter than its coldest."""
    return float(np.ptp(heat)) <= MIN_CONTRAST * float(heat.max())


def log_falls(probability: float, without: np.ndarray) -> np.ndarray:
    """How far the logarithm of a probability falls once it is those of ``without`` [F]; 0 where it rises; float32."""
    falls = np.log(max(probability, MIN_PROBABILITY)) - np.log(np.maximum(without, MIN_PROBABILITY))
    return np.maximum(falls, 0).astype(np.float32)


def agreement(image_map: np.ndarray, others: list[np.ndarray]) -> float:
    """Mean rank correlation of a map with others of its shape, -1..1."""
    return float(np.mean([rank_correlation(image_map, other) for other in others]))


def evenness(image_map: np.ndarray) -> float:
    """The map's entropy as a share of a uniform map's, 0..1: 1 says everywhere the same, 0 all in one cell."""
    shares = image_map.ravel()[image_map.ravel() > 0]
    return abs(float((shares * np.log(shares)).sum() / np.log(image_map.size))) if image_map.size > 1 else 1.0


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Of probabilities in 0..1; those of 0 and 1 stay numbers."""
    clipped = np.clip(probability.astype(np.float64), MIN_PROBABILITY, 1 - MIN_PROBABILITY)
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
