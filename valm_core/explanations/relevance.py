"""What the explanation methods share: maps weighted by gradients, steps of attention, values scaled to sum to 1."""

import dataclasses

import torch
from torch import Tensor

from valm_core.explanations.attention_maps import cross_modal_maps
from valm_core.model.model import ValmModel
from valm_core.outputs import AttentionMap, EncodedImage, EncodedText, Explanation, FusedFeatures


def gradient_weighted(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int
) -> tuple[FusedFeatures, FusedFeatures, Tensor]:
    """Run one question and weight everything it read by what the reading did for one answer.

    With s the answer's logit and A an attention map, A becomes (∂s/∂A ⊙ A)⁺ (Chefer et al. 2021,
    https://arxiv.org/abs/2103.15679, equation 5, before the mean over heads). The pooling of both streams is one more
    attention, of the answer over all tokens, and is weighted in the same way; the gradient carries the gate's share.

    No hook is set and no gradient is stored on the model, so threads don't meet.

    Args:
        model: in evaluation mode; its parameters may be frozen.
        text: one encoded question, T tokens without padding.
        image: one encoded photo, N tokens.
        answer_index: which of the model's answers.

    Returns:
        The features as they were; the features with every attention map weighted (a map of kind "similarity" took no
        part and stays as it is); and the weighted pooling [T + N], text tokens first. Weighted values are at least 0,
        their rows don't sum to 1.

    Raises:
        ValueError: the answer index is outside the model's list.
    """
    check_answer(model, answer_index)
    with torch.enable_grad():
        # Without these two, maps of a model with frozen parameters would get no gradient.
        text_tokens = text.tokens.detach().requires_grad_(True)
        image_tokens = image.tokens.detach().requires_grad_(True)
        output = model(text_tokens=text_tokens, text_mask=text.mask, image_tokens=image_tokens, return_attention=True)
        features = output.features
        read = [step.weights for step in features.attention] + [features.text_pooling, features.image_pooling]
        gradients = torch.autograd.grad(output.logits[0, answer_index], read, allow_unused=True)
    weighted = [
        weights.detach() if gradient is None else (gradient * weights).detach().float().clamp_min(0)
        for weights, gradient in zip(read, gradients, strict=True)
    ]
    raw = _with_maps(features, [step.weights.detach() for step in features.attention])
    return raw, _with_maps(features, weighted[:-2]), torch.cat(weighted[-2:], dim=1)[0]  # [T + N]


def _with_maps(features: FusedFeatures, weights: list[Tensor]) -> FusedFeatures:
    """The features without their gradients, and with other weights in their maps."""
    maps = (dataclasses.replace(step, weights=new) for step, new in zip(features.attention, weights, strict=True))
    detached = {
        field.name: getattr(features, field.name).detach()
        for field in dataclasses.fields(features)
        if field.name != "attention"
    }
    return FusedFeatures(**detached, attention=tuple(maps))


def readout(features: FusedFeatures) -> Tensor:
    """How the answer vector is put together: gate and pooling as one weighting [T + N] of all tokens, summing to 1."""
    gate = features.gate[0].float()
    return torch.cat([gate * features.text_pooling[0].float(), (1 - gate) * features.image_pooling[0].float()])


def attention_steps(features: FusedFeatures) -> list[tuple[AttentionMap, ...]]:
    """The maps by which the model read, in computation order, those of one step together.

    Two maps between the modalities in opposite directions, one right after the other in one layer, read the same
    tokens: neither saw the other's result. Every other map is a step of its own; a map of kind "similarity" is none.
    """
    steps: list[tuple[AttentionMap, ...]] = []
    for current in features.attention:
        if current.kind != "attention":
            continue
        before = steps[-1][0] if steps else None
        if (
            before is not None
            and (before.query, before.key) == (current.key, current.query)
            and current.query != current.key
            and before.layer == current.layer
            and len(steps[-1]) == 1
        ):
            steps[-1] = (before, current)
        else:
            steps.append((current,))
    return steps


def token_ranges(features: FusedFeatures) -> dict[str, slice]:
    """Where each modality's tokens stand in the joint sequence of T text and N image tokens."""
    length, total = features.text_tokens.shape[1], features.text_tokens.shape[1] + features.image_tokens.shape[1]
    return {"text": slice(0, length), "image": slice(length, total), "joint": slice(0, total)}


def cross_blocks(features: FusedFeatures, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """What the joint relevance [T + N, T + N] says between the modalities: [T, N] and [N, T].

    Where no token attends across modalities (dual towers) both blocks are 0. There the similarity of the final tokens
    takes their place, passed on to where those tokens came from; it relates words and cells and took no part in the
    answer.
    """
    ranges = token_ranges(features)
    text, image = ranges["text"], ranges["image"]
    similarity = {step.query: step.weights[0].mean(dim=0) for step in features.attention if step.kind == "similarity"}
    if not similarity:
        return relevance[text, image], relevance[image, text]
    return similarity["text"] @ relevance[image, image], similarity["image"] @ relevance[text, text]


def build_explanation(
    method: str,
    features: FusedFeatures,
    relevance: Tensor,
    token_to_patch: Tensor,
    patch_to_token: Tensor,
    image: EncodedImage,
) -> Explanation:
    """An explanation out of values of any scale.

    Args:
        method: its name.
        features: whose maps between text and image are shown by layer and head.
        relevance: [T + N], at least 0: how much each token counts for the answer, text tokens first.
        token_to_patch: [T, N], at least 0.
        patch_to_token: [N, T], at least 0.
        image: the photo.
    """
    length = token_to_patch.shape[0]
    text_to_image, image_to_text = cross_modal_maps(features)  # [1, L, H, T, N], [1, L, H, N, T]
    return Explanation(
        method=method,
        tokens=("",) * length,
        image_map=rows_to_one(relevance[length:]).view(image.grid).cpu().numpy(),
        token_scores=rows_to_one(relevance[:length]).cpu().numpy(),
        token_to_patch=rows_to_one(token_to_patch).cpu().numpy(),
        patch_to_token=rows_to_one(patch_to_token).cpu().numpy(),
        text_to_image=rows_to_one(text_to_image[0]).cpu().numpy(),
        image_to_text=rows_to_one(image_to_text[0]).cpu().numpy(),
        grid=image.grid,
        box=image.box,
    )


def rows_to_one(values: Tensor) -> Tensor:
    """Scale the last dimension to sum to 1; where it is all 0 (nothing counts), every entry is the same."""
    values = values.detach().float()
    total = values.sum(dim=-1, keepdim=True)
    tiny = torch.finfo(values.dtype).tiny
    return torch.where(total > tiny, values / total.clamp_min(tiny), torch.full_like(values, 1 / values.shape[-1]))


def check_answer(model: ValmModel, answer_index: int) -> None:
    """Raise ValueError where the model has no answer of that index."""
    if not 0 <= answer_index < len(model.answers):
        raise ValueError(f"answer_index is {answer_index}; allowed: 0 to {len(model.answers) - 1}.")
