"""The objective of captions: L = L_task + λ_v visual + λ_a alignment, each word piece foretold from those before it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valm_core.model.tasks.captioner import CaptionModel

NO_TARGET = -100  # of padding and of pieces that the vocabulary lacks: nothing is to be foretold there


@dataclass(frozen=True)
class CaptionTerms:
    """The terms before their weights, and ``total`` = task + λ_v visual + λ_a alignment; all scalars."""

    task: Tensor
    visual: Tensor
    alignment: Tensor
    total: Tensor


class CaptionObjective(nn.Module):
    """A caption model under three losses on captions and their photos.

    - task: cross-entropy of each next piece.
    - visual: the mean of a photo's cells alone must say which pieces its captions have: a head that is no part of a
      checkpoint, and binary cross-entropy over the vocabulary.
    - alignment: over its captions all cells of a photo should be read about alike, so that no piece just repeats
      another's map: the doubly stochastic attention of Xu et al. 2015 (https://arxiv.org/abs/1502.03044), last layer.

    Args:
        model: what learns.
        visual_weight, alignment_weight: λ_v and λ_a, at least 0; at 0 the term is not computed.
        label_smoothing: share of the target spread over the vocabulary, 0..1.
    """

    def __init__(
        self,
        model: CaptionModel,
        visual_weight: float = 0.0,
        alignment_weight: float = 0.0,
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        self.model = model
        self.visual_weight, self.alignment_weight = visual_weight, alignment_weight
        self.label_smoothing = label_smoothing
        self.named = nn.Linear(model.config.width, model.config.vocabulary) if visual_weight else None

    def forward(
        self,
        places: Tensor,
        targets: Tensor,
        captions: Tensor,
        positions: Tensor,
        pixels: Tensor | None = None,
        image_tokens: Tensor | None = None,
    ) -> CaptionTerms:
        """One batch: P photos, all captions of a photo one behind the other in a row of T pieces.

        Args:
            places: [P, T], places in the vocabulary, each caption from ``BEGIN`` to its last piece.
            targets: [P, T], what comes after each, ``NO_TARGET`` where nothing is to be foretold.
            captions, positions: [P, T], the number of each piece's caption, and its position there.
            pixels, image_tokens: [P, 3, S, S] or [P, N, D_image].
        """
        cells = self.model.encode_photos(pixels, image_tokens)
        real = targets != NO_TARGET
        foretold, known, alignments = [], [], []
        for part in _like_long(captions):
            longest = int((captions[part] >= 0).sum(dim=1).max())
            pieces, own = (part, slice(longest)), real[part, :longest]
            reading = self.model.read(
                places[pieces],
                [(keys[part], values[part]) for keys, values in cells],
                return_weights=bool(self.alignment_weight),
                order=(captions[pieces], positions[pieces]),
            )
            foretold.append(reading.logits[own].float())
            known.append(targets[pieces][own])
            if reading.weights is not None:
                read = reading.weights[-1].mean(dim=1) * own[..., None]  # [P, T, N]
                share = own.sum(dim=1, keepdim=True) / read.shape[-1]  # [P, 1], of a cell if all were read alike
                alignments.append((read.sum(dim=1) / share.clamp(min=1e-6) - 1) ** 2)
        task = F.cross_entropy(torch.cat(foretold), torch.cat(known), label_smoothing=self.label_smoothing)
        visual = alignment = task.new_zeros(())
        if self.named is not None:
            values = cells[-1][1].transpose(1, 2).flatten(2).mean(dim=1)  # [P, D]
            present = task.new_zeros(len(places), self.model.config.vocabulary)
            present.scatter_add_(1, targets.clamp(min=0), real.float())
            logits = self.named(values).float()
            visual = F.binary_cross_entropy_with_logits(logits, present.clamp(max=1.0), reduction="none")
            visual = visual.sum(dim=-1).mean()
        if alignments:
            alignment = torch.cat(alignments).mean()
        total = task + self.visual_weight * visual + self.alignment_weight * alignment
        return CaptionTerms(task, visual, alignment, total)


def _like_long(captions: Tensor) -> list[Tensor]:
    """The rows [P, T] of a batch in two halves, short and long: a photo with one caption isn't padded to five."""
    by_length = (captions >= 0).sum(dim=1).argsort()
    return [part for part in by_length.tensor_split(2) if len(part)]


@torch.no_grad()
def token_loss(model: CaptionModel, batch: dict[str, Tensor]) -> tuple[float, int]:
    """The summed negative log-probability of a batch's pieces, and how many they are; ``batch`` as the arguments of
    ``CaptionObjective.forward``."""
    cells = model.encode_photos(batch.get("pixels"), batch.get("image_tokens"))
    logits = model.read(batch["places"], cells, order=(batch["captions"], batch["positions"])).logits
    real = batch["targets"] != NO_TARGET
    return float(F.cross_entropy(logits[real].float(), batch["targets"][real], reduction="sum")), int(real.sum())
