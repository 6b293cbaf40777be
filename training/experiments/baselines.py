"""Fusions of earlier models, only to be compared with: `fusion: pooled_product`, `one_glimpse` or `deep_co_attention`.

They have no maps, so only `training.compare` knows them, and the app refuses their checkpoints.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from valm_core.config import ValmConfig
from valm_core.model.fusion.attention import Attention, AttentionPooling, FeedForward
from valm_core.model.fusion.families import FUSIONS, layer_sizes
from valm_core.model.fusion.streams import SelfAttentionLayer, sine_positions
from valm_core.outputs import FusedFeatures


class PooledProductFusion(nn.Module):
    """The mean word times the mean cell: no attention at all (Antol et al. 2015, https://arxiv.org/abs/1505.00468).

    Args:
        width: size D of every token.
        dropout: probability, 0..1.
    """

    STEPS = ()

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.text, self.image = branch(width, dropout), branch(width, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, text: Tensor, text_mask: Tensor, image: Tensor, *_: object) -> FusedFeatures:
        """Fuse text [B, T, D] (real where text_mask [B, T]) and image [B, N, D]."""
        text_pooling = text_mask / text_mask.sum(dim=1, keepdim=True)  # [B, T]
        image_pooling = image.new_full(image.shape[:2], 1 / image.shape[1])  # [B, N]
        text_vector = self.text(torch.einsum("bt,btd->bd", text_pooling.to(text), text))
        image_vector = self.image(image.mean(dim=1))
        fused = self.norm(text_vector + image_vector + text_vector * image_vector)
        return features(fused, text_vector, image_vector, text, image, text_pooling, image_pooling)


class OneGlimpseFusion(nn.Module):
    """The question's vector looks at the photo once, by additive attention (Yang et al. 2016,
    https://arxiv.org/abs/1511.02274, with one of their stacked layers).

    Args:
        width: size D of every token.
        dropout: probability, 0..1.
    """

    STEPS = ()

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.pooling = AttentionPooling(width)
        self.query, self.key, self.score = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.text, self.image = branch(width, dropout), branch(width, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, text: Tensor, text_mask: Tensor, image: Tensor, grid: tuple[int, int], *_: object
    ) -> FusedFeatures:
        """Fuse text [B, T, D] (real where text_mask [B, T]) and image [B, N, D] (N = rows * columns of ``grid``)."""
        image = image + sine_positions(*grid, image.shape[-1]).to(image)
        question, text_pooling = self.pooling(text, text_mask)
        scores = self.score(torch.tanh(self.query(question)[:, None] + self.key(image))).squeeze(-1)  # [B, N]
        image_pooling = scores.softmax(dim=-1)
        text_vector = self.text(question)
        image_vector = self.image(torch.einsum("bn,bnd->bd", image_pooling, image))
        fused = self.norm(text_vector + image_vector)
        return features(fused, text_vector, image_vector, text, image, text_pooling, image_pooling)


class DeepCoAttentionFusion(nn.Module):
    """Encoder-decoder co-attention (Yu et al. 2019, https://arxiv.org/abs/1906.10770): the question is read to the end
    first, then every layer of the photo's stream looks at itself and at the question's final words.

    Args:
        width: size D of every token.
        layers: how many of each stream.
        heads, feed_forward_ratio, dropout: as in ``SelfAttentionLayer``.
    """

    STEPS = ()

    def __init__(self, width: int, layers: int, heads: int, feed_forward_ratio: float, dropout: float):
        super().__init__()
        size = (width, heads, feed_forward_ratio, dropout)
        self.encoder = nn.ModuleList(SelfAttentionLayer(*size) for _ in range(layers))
        self.decoder = nn.ModuleList(GuidedLayer(*size) for _ in range(layers))
        self.text_norm, self.image_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.text_pooling, self.image_pooling = AttentionPooling(width), AttentionPooling(width)
        self.text, self.image = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, text: Tensor, text_mask: Tensor, image: Tensor, grid: tuple[int, int], *_: object
    ) -> FusedFeatures:
        """Fuse text [B, T, D] (real where text_mask [B, T]) and image [B, N, D] (N = rows * columns of ``grid``)."""
        image = image + sine_positions(*grid, image.shape[-1]).to(image)
        for index, layer in enumerate(self.encoder):
            text, _ = layer(text, text_mask, "text", index, False)
        text = self.text_norm(text)
        for layer in self.decoder:
            image = layer(image, text, text_mask)
        image = self.image_norm(image)
        text_vector, text_pooling = self.text_pooling(text, text_mask)
        image_vector, image_pooling = self.image_pooling(image)
        text_vector, image_vector = self.text(text_vector), self.image(image_vector)
        fused = self.norm(text_vector + image_vector)
        return features(fused, text_vector, image_vector, text, image, text_pooling, image_pooling)


class GuidedLayer(nn.Module):
    """One layer of the photo's stream: self-attention, attention to the question, feed-forward; pre-norm residuals."""

    def __init__(self, width: int, heads: int, feed_forward_ratio: float, dropout: float):
        super().__init__()
        self.self_norm, self.cross_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attention, self.cross_attention = (Attention(width, heads, dropout) for _ in range(2))
        self.feed_forward = nn.Sequential(nn.LayerNorm(width), FeedForward(width, feed_forward_ratio, dropout))
        self.dropout = nn.Dropout(dropout)

    def forward(self, image: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """image [B, N, D], text [B, T, D] (real where text_mask [B, T]) -> image."""
        normed = self.self_norm(image)
        image = image + self.dropout(self.self_attention(normed, normed, None)[0])
        image = image + self.dropout(self.cross_attention(self.cross_norm(image), text, text_mask)[0])
        return image + self.dropout(self.feed_forward(image))


def branch(width: int, dropout: float) -> nn.Sequential:
    """One stream's own layer before both meet."""
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width))


def features(
    fused: Tensor,
    text_vector: Tensor,
    image_vector: Tensor,
    text: Tensor,
    image: Tensor,
    text_pooling: Tensor,
    image_pooling: Tensor,
) -> FusedFeatures:
    """What every fusion returns; there is no gate, so both streams count as half."""
    gate = torch.full_like(fused[:, 0], 0.5)
    return FusedFeatures(fused, text_vector, image_vector, gate, text, image, text_pooling, image_pooling, ())


def _pooled_product(config: ValmConfig) -> PooledProductFusion:
    return PooledProductFusion(config.width, config.dropout)


def _one_glimpse(config: ValmConfig) -> OneGlimpseFusion:
    return OneGlimpseFusion(config.width, config.dropout)


def _deep_co_attention(config: ValmConfig) -> DeepCoAttentionFusion:
    return DeepCoAttentionFusion(**layer_sizes(config))


BASELINES = {
    "pooled_product": _pooled_product,
    "one_glimpse": _one_glimpse,
    "deep_co_attention": _deep_co_attention,
}


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Within this block a config may name the baselines as its ``fusion``."""
    FUSIONS.update(cast(Any, BASELINES))  # they satisfy the fusions' contract without being of one of their classes
    try:
        yield
    finally:
        for name in BASELINES:
            del FUSIONS[name]
