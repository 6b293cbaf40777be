"""What the fusion families share: self-attention layers, the gate, positions of cells, and how two streams end."""

import math
from collections.abc import Collection
from typing import Protocol

import torch
from torch import Tensor, nn

from valm_core.model.fusion.attention import Attention, AttentionPooling, FeedForward
from valm_core.outputs import AttentionMap, FusedFeatures

AttentionHead = tuple[str, int, int]  # step ("text_to_image", "joint_to_joint", ...), layer, head


class SelfAttentionLayer(nn.Module):
    """One pre-norm transformer layer: self-attention and feed-forward, each added to what came in."""

    def __init__(self, width: int, heads: int, feed_forward_ratio: float, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.feed_forward = nn.Sequential(nn.LayerNorm(width), FeedForward(width, feed_forward_ratio, dropout))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor | None,
        modality: str,
        layer: int,
        return_attention: bool,
        masked_heads: Collection[AttentionHead] = (),
    ) -> tuple[Tensor, tuple[AttentionMap, ...]]:
        """tokens [B, T, D], mask [B, T] -> updated tokens, and this layer's map of ``modality`` onto itself."""
        normed = self.norm(tokens)
        masked = heads_of(masked_heads, f"{modality}_to_{modality}", layer)
        update, weights = self.attention(normed, normed, mask, return_attention, masked)
        tokens = tokens + self.dropout(update)
        tokens = tokens + self.dropout(self.feed_forward(tokens))
        return tokens, (AttentionMap(weights, modality, modality, layer),) if return_attention else ()


class GatedFusion(nn.Module):
    """Gate: ``g * text + (1 - g) * image`` with one g in 0..1 per example.

    After the gated multimodal unit (Arevalo et al. 2017, https://arxiv.org/abs/1702.01992), with a scalar gate so that
    it can be read as a share.

    Args:
        width: size D of both vectors.
    """

    def __init__(self, width: int):
        super().__init__()
        self.text_norm, self.image_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gate = nn.Linear(2 * width, 1)

    def forward(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """text, image [B, D] -> fused [B, D] and the gate [B], the share of the text."""
        text, image = self.text_norm(text), self.image_norm(image)
        gate = torch.sigmoid(self.gate(torch.cat([text, image], dim=-1)))  # [B, 1]
        return gate * text + (1 - gate) * image, gate.squeeze(-1)


class TwoStreams(Protocol):
    """A fusion with a text stream and an image stream, and what ends them."""

    text_pooling: AttentionPooling
    image_pooling: AttentionPooling
    gate: GatedFusion
    product_norm: nn.LayerNorm | None


def heads_of(heads: Collection[AttentionHead], step: str, layer: int) -> list[int]:
    """The numbers of those heads that belong to one attention step of one layer."""
    return [head for head_step, head_layer, head in heads if (head_step, head_layer) == (step, layer)]


def fuse_streams(
    fusion: TwoStreams,
    text: Tensor,
    text_mask: Tensor,
    image: Tensor,
    maps: list[AttentionMap],
) -> FusedFeatures:
    """The end of both two-stream families: pool text [B, T, D] and image [B, N, D], gate them, add the product."""
    text_vector, text_pooling = fusion.text_pooling(text, text_mask)
    image_vector, image_pooling = fusion.image_pooling(image)
    fused, gate = fusion.gate(text_vector, image_vector)
    if fusion.product_norm is not None:
        fused = fused + fusion.product_norm(text_vector * image_vector)
    return FusedFeatures(
        fused=fused,
        text=text_vector,
        image=image_vector,
        gate=gate,
        text_tokens=text,
        image_tokens=image,
        text_pooling=text_pooling,
        image_pooling=image_pooling,
        attention=tuple(maps),
    )


def with_positions(image: Tensor, grid: tuple[int, int]) -> Tensor:
    """image [B, N, D] of a grid of N cells -> the same, each cell with its place in it."""
    return image + sine_positions(*grid, image.shape[-1]).to(image)


def sine_positions(rows: int, columns: int, width: int) -> Tensor:
    """Fixed 2-D positions [rows * columns, width]: sines and cosines of the row in one half, the column in the other.

    The two-dimensional form of Vaswani et al. 2017 in DETR (Carion et al. 2020, https://arxiv.org/abs/2005.12872).
    Coordinates are normalised to 0..2π, so any grid covers the same range.

    Raises:
        ValueError: ``width`` is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width is {width}; 2-D positions need a multiple of 4. Change `width` in the config.")
    frequencies = torch.exp(-math.log(10_000) * torch.arange(width // 4) / (width // 4))  # [D/4]

    def encode(count: int) -> Tensor:
        angles = 2 * math.pi * (torch.arange(count) + 0.5)[:, None] / count * frequencies  # [count, D/4]
        return torch.cat([angles.sin(), angles.cos()], dim=-1)  # [count, D/2]

    by_row = encode(rows)[:, None].expand(rows, columns, width // 2)
    by_column = encode(columns)[None, :].expand(rows, columns, width // 2)
    return torch.cat([by_row, by_column], dim=-1).flatten(0, 1)
