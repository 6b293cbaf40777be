"""Gradient-weighted attention: what was read, times what reading it did for the answer."""

import torch
from torch import Tensor

from valm_core.explanations.relevance import build_explanation, cross_blocks, token_ranges
from valm_core.explanations.trace import Trace, trace_question
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText, Explanation, FusedFeatures


def grad_cam(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int, trace: Trace | None = None
) -> Explanation:
    """Explain one question by its attention weights times their gradients, positive parts, mean over heads.

    Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391) with attention maps in place of feature maps. A
    token counts by all that was read from it, by the tokens of any layer and by the pooling; nothing is followed
    back from layer to layer, which is what ``gradient_relevancy`` adds.

    ``text_to_image`` and ``image_to_text`` hold the weighted maps by layer and head.
    """
    trace = trace or trace_question(model, text, image, answer_index)
    features, pooling = trace.weighted, trace.weighted_pooling
    read = weighted_reading(features, pooling)
    # Where no token reads across modalities, each final token stands for itself.
    between = cross_blocks(features, read + torch.diag(pooling))
    return build_explanation("grad_cam", features, read.sum(dim=0) + pooling, *between, image)


def weighted_reading(features: FusedFeatures, pooling: Tensor) -> Tensor:
    """How much each token read from each, over all steps: [T + N, T + N], at least 0; see ``Trace``."""
    ranges = token_ranges(features)
    read = torch.zeros(len(pooling), len(pooling), device=pooling.device)  # [reader, what was read]
    for step in features.attention:
        if step.kind == "attention":
            read[ranges[step.query], ranges[step.key]] += step.weights[0].mean(dim=0)
    return read
