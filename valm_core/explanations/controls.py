"""Controls: maps that know nothing of the model. A method that doesn't beat them explains nothing."""

import numpy as np
import torch

from valm_core.explanations.relevance import build_explanation
from valm_core.explanations.trace import Trace, trace_question
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText, Explanation


def random(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int, trace: Trace | None = None
) -> Explanation:
    """A random map: independent uniform values, drawn anew for every question and answer, the same on every machine.

    ``text_to_image`` and ``image_to_text`` are the raw attention weights.
    """
    generator = np.random.default_rng([*text.pieces(), answer_index])
    length, cells = text.tokens.shape[1], image.tokens.shape[1]

    def draw(*shape: int) -> torch.Tensor:
        return torch.from_numpy(generator.random(shape, dtype=np.float32))

    trace = trace or trace_question(model, text, image, answer_index)
    return build_explanation(
        "random", trace.features, draw(length + cells), draw(length, cells), draw(cells, length), image
    )


def center(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int, trace: Trace | None = None
) -> Explanation:
    """A map that is hottest in the middle, where people put what they photograph: a Gaussian of a quarter of the side.

    Every token has the same map, and all tokens count the same.
    """
    length, (rows, columns) = text.tokens.shape[1], image.grid
    down, across = (((torch.arange(count) + 0.5) / count - 0.5) / 0.25 for count in (rows, columns))
    bump = torch.exp(-(down[:, None] ** 2 + across[None, :] ** 2) / 2).flatten()  # [N]
    relevance = torch.cat([torch.ones(length), bump])
    trace = trace or trace_question(model, text, image, answer_index)
    heat, even = bump.expand(length, -1), torch.ones(rows * columns, length)
    return build_explanation("center", trace.features, relevance, heat, even, image)
