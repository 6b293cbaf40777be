"""What the explanation methods share: steps of attention, the readout, values scaled to sum to 1."""

import torch
from torch import Tensor

from valm_core.explanations.attention_maps import cross_modal_maps
from valm_core.model.model import ValmModel
from valm_core.outputs import AttentionMap, EncodedImage, Explanation, FusedFeatures


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
