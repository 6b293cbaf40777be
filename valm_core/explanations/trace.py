"""Trace: one question's forward pass with its maps, and what reading by them did for the answer. Methods read it."""

import dataclasses
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from valm_core.explanations.relevance import check_answer
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText, FusedFeatures


@dataclass(frozen=True, eq=False)
class Trace:
    """What every explanation of one answer to one question is made of, computed once.

    ``features`` and ``logits`` [1, A] are those of one forward pass with maps. ``weighted`` and ``weighted_pooling``
    are computed when first asked for, by one gradient pass for the logit of ``answer_index``. No hook is set and no
    gradient is stored on the model, so threads don't meet.
    """

    answer_index: int
    recorded_logits: Tensor  # with the graph of the forward pass, as are these:
    recorded: FusedFeatures

    @functools.cached_property
    def logits(self) -> Tensor:
        """Logits [1, A], without their graph."""
        return self.recorded_logits.detach()

    @functools.cached_property
    def features(self) -> FusedFeatures:
        """The features, without their graph."""
        return _with_maps(self.recorded, [step.weights.detach() for step in self.recorded.attention])

    @property
    def weighted(self) -> FusedFeatures:
        """The features with every attention map A as (∂s/∂A ⊙ A)⁺, where s is the answer's logit.

        See Chefer et al. 2021, https://arxiv.org/abs/2103.15679, equation 5, before the mean over heads. Values are at
        least 0, rows don't sum to 1. A map of kind "similarity" took no part in the answer and stays as it is.
        """
        return self._weighted[0]

    @property
    def weighted_pooling(self) -> Tensor:
        """[T + N], text tokens first: the pooling of both streams, one more attention, of the answer over all tokens,
        weighted in the same way. The gradient carries the gate's share."""
        return self._weighted[1]

    @functools.cached_property
    def _weighted(self) -> tuple[FusedFeatures, Tensor]:
        features = self.recorded
        read = [step.weights for step in features.attention] + [features.text_pooling, features.image_pooling]
        with torch.enable_grad():  # for the indexing: methods may be asked within no_grad
            score = self.recorded_logits[0, self.answer_index]
        gradients = torch.autograd.grad(score, read, allow_unused=True)
        weighted = [
            weights.detach() if gradient is None else (gradient * weights).detach().float().clamp_min(0)
            for weights, gradient in zip(read, gradients, strict=True)
        ]
        return _with_maps(features, weighted[:-2]), torch.cat(weighted[-2:], dim=1)[0]


def trace_question(model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int) -> Trace:
    """Run one question forward, recording what its explanations need.

    Args:
        model: in evaluation mode; its parameters may be frozen.
        text: one encoded question, T tokens without padding.
        image: one encoded photo, N tokens.
        answer_index: which of the model's answers to explain.

    Raises:
        ValueError: the answer index is outside the model's list.
    """
    check_answer(model, answer_index)
    with torch.enable_grad():
        # Without these two, maps of a model with frozen parameters would get no gradient.
        text_tokens = text.tokens.detach().requires_grad_(True)
        image_tokens = image.tokens.detach().requires_grad_(True)
        output = model(text_tokens=text_tokens, text_mask=text.mask, image_tokens=image_tokens, return_attention=True)
    return Trace(answer_index, output.logits, output.features)


def _with_maps(features: FusedFeatures, weights: list[Tensor]) -> FusedFeatures:
    """The features without their graph, and with other weights in their maps."""
    maps = (dataclasses.replace(step, weights=new) for step, new in zip(features.attention, weights, strict=True))
    detached = {
        field.name: getattr(features, field.name).detach()
        for field in dataclasses.fields(features)
        if field.name != "attention"
    }
    return FusedFeatures(**detached, attention=tuple(maps))
