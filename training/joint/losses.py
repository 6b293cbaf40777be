"""The terms of joint training: L = L_task + λ_v ℓ_v + λ_a ℓ_a, and what keeps the maps of words apart."""

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from training.joint.batches import cells_in_boxes
from training.joint.config import JointConfig
from training.joint.layouts import Layout, features
from valm_core.model.encoders.concepts import photo_logits
from valm_core.model.fusion.bi_attention import WordCellSimilarity
from valm_core.model.model import ValmModel

MASS_FLOOR = 1e-3  # least share of a map in the boxes, so that its logarithm stays finite


def joint_loss(
    model: ValmModel, batch: dict[str, Tensor], config: JointConfig, log_scale: Tensor, layout: Layout
) -> dict[str, Tensor]:
    """The terms of the loss of one batch of photos, before their weights.

    Args:
        model: learns also its average image token.
        batch: of ``JointBatches.photo_batch``: R questions, then C captions of P photos.
        config: gives the label smoothing.
        log_scale: logarithm of the sharpness that captions and photos are compared with.
        layout: of the image encoder, see ``layouts.take_quickest``.
    """
    text = model.text_encoder(batch["ids"], batch["mask"]).tokens
    rows = len(batch["photo_index"])
    tokens, concepts = model.image_encoder.tokens(features(model.image_encoder, batch["pixels"], layout))
    side = math.isqrt(tokens.shape[1])
    model.image_encoder.grid = (side, side)  # of the crops
    with torch.no_grad():
        model.mean_image_token.lerp_(tokens.float().mean(dim=(0, 1)), 0.02)
    output = model(
        batch["mask"][:rows],
        text_tokens=text[:rows],
        image_tokens=tokens,
        photo_index=batch["photo_index"],
        return_attention=True,
        balanced=batch["balanced"],
        fixed_prior=True,
    )
    maps = torch.stack(
        [step.weights for step in output.features.attention if (step.query, step.key) == ("text", "image")]
    )
    maps = maps.float().mean(dim=(0, 2))  # [R, T, N] of every word over layers and heads
    inside = cells_in_boxes(batch["boxes"], side)
    content = batch["mask"] & ~batch["function"]
    cosine = caption_cosines(model, text[rows:], tokens)
    own = batch["caption_index"]
    of_own = cosine[torch.arange(len(own), device=own.device), own].float().mul(10).softmax(dim=-1)  # [C, T, N]
    if concepts is None:
        raise ValueError("The image encoder has no concepts; see `check_model`.")
    return {
        "task": task_term(output.logits, batch, config.label_smoothing),
        "concepts": concept_term(concepts, batch["labels"], batch["weight"]),
        "function": function_term(output.features.text_pooling, batch["function"][:rows], content[:rows]),
        "distinct": distinct_term(maps, content[:rows]),
        "region": region_term(maps, batch["person"][:rows], inside[batch["photo_index"]])
        + region_term(of_own, batch["person"][rows:], inside[own]),
        "captions": caption_term(cosine, content[rows:], own, log_scale),
    }


def task_term(logits: Tensor, batch: dict[str, Tensor], label_smoothing: float) -> Tensor:
    """L_task: how unlike the answers' shares the logits [R, A] are; words to fill in count half."""
    losses = functional.cross_entropy(
        logits.float(), batch["targets"], label_smoothing=label_smoothing, reduction="none"
    )
    return (losses * batch["importance"]).mean()


def concept_term(cells: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """ℓ_v: concepts of photos [P, C] by the logits of their cells [P, N, C], weighted [P, C]."""
    losses = functional.binary_cross_entropy_with_logits(photo_logits(cells), labels.float(), reduction="none")
    return (losses * weight.float()).sum(dim=1).mean()


def function_term(pooling: Tensor, function: Tensor, content: Tensor) -> Tensor:
    """How much of the words' pooling [R, T] lies on function words, in questions that have content words."""
    some = content.any(dim=1)
    on_function = (pooling.float() * function).sum(dim=1).clamp(max=0.999)
    return -(torch.log1p(-on_function) * some).sum() / some.sum().clamp(min=1)


def distinct_term(maps: Tensor, content: Tensor) -> Tensor:
    """How alike the maps [R, T, N] of a question's content words [R, T] are: mean correlation, at least 0."""
    unit = functional.normalize(maps - maps.mean(dim=-1, keepdim=True), dim=-1) * content[..., None]
    alike = (unit @ unit.transpose(1, 2)).clamp(min=0)
    others = ~torch.eye(content.shape[1], dtype=torch.bool, device=content.device)
    pairs = content[:, :, None] & content[:, None, :] & others
    return (alike * pairs).sum() / pairs.sum().clamp(min=1)


def region_term(maps: Tensor, person: Tensor, inside: Tensor) -> Tensor:
    """How little of the maps [B, T, N] of person words [B, T] lies in persons' boxes [B, N], of photos with boxes."""
    mass = torch.einsum("btn,bn->bt", maps, inside.float())
    counted = person & inside.any(dim=1)[:, None]
    return -(mass.clamp(min=MASS_FLOOR).log() * counted).sum() / counted.sum().clamp(min=1)


def caption_cosines(model: ValmModel, text: Tensor, tokens: Tensor) -> Tensor:
    """Cosines [C, P, T, N] of captions' words [C, T, D] and photos' cells [P, N, D], by the model's own similarity."""
    similarity = cast(WordCellSimilarity, model.similarity)  # see check_model
    words = functional.normalize(similarity.word(text).float(), dim=-1)
    cells = functional.normalize(similarity.cell(tokens).float(), dim=-1)
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.device.type == "cuda"):
        return torch.einsum("ctw,pnw->cptn", words, cells)


def caption_term(cosine: Tensor, said: Tensor, own: Tensor, log_scale: Tensor) -> Tensor:
    """How ill captions find their photos and photos their captions, by late interaction (FILIP, Yao et al. 2022).

    Args:
        cosine: [C, P, T, N].
        said: [C, T], the captions' content words.
        own: [C], each caption's photo.
        log_scale: logarithm of the sharpness, at most 100.
    """
    if not len(own):
        return cosine.sum()  # 0, of nothing
    best = cosine.float().amax(dim=-1)  # [C, P, T]
    score = (best * said[:, None]).sum(dim=-1) / said.sum(dim=-1)[:, None].clamp(min=1)  # [C, P]
    score = score * log_scale.exp().clamp(max=100)
    captions = torch.arange(len(own), device=own.device)
    back = functional.cross_entropy(score[:, own].T, captions)
    return (functional.cross_entropy(score, own) + back) / 2
