"""The objective of retrieval: L = L_task + λ_v visual + λ_a alignment, each text among a batch's photos."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valm_core.learning.losses import contrastive_loss
from valm_core.model.tasks.retrieval import RetrievalModel, late_interaction


@dataclass(frozen=True)
class RetrievalTerms:
    """The terms before their weights, and ``total`` = task + λ_v visual + λ_a alignment; all scalars."""

    task: Tensor
    visual: Tensor
    alignment: Tensor
    total: Tensor


class RetrievalObjective(nn.Module):
    """A retrieval model under three losses on captions and their photos.

    - task: a caption's vector must find its photo's among those of the batch, and the reverse (InfoNCE).
    - visual: the photo's vector alone must say which words its caption has: a head that is no part of a checkpoint, and
      binary cross-entropy over a vocabulary.
    - alignment: the same as the task by late interaction, words with cells.

    Args:
        model: what learns.
        visual_weight, alignment_weight: λ_v and λ_a, at least 0; at 0 the term is not computed.
        label_smoothing: share of the target spread over the batch, 0..1.
        vocabulary: V token ids that the visual term asks for.
    """

    def __init__(
        self,
        model: RetrievalModel,
        visual_weight: float = 0.0,
        alignment_weight: float = 1.0,
        label_smoothing: float = 0.0,
        vocabulary: Tensor | None = None,
    ):
        super().__init__()
        if visual_weight and (vocabulary is None or not len(vocabulary)):
            raise ValueError(f"visual_weight is {visual_weight}, but there is no vocabulary. Give one, or set it to 0.")
        self.model = model
        self.visual_weight, self.alignment_weight = visual_weight, alignment_weight
        self.label_smoothing = label_smoothing
        self.vocabulary: Tensor | None
        self.register_buffer("vocabulary", vocabulary if visual_weight else None, persistent=False)
        self.named = (
            nn.Linear(model.config.width, len(vocabulary)) if visual_weight and vocabulary is not None else None
        )

    def forward(
        self,
        token_ids: Tensor,
        text_mask: Tensor,
        photo_ids: Tensor,
        photo_index: Tensor,
        pixels: Tensor | None = None,
        image_tokens: Tensor | None = None,
        lower_tokens: Tensor | None = None,
    ) -> RetrievalTerms:
        """One batch of captions.

        Args:
            token_ids, text_mask: [B, T], mask True where a token is real.
            photo_ids: [B], equal where two captions are of the same photo: they are no negatives of each other.
            photo_index: [B], which of the P photos each caption is of.
            pixels, image_tokens: [P, 3, S, S], or tokens as of ``TwoEncoders.cells``.
            lower_tokens: [B, T, D_text], where the lower layers of the text encoder have read the captions already.
        """
        model = self.model
        texts = model.encode_texts(token_ids, text_mask, lower_tokens)
        photos = model.encode_photos(pixels, image_tokens)
        same = photo_ids[:, None] == photo_ids[None, :]
        same.fill_diagonal_(False)
        scales = model.scales
        task = self._both_ways((scales[0] * texts.vector @ photos.vector.T)[:, photo_index], same)
        visual = alignment = task.new_zeros(())
        if self.alignment_weight:
            alignment = self._both_ways((scales[1] * late_interaction(texts, photos))[:, photo_index], same)
        if self.named is not None and self.vocabulary is not None:
            present = (token_ids[:, :, None] == self.vocabulary).any(dim=1).float()  # [B, V]
            named = self.named(photos.vector[photo_index]).float()
            visual = F.binary_cross_entropy_with_logits(named, present, reduction="none")
            visual = visual.sum(dim=-1).mean()
        total = task + self.visual_weight * visual + self.alignment_weight * alignment
        return RetrievalTerms(task, visual, alignment, total)

    def _both_ways(self, scores: Tensor, same: Tensor) -> Tensor:
        """The contrastive loss of scores [B, B], the diagonal being right; ``same`` are left out."""
        own = torch.arange(len(scores), device=scores.device)
        return contrastive_loss(scores, scores.T, same, own, self.label_smoothing)
