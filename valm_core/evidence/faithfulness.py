"""Does a map tell the truth? Hide what it marks, most important first or last, and watch the answer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from valm_core.evidence.rules import hidden_count

PERTURBATION_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)  # Chefer et al. 2021
EVIDENCE_FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)  # DeYoung et al. 2020
FRACTIONS = tuple(
    sorted({*PERTURBATION_FRACTIONS, *EVIDENCE_FRACTIONS, *(round(1 - part, 2) for part in EVIDENCE_FRACTIONS)})
)


@dataclass(frozen=True, eq=False)
class HidingCurve:
    """What became of the answer while more and more of the photo was hidden.

    ``fractions`` [F] are ``FRACTIONS``, ``probability`` [F] that of the explained answer, ``chosen`` [F] the answer
    (its index) that was the likeliest.
    """

    fractions: np.ndarray
    probability: np.ndarray
    chosen: np.ndarray

    def at(self, fractions: tuple[float, ...]) -> np.ndarray:
        """Places of some fractions in the curve."""
        return np.searchsorted(self.fractions, np.array(fractions) - 1e-6)


def hiding_curves(
    ask: Callable[[Tensor], Tensor], importances: list[np.ndarray], answer_index: int, seed: int = 0
) -> list[tuple[HidingCurve, HidingCurve]]:
    """Hide the cells of a photo in the order of each map, once the most and once the least important first.

    Args:
        ask: hidden cells [V, N] (True where hidden) -> logits [V, A], e.g. ``hiding.logits_without_cells`` or
            ``logits_without_pixels`` of one question. It is called once, with every variant once.
        importances: maps of N cells each, of any scale and shape.
        answer_index: the explained answer.
        seed: of the order among cells of equal importance, so that a flat map hides at random and not row by row.

    Returns:
        For every map two curves: most important first, least important first.
    """
    generator = np.random.default_rng(seed)
    variants = np.stack([_hidden_cells(importance.ravel(), generator) for importance in importances])  # [M, 2, F, N]
    asked, places = np.unique(variants.reshape(-1, variants.shape[-1]), axis=0, return_inverse=True)
    probabilities = ask(torch.from_numpy(asked)).softmax(dim=-1).cpu().numpy()  # [V, A]
    chosen = probabilities.argmax(axis=-1)[places].reshape(variants.shape[:3])  # [M, 2, F]
    probability = probabilities[:, answer_index][places].reshape(variants.shape[:3])
    fractions = np.array(FRACTIONS)
    curves = []
    for place in range(len(importances)):
        first, last = zip(probability[place], chosen[place], strict=True)
        curves.append((HidingCurve(fractions, *first), HidingCurve(fractions, *last)))
    return curves


def _hidden_cells(importance: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """importance [N] -> [2, F, N]: what to hide at every fraction, most important first and least important first."""
    cells = len(importance)
    order = np.lexsort((generator.random(cells), -importance))  # most important first, ties at random
    rank = np.empty(cells, dtype=int)
    rank[order] = np.arange(cells)
    counts = np.array([hidden_count(fraction, cells) for fraction in FRACTIONS])[:, None]
    return np.stack([rank < counts, rank >= cells - counts])


def perturbation_auc(curve: HidingCurve, score: Callable[[int], float]) -> float:
    """Accuracy while cells disappear, as the area under the curve over 0..1 (Chefer et al. 2021, arXiv 2103.15679).

    Most important first it is the positive perturbation test, where a faithful map makes accuracy fall fast (lower is
    better); least important first the negative one (higher is better). Trapezoid rule over ``PERTURBATION_FRACTIONS``.

    Args:
        curve: of one question.
        score: index of an answer -> its accuracy for this question, 0..1.
    """
    places = curve.at(PERTURBATION_FRACTIONS)
    scores = np.array([score(int(answer)) for answer in curve.chosen[places]])
    return float(np.trapezoid(scores, curve.fractions[places]))


def deletion_auc(most_first: HidingCurve) -> float:
    """Area under the answer's probability while the most important cells go first; lower is better.

    RISE (Petsiuk et al. 2018, https://arxiv.org/abs/1806.07421), trapezoid rule over ``FRACTIONS``.
    """
    return float(np.trapezoid(most_first.probability, most_first.fractions))


def insertion_auc(least_first: HidingCurve) -> float:
    """Area under the answer's probability while the most important cells come back first; higher is better.

    RISE (Petsiuk et al. 2018): starting with nothing to see. Showing the top k cells is hiding the least important
    N - k, so this reads the other curve from its end.
    """
    return float(np.trapezoid(least_first.probability[::-1], 1 - least_first.fractions[::-1]))


def comprehensiveness(most_first: HidingCurve) -> float:
    """How far the answer's probability falls without the top 1, 5, 10, 20 and 50 % of cells, mean; higher is better.

    ERASER (DeYoung et al. 2020, https://arxiv.org/abs/1911.03429). Of few cells 1 % is one cell.
    """
    hidden = most_first.probability[most_first.at(EVIDENCE_FRACTIONS)]
    return float(most_first.probability[0] - hidden.mean())


def sufficiency(least_first: HidingCurve) -> float:
    """How far the answer's probability falls with nothing but the top 1, 5, 10, 20, 50 % left, mean; lower is better.

    ERASER (DeYoung et al. 2020).
    """
    left = least_first.probability[least_first.at(tuple(1 - part for part in EVIDENCE_FRACTIONS))]
    return float(least_first.probability[0] - left.mean())


def violation(most_first: HidingCurve) -> float:
    """1 where hiding the hottest 1 % of the cells makes the answer likelier, else 0; its mean is the violation ratio.

    That is two of 196 cells, and one where there are fewer than 150.

    The faithfulness violation test (Liu et al. 2022, https://arxiv.org/abs/2201.12114): a map that says "for" must not
    point at what speaks against. Lower is better; a map that knows nothing is near one half.
    """
    hottest = most_first.probability[most_first.at((min(EVIDENCE_FRACTIONS),))[0]]
    return float(hottest > most_first.probability[0])
