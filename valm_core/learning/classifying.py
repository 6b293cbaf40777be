"""The objective of labels: L = L_task + λ_v visual + λ_a alignment over texts, their photos and one label each."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valm_core.learning.losses import contrastive_loss
from valm_core.model.tasks.classifier import Classifier

SCALE = 20.0  # of a cosine in the alignment term, as retrieval's two towers begin with


@dataclass(frozen=True)
class LabelTerms:
    """The terms before their weights, and ``total`` = task + λ_v visual + λ_a alignment; all scalars."""

    task: Tensor
    visual: Tensor
    alignment: Tensor
    total: Tensor


class LabelObjective(nn.Module):
    """A classifier under three losses.

    - task: cross-entropy of the label, rare labels weighted up where ``weights`` say so.
    - visual: the fusion's image vector alone must say the label: a head that is no part of a checkpoint.
    - alignment: a text's vector must find its photo's among those of the batch, and the reverse (InfoNCE).

    Args:
        model: what learns.
        visual_weight, alignment_weight: λ_v and λ_a, at least 0; at 0 the term is not computed.
        label_smoothing: share of the target spread over the labels, 0..1.
        weights: [labels], how much a row of each label counts; None for alike.
    """

    weights: Tensor | None

    def __init__(
        self,
        model: Classifier,
        visual_weight: float = 0.0,
        alignment_weight: float = 0.0,
        label_smoothing: float = 0.0,
        weights: Tensor | None = None,
    ):
        super().__init__()
        if (visual_weight or alignment_weight) and not model.sees_photos:
            raise ValueError("visual_weight and alignment_weight are about photos; set both to 0 for `fusion: text`.")
        self.model = model
        self.visual_weight, self.alignment_weight = visual_weight, alignment_weight
        self.label_smoothing = label_smoothing
        self.register_buffer("weights", weights, persistent=False)
        self.seen = nn.Linear(model.config.width, len(model.answers)) if visual_weight else None

    def forward(
        self,
        labels: Tensor,
        text_mask: Tensor,
        token_ids: Tensor | None = None,
        text_tokens: Tensor | None = None,
        pixels: Tensor | None = None,
        image_tokens: Tensor | None = None,
        photo_index: Tensor | None = None,
        spans: Tensor | None = None,
        lower_tokens: Tensor | None = None,
    ) -> LabelTerms:
        """One batch: labels [B] as numbers, all else as of ``Classifier.forward``."""
        photos = pixels, image_tokens, photo_index
        logits, features = self.model(text_mask, token_ids, text_tokens, *photos, spans, lower_tokens=lower_tokens)
        task = self._label_loss(logits, labels)
        visual = alignment = task.new_zeros(())
        if self.seen is not None:
            visual = self._label_loss(self.seen(features.image), labels)
        if self.alignment_weight and photo_index is not None:
            text, image = F.normalize(features.text, dim=-1), F.normalize(features.image, dim=-1)
            same = photo_index[:, None] == photo_index[None, :]
            same.fill_diagonal_(False)
            scores = SCALE * text @ image.T
            own = torch.arange(len(scores), device=scores.device)
            alignment = contrastive_loss(scores, scores.T, same, own, self.label_smoothing)
        total = task + self.visual_weight * visual + self.alignment_weight * alignment
        return LabelTerms(task, visual, alignment, total)

    def _label_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.cross_entropy(
            logits.float(), labels, reduction="none", label_smoothing=self.label_smoothing
        )  # [B]; weights given to it would also weigh what smoothing spreads
        if self.weights is None:
            return losses.mean()
        weights = self.weights[labels]
        return (losses * weights).sum() / weights.sum()


def label_weights(labels: Tensor, count: int, balance: float) -> Tensor | None:
    """How much a row of each label counts [count]: its number of rows to the power of ``-balance``, the mean row 1.

    Args:
        labels: [R] of the training rows, each label at least once.
        count: how many labels there are.
        balance: 0 counts all rows alike (None), 1 all labels.
    """
    if not balance:
        return None
    rows = torch.bincount(labels, minlength=count).clamp(min=1).float()
    weights = rows**-balance
    return weights / (weights[labels].mean())
