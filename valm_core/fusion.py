"""How text and image tokens become one answer vector. Each family is a module plus a build function in ``FUSIONS``."""

import math

import torch
from torch import Tensor, nn

from valm_core.attention import Attention, AttentionPooling, FeedForward
from valm_core.config import ValmConfig
from valm_core.outputs import AttentionMap, FusedFeatures


class BiAttentionLayer(nn.Module):
    """One layer of co-attention: cross-attention both ways, then self-attention and feed-forward in each stream.

    Both cross-attentions read the tokens as they entered the layer, so neither direction sees the other's result
    (the co-attention of ViLBERT, Lu et al. 2019, https://arxiv.org/abs/1908.02265, with the block order of LXMERT,
    Tan & Bansal 2019, https://arxiv.org/abs/1908.07490). Pre-norm residual blocks throughout.
    """

    def __init__(self, width: int, heads: int, feed_forward_ratio: float, dropout: float):
        super().__init__()
        self.text_cross_norm, self.image_cross_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.text_to_image = Attention(width, heads, dropout)
        self.image_to_text = Attention(width, heads, dropout)
        self.text_self_norm, self.image_self_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.text_self = Attention(width, heads, dropout)
        self.image_self = Attention(width, heads, dropout)
        self.text_feed_forward = nn.Sequential(nn.LayerNorm(width), FeedForward(width, feed_forward_ratio, dropout))
        self.image_feed_forward = nn.Sequential(nn.LayerNorm(width), FeedForward(width, feed_forward_ratio, dropout))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, text: Tensor, text_mask: Tensor, image: Tensor, layer: int, return_attention: bool
    ) -> tuple[Tensor, Tensor, tuple[AttentionMap, ...]]:
        """text [B, T, D], text_mask [B, T], image [B, N, D] -> both updated, and this layer's four maps."""
        normed_text, normed_image = self.text_cross_norm(text), self.image_cross_norm(image)
        text_update, text_to_image = self.text_to_image(normed_text, normed_image, None, return_attention)
        image_update, image_to_text = self.image_to_text(normed_image, normed_text, text_mask, return_attention)
        text = text + self.dropout(text_update)
        image = image + self.dropout(image_update)

        normed_text, normed_image = self.text_self_norm(text), self.image_self_norm(image)
        text_update, text_to_text = self.text_self(normed_text, normed_text, text_mask, return_attention)
        image_update, image_to_image = self.image_self(normed_image, normed_image, None, return_attention)
        text = text + self.dropout(text_update)
        image = image + self.dropout(image_update)

        text = text + self.dropout(self.text_feed_forward(text))
        image = image + self.dropout(self.image_feed_forward(image))

        if not return_attention:
            return text, image, ()
        maps = (
            AttentionMap(text_to_image, "text", "image", layer),  # [B, H, T, N]
            AttentionMap(image_to_text, "image", "text", layer),  # [B, H, N, T]
            AttentionMap(text_to_text, "text", "text", layer),  # [B, H, T, T]
            AttentionMap(image_to_image, "image", "image", layer),  # [B, H, N, N]
        )
        return text, image, maps


class GatedFusion(nn.Module):
    """Adaptive gate: ``g * text + (1 - g) * image`` with one g in 0..1 per example, computed from both vectors.

    After the gated multimodal unit (Arevalo et al. 2017, https://arxiv.org/abs/1702.01992), with a scalar gate so that
    it can be read as a share.
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


class BiAttentionFusion(nn.Module):
    """Layers of co-attention between the two streams, attention pooling of each, and an adaptive gate.

    Args:
        width: size D of every token.
        layers: how many ``BiAttentionLayer``.
        heads, feed_forward_ratio, dropout: as in ``BiAttentionLayer``.
    """

    def __init__(self, width: int, layers: int, heads: int, feed_forward_ratio: float, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(BiAttentionLayer(width, heads, feed_forward_ratio, dropout) for _ in range(layers))
        self.text_norm, self.image_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.text_pooling, self.image_pooling = AttentionPooling(width), AttentionPooling(width)
        self.gate = GatedFusion(width)

    def forward(
        self,
        text: Tensor,
        text_mask: Tensor,
        image: Tensor,
        grid: tuple[int, int],
        return_attention: bool = False,
    ) -> FusedFeatures:
        """Fuse text [B, T, D] (real where text_mask [B, T]) and image [B, N, D] (N = rows * columns of ``grid``)."""
        image = image + sine_positions(*grid, image.shape[-1]).to(image)
        maps: list[AttentionMap] = []
        for index, layer in enumerate(self.layers):
            text, image, layer_maps = layer(text, text_mask, image, index, return_attention)
            maps += layer_maps
        text_vector, text_pooling = self.text_pooling(self.text_norm(text), text_mask)
        image_vector, image_pooling = self.image_pooling(self.image_norm(image))
        fused, gate = self.gate(text_vector, image_vector)
        return FusedFeatures(
            fused=fused,
            text=text_vector,
            image=image_vector,
            gate=gate,
            text_pooling=text_pooling,
            image_pooling=image_pooling,
            attention=tuple(maps),
        )


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


def build_bi_attention(config: ValmConfig) -> BiAttentionFusion:
    """Build the bi-attention family from a config."""
    return BiAttentionFusion(
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        feed_forward_ratio=config.feed_forward_ratio,
        dropout=config.dropout,
    )


FUSIONS = {"bi_attention": build_bi_attention}
