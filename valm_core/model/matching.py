"""Matcher: whether a text and a photo belong together, by a fusion that reads every word with every cell."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from valm_core.model.fusion_families import Fusion


class Matcher(nn.Module):
    """The re-ranker of retrieval: slow beside two towers, so that it reads only what they found.

    A fusion and a linear head on its vector (the image-text matching of ALBEF, Li et al. 2021,
    https://arxiv.org/abs/2107.07651).

    Args:
        fusion: of width D, of any family, built without ``similarity``.
        width: D.
    """

    def __init__(self, fusion: "Fusion", width: int):
        super().__init__()
        self.fusion, self.head = fusion, nn.Linear(width, 1)
        self.text_norm, self.image_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, words: Tensor, mask: Tensor, cells: Tensor, grid: tuple[int, int]) -> Tensor:
        """words [B, T, D], real where mask [B, T], and cells [B, M, D] of ``grid`` -> logits [B] of a match."""
        fused = self.fusion(self.text_norm(words), mask, self.image_norm(cells), grid)
        return self.head(fused.fused).squeeze(-1)


def hard_negatives(scores: Tensor, own: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """For each row of scores [R, C] its own column and the ``count`` others that score highest: [R, 1 + count].

    Args:
        scores: minus infinity where a column may not be taken.
        own: [R], each row's own column.
        count: fewer where there are fewer columns.

    Returns:
        The columns, and True [R, 1 + count] where one may not be taken but there was none left.
    """
    best = scores.scatter(1, own[:, None], float("-inf")).topk(min(count, scores.shape[1] - 1), dim=1)
    missing = torch.cat([torch.zeros_like(own[:, None], dtype=torch.bool), best.values.isneginf()], dim=1)
    return torch.cat([own[:, None], best.indices], dim=1), missing
