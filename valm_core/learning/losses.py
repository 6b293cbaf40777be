"""The training objective: L = L_task + λ_v visual + λ_a alignment, as a module around the model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valm_core.explanations.attention_maps import cross_modal_maps, question_map
from valm_core.model.encoders.frozen_parts import learns
from valm_core.model.heads import AnswerHead
from valm_core.model.model import ValmModel

LEFT_OUT = -1e4  # a score whose exponential is 0
OBJECTIVE_INPUTS = ("targets", "photo_ids", "regions")  # of a batch, what the model itself doesn't take


@dataclass(frozen=True)
class LossTerms:
    """The terms of the loss before their weights, and ``total`` = task + λ_v visual + λ_a alignment; all scalars."""

    task: Tensor
    visual: Tensor
    alignment: Tensor
    total: Tensor


def answer_loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy between the predicted and the given answer distribution.

    Args:
        logits: [B, A].
        targets: [B, A], rows summing to 1 (one-hot where a question has one answer).
        label_smoothing: share of the target spread over all answers, 0..1 (Szegedy et al. 2016, arXiv 1512.00567).

    Returns:
        The mean over the batch, a scalar.
    """
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)


def soft_answer_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy against soft scores, summed over the answers (Teney et al. 2018, arXiv 1708.02711).

    Args:
        logits: [B, A].
        targets: [B, A], each in 0..1: how far the people who answered agree with that answer.

    Returns:
        The mean over the batch, a scalar.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").sum(dim=-1).mean()


def contrastive_loss(
    to_image: Tensor, to_text: Tensor, same_photo: Tensor, own: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Each text must find its photo among all, and each photo its text (InfoNCE), a scalar.

    Args:
        to_image, to_text: [B, C] scores of each text with all C photos, and of each photo with all texts.
        same_photo: [B, C], True where another row is about the same photo: no negative.
        own: [B], each row's place among all.
        label_smoothing: share of the target spread over all, 0..1.
    """
    by_text, by_photo = (
        F.cross_entropy(scores.float().masked_fill(same_photo, LEFT_OUT), own, label_smoothing=label_smoothing)
        for scores in (to_image, to_text)
    )
    return (by_text + by_photo) / 2


class ContrastiveAlignment(nn.Module):
    """In-batch contrastive loss between texts and photos: each text must find its photo among all, and the reverse.

    The symmetric InfoNCE loss of CLIP (Radford et al. 2021, https://arxiv.org/abs/2103.00020) with a learned
    temperature. Rows about the same photo are no negatives of each other. With several processes the candidates are
    gathered from all of them, so that the loss is that of the whole batch.

    Args:
        width: size D of the vectors.
    """

    def __init__(self, width: int):
        super().__init__()
        self.text, self.image = nn.Linear(width, width), nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def similarity(self, text: Tensor, image: Tensor) -> Tensor:
        """text [B, D], image [C, D] -> scaled cosines [B, C]."""
        text = F.normalize(self.text(text).float(), dim=-1)
        image = F.normalize(self.image(image).float(), dim=-1)
        return self.log_scale.clamp(max=4.6).exp() * text @ image.T  # at most a factor of 100

    def forward(self, text: Tensor, image: Tensor, photo_ids: Tensor) -> Tensor:
        """text, image [B, D] of the same rows; photo_ids [B] equal where rows share a photo. Returns a scalar."""
        first, all_text, all_image, all_ids = _gathered(text, image, photo_ids)
        own = torch.arange(first, first + len(text), device=text.device)  # each row's place among all
        same_photo = photo_ids[:, None] == all_ids[None, :]  # [B, C]
        same_photo[torch.arange(len(text)), own] = False
        to_image, to_text = self.similarity(text, all_image), self.similarity(all_text, image).T
        return contrastive_loss(to_image, to_text, same_photo, own)


def _gathered(text: Tensor, image: Tensor, photo_ids: Tensor) -> tuple[int, Tensor, Tensor, Tensor]:
    """The rows of all processes, with gradients, and the place of this process's first row among them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, text, image, photo_ids
    from torch.distributed.nn.functional import all_gather

    processes, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    counts = [torch.zeros(1, dtype=torch.long, device=text.device) for _ in range(processes)]
    torch.distributed.all_gather(counts, torch.tensor([len(text)], device=text.device))
    lengths = [int(count) for count in counts]

    def gather(rows: Tensor) -> Tensor:
        padded = F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, max(lengths) - len(rows)))
        parts = all_gather(padded.contiguous())
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    return sum(lengths[:rank]), gather(text), gather(image), gather(photo_ids)


def region_loss(question_maps: Tensor, regions: Tensor, grid: tuple[int, int]) -> Tensor:
    """KL divergence from a uniform map over each row's region to where the question looked; 0 for rows without one.

    Args:
        question_maps: [B, N], rows summing to 1.
        regions: [B, 4] as (x0, y0, x1, y1) in 0..1, NaN in rows without a region.
        grid: (rows, columns) with rows * columns = N.

    Returns:
        The mean over all rows, a scalar: a row's region counts the same however its batch is put together, so that
        accumulation and several processes change nothing.
    """
    given = ~regions.isnan().any(dim=1)
    if not given.any():
        return question_maps.new_zeros(())
    target = region_cells(regions[given], grid)  # [B', N]
    looked = question_maps[given].float().clamp_min(1e-6)
    return F.kl_div(looked.log(), target, reduction="sum") / len(regions)


def region_cells(regions: Tensor, grid: tuple[int, int]) -> Tensor:
    """The share of each cell in regions [B, 4]: [B, N] by overlapping area, rows summing to 1."""

    def overlap(low: Tensor, high: Tensor, count: int) -> Tensor:
        edges = torch.arange(count + 1, device=regions.device) / count
        return (torch.minimum(high[:, None], edges[1:]) - torch.maximum(low[:, None], edges[:-1])).clamp_min(0)

    x0, y0, x1, y1 = regions.float().unbind(dim=1)
    area = overlap(y0, y1, grid[0])[:, :, None] * overlap(x0, x1, grid[1])[:, None, :]  # [B, rows, columns]
    return area.flatten(1) / area.flatten(1).sum(dim=1, keepdim=True)


class AnswerObjective(nn.Module):
    """A model under the loss L = task + λ_v visual + λ_a alignment.

    ``task`` is the answer loss of the fused vector. ``visual`` is the answer loss of a second head that sees the image
    stream alone, without the text stream that the gate would mix in. ``alignment`` is the contrastive loss between the
    attended text and the attended image, plus, for rows that carry a region, the KL divergence between that region
    and where the question looked. Heads that only the loss needs live here and are not part of a checkpoint.

    Args:
        model: what learns.
        visual_weight, alignment_weight: λ_v and λ_a, at least 0; at 0 the term is not computed.
        label_smoothing: see ``answer_loss``.
        soft_targets: the targets are soft scores, see ``soft_answer_loss``.
    """

    def __init__(
        self,
        model: ValmModel,
        visual_weight: float = 0.0,
        alignment_weight: float = 0.0,
        label_smoothing: float = 0.0,
        soft_targets: bool = False,
    ):
        super().__init__()
        self.model = model
        self.visual_weight, self.alignment_weight = visual_weight, alignment_weight
        self.label_smoothing, self.soft_targets = label_smoothing, soft_targets
        width, answers, dropout = model.config.width, len(model.answers), model.config.dropout
        self.visual_head = AnswerHead(width, answers, dropout) if visual_weight else None
        self.alignment = ContrastiveAlignment(width) if alignment_weight else None

    def forward(
        self, targets: Tensor, photo_ids: Tensor | None = None, regions: Tensor | None = None, **inputs: Any
    ) -> LossTerms:
        """One batch.

        Args:
            targets: [B, A].
            photo_ids: [B], equal where two rows are about the same photo; needed for the alignment.
            regions: [B, 4] with NaN where a row has none, or None where no row has.
            inputs: arguments of ``ValmModel.forward``.
        """
        blind = not inputs.keys() & {"pixels", "image_tokens"}  # as in ``ValmModel.forward``
        if self.model.question_head is not None and blind and not learns(self.model.fusion):
            # Only the question head learns, from questions alone: no need to run the rest.
            task = self._answer_loss(self.model.question_logits(**inputs), targets)
            return LossTerms(task, task.new_zeros(()), task.new_zeros(()), task)
        regions = regions if self.alignment is not None else None
        output = self.model(**inputs, return_attention=regions is not None)
        features = output.features
        task = self._answer_loss(output.logits, targets)
        visual = alignment = task.new_zeros(())
        if self.visual_head is not None:
            visual = self._answer_loss(self.visual_head(features.image), targets)
        if self.alignment is not None:
            if photo_ids is None:
                raise ValueError("alignment_weight needs photos. Set it to 0 in a blind run.")
            alignment = self.alignment(features.text, features.image, photo_ids)
        if regions is not None:
            looked = question_map(features, cross_modal_maps(features)[0])
            alignment = alignment + region_loss(looked, regions, self.model.image_encoder.grid)
        total = task + self.visual_weight * visual + self.alignment_weight * alignment
        return LossTerms(task, visual, alignment, total)

    def _answer_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.soft_targets:
            return soft_answer_loss(logits, targets)
        return answer_loss(logits, targets, self.label_smoothing)
