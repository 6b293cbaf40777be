"""Objectives of captions: each word piece foretold from those before it, or whole captions learned by their worth."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valm_core.model.tasks.captioner import BEGIN, END, UNKNOWN, CaptionModel
from valm_core.model.tasks.decoding import sample

NO_TARGET = -100  # of padding and of pieces that the vocabulary lacks: nothing is to be foretold there


@dataclass(frozen=True)
class CaptionTerms:
    """The terms before their weights, and ``total`` = task + λ_v visual + λ_a alignment; all scalars."""

    task: Tensor
    visual: Tensor
    alignment: Tensor
    total: Tensor


def pack_captions(captions_of: list[list[list[int]]]) -> dict[str, Tensor]:
    """The captions of P photos, each from ``BEGIN`` on, one behind the other in a row a photo: ``places``, ``targets``,
    ``captions`` and ``positions`` [P, T], as ``CaptionObjective.forward`` takes them; padding is caption -1."""
    shape = len(captions_of), max(sum(len(row) - 1 for row in own) for own in captions_of)
    places, captions, positions = np.full(shape, END), np.full(shape, -1), np.zeros(shape, dtype=np.int64)
    targets = np.full(shape, NO_TARGET)
    for photo, own in enumerate(captions_of):
        first = 0
        for number, row in enumerate(own):
            part = slice(first, first + len(row) - 1)
            places[photo, part], targets[photo, part] = row[:-1], row[1:]
            captions[photo, part], positions[photo, part] = number, np.arange(len(row) - 1)
            first = part.stop
    targets[targets == UNKNOWN] = NO_TARGET
    pieces = {"places": places, "targets": targets, "captions": captions, "positions": positions}
    return {name: torch.from_numpy(values) for name, values in pieces.items()}


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
        reading = self.model.read(
            places, cells, return_weights=bool(self.alignment_weight), order=(captions, positions)
        )
        real = targets != NO_TARGET
        task = F.cross_entropy(reading.logits[real].float(), targets[real], label_smoothing=self.label_smoothing)
        visual = alignment = task.new_zeros(())
        if self.named is not None:
            values = cells[-1][1].transpose(1, 2).flatten(2).mean(dim=1)  # [P, D]
            present = task.new_zeros(len(places), self.model.config.vocabulary)
            present.scatter_add_(1, targets.clamp(min=0), real.float())
            logits = self.named(values).float()
            visual = F.binary_cross_entropy_with_logits(logits, present.clamp(max=1.0), reduction="none")
            visual = visual.sum(dim=-1).mean()
        if reading.weights is not None:
            read = reading.weights[-1].mean(dim=1) * real[..., None]  # [P, T, N]
            share = real.sum(dim=1, keepdim=True) / read.shape[-1]  # [P, 1], of a cell if all were read alike
            alignment = ((read.sum(dim=1) / share.clamp(min=1e-6) - 1) ** 2).mean()
        total = task + self.visual_weight * visual + self.alignment_weight * alignment
        return CaptionTerms(task, visual, alignment, total)


@dataclass(frozen=True)
class RewardTerms:
    """``total``, which is minimised, and the mean ``reward`` of what was said; scalars."""

    reward: Tensor
    total: Tensor


class RewardObjective(nn.Module):
    """A caption model that learns from what its own captions are worth: self-critical sequence training.

    Captions of a photo are drawn at random, and each becomes likelier the more its reward is above the mean of the
    photo's others (Rennie et al. 2017, https://arxiv.org/abs/1612.00563, with the baseline of Luo 2020,
    https://arxiv.org/abs/2003.09971). Captions are drawn without dropout and learned from with it.

    Args:
        model: what learns; it should already write captions.
        reward: numbers of photos, and for each the captions drawn, as places in the vocabulary -> rewards [P, S].
        samples: captions S drawn of a photo, at least 2.
    """

    def __init__(self, model: CaptionModel, reward: Callable[[list[int], list[list[list[int]]]], Tensor], samples: int):
        super().__init__()
        self.model, self.reward, self.samples = model, reward, samples

    def forward(
        self, photo_numbers: Tensor, pixels: Tensor | None = None, image_tokens: Tensor | None = None
    ) -> RewardTerms:
        """One batch of P photos: their numbers [P], and pixels [P, 3, S, S] or image_tokens [P, N, D_image]."""
        learning = self.model.training
        self.model.eval()
        with torch.no_grad():
            drawn = sample(self.model, self.model.encode_photos(pixels, image_tokens), self.samples)
        self.model.train(learning)
        rewards = self.reward(photo_numbers.tolist(), drawn).to(self.model.device)  # [P, S]
        others = (rewards.sum(dim=1, keepdim=True) - rewards) / (self.samples - 1)
        batch = pack_captions([[[BEGIN, *places] for places in own] for own in drawn])
        batch = {name: values.to(self.model.device) for name, values in batch.items()}
        cells = self.model.encode_photos(pixels, image_tokens)
        logits = self.model.read(batch["places"], cells, order=(batch["captions"], batch["positions"])).logits
        real = batch["targets"] != NO_TARGET
        worth = (rewards - others).gather(1, batch["captions"].clamp(min=0))[real]
        unlikely = F.cross_entropy(logits[real].float(), batch["targets"][real], reduction="none")
        return RewardTerms(rewards.mean(), (worth * unlikely).mean())


@torch.no_grad()
def token_loss(model: CaptionModel, batch: dict[str, Tensor]) -> tuple[float, int]:
    """The summed negative log-probability of a batch's pieces, and how many they are; ``batch`` as the arguments of
    ``CaptionObjective.forward``."""
    cells = model.encode_photos(batch.get("pixels"), batch.get("image_tokens"))
    logits = model.read(batch["places"], cells, order=(batch["captions"], batch["positions"])).logits
    real = batch["targets"] != NO_TARGET
    return float(F.cross_entropy(logits[real].float(), batch["targets"][real], reduction="sum")), int(real.sum())
