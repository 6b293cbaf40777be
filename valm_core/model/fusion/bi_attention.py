"""The bi-attention family: words and cells look at each other, layer by layer."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from valm_core.model.fusion.attention import Attention, AttentionPooling, FeedForward
from valm_core.model.fusion.streams import AttentionHead, GatedFusion, fuse_streams, heads_of, with_positions
from valm_core.outputs import AttentionMap, FusedFeatures


class BiAttentionFusion(nn.Module):
    """Layers of co-attention between the two streams, attention pooling of each, and a gate.

    Args:
        width: size D of every token.
        layers: how many ``BiAttentionLayer``.
        heads, feed_forward_ratio, dropout: as in ``BiAttentionLayer``.
        product: add the element-wise product of both streams' vectors to the gated sum, as ``DualTowerFusion`` does.
        similarity: read by the similarity of words and cells too, see ``BiAttentionLayer``.
    """

    STEPS = ("text_to_image", "image_to_text", "text_to_text", "image_to_image")  # whose heads can be masked

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        feed_forward_ratio: float,
        dropout: float,
        product: bool = False,
        similarity: bool = False,
    ):
        super().__init__()
        size = (width, heads, feed_forward_ratio, dropout, similarity)
        self.layers = nn.ModuleList(BiAttentionLayer(*size) for _ in range(layers))
        self.text_norm, self.image_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.text_pooling, self.image_pooling = AttentionPooling(width), AttentionPooling(width)
        self.gate = GatedFusion(width)
        self.product_norm = nn.LayerNorm(width) if product else None

    def forward(
        self,
        text: Tensor,
        text_mask: Tensor,
        image: Tensor,
        grid: tuple[int, int],
        return_attention: bool = False,
        masked_heads: Collection[AttentionHead] = (),
        similarity: Tensor | None = None,
    ) -> FusedFeatures:
        """Fuse text [B, T, D] (real where text_mask [B, T]) and image [B, N, D] (N = rows * columns of ``grid``).

        ``similarity`` [B, T, N] of words and cells is needed by a fusion that was built for it.
        """
        image = with_positions(image, grid)
        maps: list[AttentionMap] = []
        for index, layer in enumerate(self.layers):
            text, image, layer_maps = layer(text, text_mask, image, index, return_attention, masked_heads, similarity)
            maps += layer_maps
        return fuse_streams(self, self.text_norm(text), text_mask, self.image_norm(image), maps)


class BiAttentionLayer(nn.Module):
    """One layer of co-attention: cross-attention both ways, then self-attention and feed-forward in each stream.

    Both cross-attentions read the tokens as they entered the layer, so neither direction sees the other's result
    (the co-attention of ViLBERT, Lu et al. 2019, https://arxiv.org/abs/1908.02265, with the block order of LXMERT,
    Tan & Bansal 2019, https://arxiv.org/abs/1908.07490). Pre-norm residual blocks throughout.
    """

    def __init__(self, width: int, heads: int, feed_forward_ratio: float, dropout: float, similarity: bool = False):
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
        self.similarity_weight = nn.Parameter(torch.ones(heads)) if similarity else None
        self.similarity_value = nn.Linear(heads, width) if similarity else None

    def forward(
        self,
        text: Tensor,
        text_mask: Tensor,
        image: Tensor,
        layer: int,
        return_attention: bool,
        masked_heads: Collection[AttentionHead] = (),
        similarity: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, tuple[AttentionMap, ...]]:
        """text [B, T, D], text_mask [B, T], image [B, N, D] -> both updated, and this layer's four maps.

        ``similarity`` [B, T, N], if the layer was built for it, draws each word to the cells that resemble it, and is
        itself read there: a channel of its own beside the cells' values tells a word how much its cells resemble it.
        """

        def read(
            attention: Attention, query: Tensor, key: Tensor, mask: Tensor | None, step: str
        ) -> tuple[Tensor, Any]:
            return attention(query, key, mask, return_attention, heads_of(masked_heads, step, layer))

        normed_text, normed_image = self.text_cross_norm(text), self.image_cross_norm(image)
        weight, value = self.similarity_weight, self.similarity_value
        if similarity is None or weight is None or value is None:
            text_update, text_to_image = read(self.text_to_image, normed_text, normed_image, None, "text_to_image")
        else:
            masked = heads_of(masked_heads, "text_to_image", layer)
            bias = similarity[:, None] * weight.to(similarity.dtype)[:, None, None]  # [B, H, T, N]
            text_update, text_to_image = self.text_to_image(normed_text, normed_image, None, True, masked, bias)
            text_update = text_update + value(read_similarity(text_to_image, similarity, masked))
        image_update, image_to_text = read(self.image_to_text, normed_image, normed_text, text_mask, "image_to_text")
        text = text + self.dropout(text_update)
        image = image + self.dropout(image_update)

        normed_text, normed_image = self.text_self_norm(text), self.image_self_norm(image)
        text_update, text_to_text = read(self.text_self, normed_text, normed_text, text_mask, "text_to_text")
        image_update, image_to_image = read(self.image_self, normed_image, normed_image, None, "image_to_image")
        text = text + self.dropout(text_update)
        image = image + self.dropout(image_update)

        text = text + self.dropout(self.text_feed_forward(text))
        image = image + self.dropout(self.image_feed_forward(image))

        if not return_attention:
            # What the words read by similarity is computed with its weights anyway, and glimpses need them.
            return text, image, () if similarity is None else (AttentionMap(text_to_image, "text", "image", layer),)
        maps = (
            AttentionMap(text_to_image, "text", "image", layer),  # [B, H, T, N]
            AttentionMap(image_to_text, "image", "text", layer),  # [B, H, N, T]
            AttentionMap(text_to_text, "text", "text", layer),  # [B, H, T, T]
            AttentionMap(image_to_image, "image", "image", layer),  # [B, H, N, N]
        )
        return text, image, maps


def read_similarity(weights: Tensor, similarity: Tensor, masked: list[int]) -> Tensor:
    """How similar what each head reads is to its word [B, T, H]: maps [B, H, T, N] over similarity [B, T, N].

    Masked heads read nothing.
    """
    read = torch.einsum("bhtn,btn->bth", weights, similarity.to(weights.dtype))
    return read.index_fill(-1, torch.tensor(masked, device=read.device), 0.0) if masked else read


class WordCellSimilarity(nn.Module):
    """How much each cell of a photo resembles each word: the direct comparison of what is asked and what is shown.

    Cosines in a common space, times a learned sharpness; late interaction as in FILIP (Yao et al. 2022,
    https://arxiv.org/abs/2111.07783).

    Args:
        word: size of a word's vector.
        cell: size of a cell's vector.
        width: size of the common space.
    """

    def __init__(self, word: int, cell: int, width: int):
        super().__init__()
        self.word, self.cell = nn.Linear(word, width), nn.Linear(cell, width)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, words: Tensor, cells: Tensor) -> Tensor:
        """Words [B, T, W], cells [B, N, C] -> [B, T, N] from -scale to scale."""
        return self.compared(words, self.matched(cells))

    def matched(self, cells: Tensor) -> Tensor:
        """Cells [B, N, C] -> unit vectors [B, N, width] of the common space."""
        return functional.normalize(self.cell(cells), dim=-1)

    def compared(self, words: Tensor, matched: Tensor) -> Tensor:
        """What ``forward`` gives, of ``matched`` in place of cells."""
        words = functional.normalize(self.word(words), dim=-1)
        return self.log_scale.exp().clamp(max=30.0) * (words @ matched.transpose(1, 2))
