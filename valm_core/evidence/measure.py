"""Evidence for one map: what hiding its hottest cells does to the answer, against random ones."""

import numpy as np
import torch

from valm_core.evidence.rules import (
    FAITHFUL_SUPPORT,
    HIDDEN_SHARE,
    RANDOM_DRAWS,
    VERDICTS,
    WEAK_SUPPORT,
    agreement,
    evenness,
    hidden_variants,
    split_variants,
    support,
    verdict,
)
from valm_core.explanations.attention_maps import cross_modal_maps, question_map
from valm_core.explanations.attention_rollout import rollout
from valm_core.explanations.grad_cam import weighted_reading
from valm_core.explanations.gradient_relevancy import propagate
from valm_core.explanations.hiding import logits_without_cells
from valm_core.explanations.relevance import gradient_weighted, readout, rows_to_one
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText

COMPARED_METHODS = ("raw_attention", "attention_rollout", "grad_cam", "gradient_relevancy")  # the quick ones

# The rules, which know nothing of torch, by their old place.
__all__ = [
    "COMPARED_METHODS",
    "FAITHFUL_SUPPORT",
    "HIDDEN_SHARE",
    "RANDOM_DRAWS",
    "VERDICTS",
    "WEAK_SUPPORT",
    "agreement",
    "compared_maps",
    "evenness",
    "hiding_probabilities",
    "support",
    "verdict",
]


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
    hidden = hidden_variants(image.tokens.float().cpu().numpy(), text.tokens.cpu().numpy(), image_maps)
    logits = logits_without_cells(model, text, image, torch.from_numpy(hidden))  # the whole photo comes first
    probabilities = model.probabilities(logits, asked=logits[:1])[:, answer_index]
    return split_variants(probabilities.cpu().numpy())


def compared_maps(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int, method: str
) -> list[np.ndarray]:
    """The image maps of ``COMPARED_METHODS`` but ``method``, out of a single pass: one forward, one backward.

    Args:
        model, text, image, answer_index: as in every explanation method.
        method: the explained map's, left out.

    Returns:
        Maps [rows, columns], each as its method gives it.
    """
    raw, weighted, pooling = gradient_weighted(model, text, image, answer_index)
    length = text.tokens.shape[1]
    cells = {
        "raw_attention": lambda: question_map(raw, cross_modal_maps(raw)[0])[0],
        "attention_rollout": lambda: (readout(raw) @ rollout(raw))[length:],
        "grad_cam": lambda: (weighted_reading(weighted, pooling).sum(dim=0) + pooling)[length:],
        "gradient_relevancy": lambda: (readout(weighted) @ propagate(weighted))[length:],
    }  # each [N]
    names = [name for name in COMPARED_METHODS if name != method]
    return [rows_to_one(cells[name]()).view(image.grid).cpu().numpy() for name in names]
