"""Gradient relevancy: attention weighted by gradients and followed back through all layers (Chefer et al. 2021)."""

import torch
from torch import Tensor

from valm_core.explanations.relevance import (
    attention_steps,
    build_explanation,
    cross_blocks,
    readout,
    token_ranges,
)
from valm_core.explanations.trace import Trace, trace_question
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText, Explanation, FusedFeatures


def gradient_relevancy(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int, trace: Trace | None = None
) -> Explanation:
    """Explain one question by the relevancy rules for self- and co-attention (Chefer et al. 2021, arXiv 2103.15679).

    The paper reads the relevance off the row of a CLS token. VALM has none: its answer vector is a weighted mean of all
    final tokens, and the model's own weights, gate times pooling, take that row's place. Where the answer reads
    glimpses too, what each did for it is added to the cells it was taken from and to the words that chose them, and the
    pooling is weighted by its gradient as the glimpses are, so that both count in one unit.

    ``text_to_image`` and ``image_to_text`` hold the gradient-weighted maps, by layer and head, that went into it.
    """
    trace = trace or trace_question(model, text, image, answer_index)
    relevance = propagate(trace.followed)
    token_to_patch, patch_to_token = cross_blocks(trace.followed, relevance)
    counted, glimpses = readout(trace.features) @ relevance, trace.weighted_glimpses
    if glimpses is not None:
        words = relevance[: len(glimpses), : len(glimpses)]  # [T, T]: of which words each final word is made
        counted = trace.weighted_pooling @ relevance
        counted = counted + torch.cat([glimpses.sum(dim=1) @ words, glimpses.sum(dim=0)])
        token_to_patch = token_to_patch + glimpses
    return build_explanation("gradient_relevancy", trace.weighted, counted, token_to_patch, patch_to_token, image)


def propagate(features: FusedFeatures) -> Tensor:
    """The relevance of each input token for each final token: [T + N, T + N], at least 0, from weighted maps.

    It starts as the identity. With Ā the mean over heads of a step's weighted map from tokens s onto tokens q:

    - self-attention, joint maps included (equations 6, 7): R_s += Ā R_s, over all columns.
    - attention across modalities (equations 8 to 11): R_sq += R̄_ssᵀ Ā R̄_qq and R_ss += Ā R_qs, where R̄ is R with the
      rows of R - I scaled to sum to 1. Both directions of a step take R as it was before either.

    Args:
        features: those of ``Trace.weighted``.
    """
    ranges = token_ranges(features)
    relevance = torch.eye(ranges["joint"].stop, device=features.gate.device)
    for step in attention_steps(features):
        before = relevance.clone()
        for part in step:
            query, key = ranges[part.query], ranges[part.key]
            weights = part.weights[0].mean(dim=0)
            if part.query == part.key:
                relevance[query] += weights @ before[query]
            else:
                own, other = normalized_relevance(before[query, query]), normalized_relevance(before[key, key])
                relevance[query, key] += own.T @ weights @ other
                relevance[query, query] += weights @ before[key, query]
    return relevance


def normalized_relevance(relevance: Tensor) -> Tensor:
    """[S, S] -> I plus the rows of what was added to I, scaled to sum to 1; a row to which nothing was added stays."""
    identity = torch.eye(len(relevance), device=relevance.device)
    added = relevance - identity
    total = added.sum(dim=1, keepdim=True)
    return torch.where(total > 0, added / torch.where(total > 0, total, 1.0), 0.0) + identity
