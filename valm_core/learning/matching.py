"""The objective of matching: in blocks of photos that resemble each other, each caption must find its photo."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from valm_core.learning.losses import contrastive_loss
from valm_core.model.tasks.classifier import Classifier

APART, TOGETHER = "apart", "together"  # the labels of a model that matches


@dataclass(frozen=True)
class MatchingTerms:
    """The loss, a scalar."""

    total: Tensor


class MatchingObjective(nn.Module):
    """A classifier that learns to tell which caption belongs to which photo.

    Every caption of a block meets every photo of it in the fusion; the right one must have the best score, among
    photos and among captions. Hard negatives make what in-batch negatives can't: a model that orders what another one
    found (ALBEF, Li et al. 2021, https://arxiv.org/abs/2107.07651).

    Args:
        model: with the labels ``APART`` and ``TOGETHER``.
        block: photos in a block K.
    """

    def __init__(self, model: Classifier, block: int):
        super().__init__()
        self.model, self.block = model, block

    def forward(
        self,
        text_mask: Tensor,
        photo_index: Tensor,
        token_ids: Tensor | None = None,
        text_tokens: Tensor | None = None,
        pixels: Tensor | None = None,
        image_tokens: Tensor | None = None,
    ) -> MatchingTerms:
        """One batch of B K captions, each row's photo at its ``photo_index`` [B K]; all else as of ``match_scores``."""
        rows = torch.arange(len(text_mask), device=text_mask.device).unflatten(0, (-1, self.block))  # [B, K]
        texts = rows.repeat_interleave(self.block, dim=1).flatten()  # [B K K], of each pair
        photos = photo_index[rows.repeat(1, self.block).flatten()]
        cells = self.model.cells(pixels, image_tokens)
        scores = match_scores(self.model, texts, photos, text_mask, token_ids, text_tokens, cells)
        blocks = scores.unflatten(0, (len(rows), self.block, self.block))  # [B, captions, photos]
        own = torch.arange(self.block, device=scores.device).repeat(len(rows))
        none = torch.zeros(len(own), self.block, dtype=torch.bool, device=scores.device)
        return MatchingTerms(contrastive_loss(blocks.flatten(0, 1), blocks.transpose(1, 2).flatten(0, 1), none, own))


def match_scores(
    model: Classifier,
    texts: Tensor,
    photos: Tensor,
    text_mask: Tensor,
    token_ids: Tensor | None = None,
    text_tokens: Tensor | None = None,
    cells: Tensor | None = None,
) -> Tensor:
    """How well texts and photos belong together: the log-odds [R] of R pairs.

    Args:
        model: with the labels ``APART`` and ``TOGETHER``.
        texts, photos: [R], the places of each pair's text and photo.
        text_mask: [B, T], True where a token is real.
        token_ids, text_tokens: [B, T] or [B, T, D_text].
        cells: [P, N, D_image], as of ``TwoEncoders.cells``.
    """
    ids = None if token_ids is None else token_ids[texts]
    tokens = None if text_tokens is None else text_tokens[texts]
    logits, _ = model(text_mask[texts], ids, tokens, image_tokens=cells, photo_index=photos)
    return (logits[:, model.answers.index(TOGETHER)] - logits[:, model.answers.index(APART)]).float()
