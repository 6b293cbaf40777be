"""Evidence for one map: what hiding its hottest cells does to the answer, against random ones."""

import numpy as np
import torch
from torch import Tensor

from valm_core.evidence.rules import Thresholds, check_method, gather_evidence, hidden_variants, split_variants
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.explanations.hiding import logits_without_cells, logits_without_pixels
from valm_core.explanations.trace import Trace, trace_question
from valm_core.model.model import ValmModel
from valm_core.outputs import Answer, EncodedImage, EncodedText, Evidence, Explanation

COMPARED_METHODS = ("raw_attention", "attention_rollout", "grad_cam", "gradient_relevancy")  # the quick ones


def hiding_probabilities(
    model: ValmModel,
    text: EncodedText,
    image: EncodedImage,
    answer_index: int,
    image_maps: list[np.ndarray],
    pixels: Tensor | None = None,
) -> tuple[float, np.ndarray, np.ndarray]:
    """The answer's calibrated probability with the whole photo, without the hottest cells, and without random ones.

    Args:
        model: in evaluation mode.
        text: one encoded question.
        image: one encoded photo, N tokens.
        answer_index: the explained answer.
        image_maps: M maps of N cells.
        pixels: [3, S, S] in 0..1 of the photo, to blur it where the cells lie and encode it again, once a variant; by
            default the encoded cells are replaced, which takes a hundredth of the time.

    Returns:
        One probability; those without the hottest ``HIDDEN_SHARES`` of each map [M, S]; and those without as many
        random cells [RANDOM_DRAWS, S], the same ones every time for this question.
    """
    hidden = hidden_variants(image.tokens.shape[1], text.pieces(), image_maps)
    variants = torch.from_numpy(hidden)  # the whole photo comes first
    if pixels is None:
        logits = logits_without_cells(model, text, image, variants)
    else:
        logits = logits_without_pixels(model, text, pixels, variants.view(-1, *image.grid))
    probabilities = model.probabilities(logits, asked=logits[:1])[:, answer_index]
    return split_variants(probabilities.cpu().numpy())


def compared_explanations(
    model: ValmModel,
    text: EncodedText,
    image: EncodedImage,
    answer_index: int,
    method: str,
    trace: Trace | None = None,
) -> list[Explanation]:
    """What ``COMPARED_METHODS`` but ``method`` say, out of a single pass: one forward, one backward.

    Args:
        model, text, image, answer_index: as in every explanation method.
        method: the explained map's, left out.
        trace: of this question, photo and answer, so that it need not be made again.

    Returns:
        Explanations over word pieces, each as its method gives it.
    """
    trace = trace or trace_question(model, text, image, answer_index)
    return [
        EXPLANATION_METHODS[name](model, text, image, answer_index, trace)
        for name in COMPARED_METHODS
        if name != method
    ]


def judge_map(
    model: ValmModel,
    text: EncodedText,
    image: EncodedImage,
    answer_index: int,
    method: str,
    image_map: np.ndarray,
    others: list[np.ndarray],
    blind: Answer,
    thresholds: Thresholds | None = None,
) -> Evidence:
    """The evidence for one map [rows, columns] of a method, beside those of ``others``.

    Args:
        model, text, image, answer_index: as in every explanation method.
        method: that made the map.
        image_map: of the whole question or of a word.
        others: what the compared methods say of the same.
        blind: the likeliest answer without the photo.
        thresholds: of the verdict, measured on this model; None where none were.
    """
    probabilities = hiding_probabilities(model, text, image, answer_index, [image_map])
    return gather_evidence(method, model.answers[answer_index], probabilities, blind, image_map, others, thresholds)


def explain_and_judge(
    model: ValmModel,
    text: EncodedText,
    image: EncodedImage,
    answer_index: int,
    method: str,
    blind: Answer,
    explanation: Explanation | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[Explanation, Evidence]:
    """A method's explanation over word pieces, and the evidence for its map of the whole question, out of one trace.

    Args:
        model, text, image, answer_index: as in every explanation method.
        method: a key of ``EXPLANATION_METHODS``.
        blind: the likeliest answer without the photo.
        explanation: the method's, where it was made before.
        thresholds: as of ``judge_map``.

    Raises:
        ValueError: ``explanation`` is another method's.
    """
    asked = model, text, image, answer_index
    trace = trace_question(*asked)
    if explanation is None:
        explanation = EXPLANATION_METHODS[method](*asked, trace)
    check_method(explanation, method)
    others = [other.image_map for other in compared_explanations(*asked, method, trace)]
    return explanation, judge_map(*asked, method, explanation.image_map, others, blind, thresholds)
