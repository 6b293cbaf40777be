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
    glimpsed: Tensor | None = None  # [1, H, T, N], the last text-to-image map as glimpses read it, if there are any

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

    @property
    def weighted_glimpses(self) -> Tensor | None:
        """[T, N], at least 0: what each word's glimpse of each cell did for the answer, weighted as maps are, mean over
        heads. Cells as they came in: glimpses read the photo's own tokens. None without glimpses."""
        return self._weighted[2]

    @property
    def followed(self) -> FusedFeatures:
        """``weighted`` without what glimpses did: what reading by the maps did for the layers after it alone."""
        return self._weighted[3]

    @functools.cached_property
    def _weighted(self) -> tuple[FusedFeatures, Tensor, Tensor | None, FusedFeatures]:
        features, glimpsed = self.recorded, self.glimpsed
        read = [step.weights for step in features.attention] + [features.text_pooling, features.image_pooling]
        with torch.enable_grad():  # for the indexing: methods may be asked within no_grad
            score = self.recorded_logits[0, self.answer_index]
        asked = read if glimpsed is None else [*read, glimpsed]
        gradients = torch.autograd.grad(score, asked, allow_unused=True)
        weighted = [
            weights.detach() if gradient is None else _positive(gradient, weights)
            for weights, gradient in zip(read, gradients, strict=False)
        ]
        maps, pooling = _with_maps(features, weighted[:-2]), torch.cat(weighted[-2:], dim=1)[0]
        if glimpsed is None:
            return maps, pooling, None, maps
        place = features.last_text_to_image
        through_layers = list(weighted[:-2])
        if features.attention[place].kind == "attention":
            through_layers[place] = _positive(gradients[place] - gradients[-1], read[place])
        followed = _with_maps(features, through_layers)
        return maps, pooling, _positive(gradients[-1], glimpsed)[0].mean(dim=0), followed


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
        cells = model.prepare(image_tokens, image.grid)
        features = model.fuse(text_tokens, text.mask, cells, return_attention=True)
        scored, glimpsed = features, None
        if model.has_glimpses:  # they read a copy of their map, so that their gradient can be told from the layers'
            place = features.last_text_to_image
            glimpsed = features.attention[place].weights.clone()
            maps = list(features.attention)
            maps[place] = dataclasses.replace(maps[place], weights=glimpsed)
            scored = dataclasses.replace(features, attention=tuple(maps))
        logits = model.score(scored, text_tokens, text.mask, cells)
    return Trace(answer_index, logits, features, glimpsed)


def _positive(gradient: Tensor, weights: Tensor) -> Tensor:
    return (gradient * weights).detach().float().clamp_min(0)


def _with_maps(features: FusedFeatures, weights: list[Tensor]) -> FusedFeatures:
    """The features without their graph, and with other weights in their maps."""
    maps = (dataclasses.replace(step, weights=new) for step, new in zip(features.attention, weights, strict=True))
    detached = {
        field.name: getattr(features, field.name).detach()
        for field in dataclasses.fields(features)
        if field.name != "attention"
    }
    return FusedFeatures(**detached, attention=tuple(maps))
