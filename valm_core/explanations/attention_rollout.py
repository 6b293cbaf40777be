"""Attention rollout: attention followed back through all layers, residual connections included."""

import torch
from torch import Tensor

from valm_core.explanations.relevance import attention_steps, build_explanation, cross_blocks, readout, token_ranges
from valm_core.explanations.trace import Trace, trace_question
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText, Explanation, FusedFeatures


def attention_rollout(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int, trace: Trace | None = None
) -> Explanation:
    """Explain one question by the product of all its attention maps (Abnar & Zuidema 2020, arXiv 2005.00928).

    Text and image tokens are one sequence. Every attention step is a matrix over it: half the identity, for the
    residual connection, and half the weights, mean over heads, in the rows of the tokens that read. The product of all
    steps, read out by gate and pooling, says how much of each input token flowed into the answer vector. Where the
    answer reads glimpses too, they are half of it, as residual connections are half of a step.
    """
    features = (trace or trace_question(model, text, image, answer_index)).features
    found = rollout_relevance(features, model.has_glimpses)
    return build_explanation("attention_rollout", features, *found, image)


def rollout_relevance(features: FusedFeatures, glimpses: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """How much of each input token [T + N] is in the answer vector; and between the modalities, [T, N] and [N, T].

    With ``glimpses``, half of the answer comes straight from the cells, by the last text-to-image map over the words'
    pooling.
    """
    flow = rollout(features)
    counted, (token_to_patch, patch_to_token) = readout(features) @ flow, cross_blocks(features, flow)
    if not glimpses:
        return counted, token_to_patch, patch_to_token
    glimpsed = features.attention[features.last_text_to_image].weights[0].float().mean(dim=0)  # [T, N]
    words = features.text_pooling[0].float()
    from_cells = torch.cat([torch.zeros_like(words), words @ glimpsed])  # [T + N]
    return 0.5 * counted + 0.5 * from_cells, 0.5 * token_to_patch + 0.5 * glimpsed, patch_to_token


def rollout(features: FusedFeatures) -> Tensor:
    """How much of each input token is in each final token: [T + N, T + N], rows summing to 1."""
    ranges = token_ranges(features)
    size = ranges["joint"].stop
    flow = torch.eye(size, device=features.gate.device)
    for step in attention_steps(features):
        matrix = torch.eye(size, device=flow.device)
        for part in step:
            query, key = ranges[part.query], ranges[part.key]
            matrix[query] *= 0.5
            matrix[query, key] += 0.5 * part.weights[0].float().mean(dim=0)
        flow = matrix @ flow
    return flow
