"""How text and image tokens become one answer vector. Each family is a module; ``fusion_families`` builds them."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from valm_core.model.attention import Attention, AttentionPooling, FeedForward
from valm_core.outputs import AttentionMap, FusedFeatures

AttentionHead = tuple[str, int, int]  # step ("text_to_image", "joint_to_joint", ...), layer, head


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
        words = functional.normalize(self.word(words), dim=-1)
        cells = functional.normalize(self.cell(cells), dim=-1)
        return self.log_scale.exp().clamp(max=30.0) * (words @ cells.transpose(1, 2))


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
        image = image + sine_positions(*grid, image.shape[-1]).to(image)
        maps: list[AttentionMap] = []
        for index, layer in enumerate(self.layers):
            text, image, layer_maps = layer(text, text_mask, image, index, return_attention, masked_heads, similarity)
            maps += layer_maps
        return fuse_streams(self, self.text_norm(text), text_mask, self.image_norm(image), maps)


class ConcatenationFusion(nn.Module):
    """One sequence of text and image tokens under joint self-attention (UNITER, Chen et al. 2020, arXiv 1909.11740).

    The answer vector is one attention pooling over the whole sequence. Split by modality it reads
    ``g * text + (1 - g) * image``: g is the share of the pooling weights that lies on the text, so the gate means the
    same as in the other families.

    Args:
        width: size D of every token.
        layers: how many ``SelfAttentionLayer``.
        heads, feed_forward_ratio, dropout: as in ``SelfAttentionLayer``.
    """

    STEPS = ("joint_to_joint",)

    def __init__(self, width: int, layers: int, heads: int, feed_forward_ratio: float, dropout: float):
        super().__init__()
        self.modality = nn.Parameter(torch.randn(2, width) * 0.02)  # added to text and to image tokens
        self.layers = nn.ModuleList(
            SelfAttentionLayer(width, heads, feed_forward_ratio, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.pooling = AttentionPooling(width)

    def forward(
        self,
        text: Tensor,
        text_mask: Tensor,
        image: Tensor,
        grid: tuple[int, int],
        return_attention: bool = False,
        masked_heads: Collection[AttentionHead] = (),
    ) -> FusedFeatures:
        """Fuse text [B, T, D] (real where text_mask [B, T]) and image [B, N, D]; the maps are "joint"."""
        length = text.shape[1]
        image = image + sine_positions(*grid, image.shape[-1]).to(image)
        tokens = torch.cat([text + self.modality[0], image + self.modality[1]], dim=1)  # [B, T + N, D]
        mask = torch.cat([text_mask, text_mask.new_ones(image.shape[:2])], dim=1)  # [B, T + N]
        maps: list[AttentionMap] = []
        for index, layer in enumerate(self.layers):
            tokens, layer_maps = layer(tokens, mask, "joint", index, return_attention, masked_heads)
            maps += layer_maps
        tokens = self.norm(tokens)
        _, pooling = self.pooling(tokens, mask)
        text, image = tokens[:, :length], tokens[:, length:]
        gate = pooling[:, :length].sum(dim=1)  # [B]
        text_pooling = pooling[:, :length] / gate[:, None].clamp_min(1e-9)
        image_pooling = pooling[:, length:] / (1 - gate)[:, None].clamp_min(1e-9)
        text_vector = torch.einsum("bt,btd->bd", text_pooling, text)
        image_vector = torch.einsum("bn,bnd->bd", image_pooling, image)
        return FusedFeatures(
            # The pooled sequence, put together from its parts: so an explanation can follow it back to either pooling.
            fused=gate[:, None] * text_vector + (1 - gate)[:, None] * image_vector,
            text=text_vector,
            image=image_vector,
            gate=gate,
            text_tokens=text,
            image_tokens=image,
            text_pooling=text_pooling,
            image_pooling=image_pooling,
            attention=tuple(maps),
        )


class DualTowerFusion(nn.Module):
    """Two transformers that never meet before the end: each stream is pooled to a vector, and the vectors are fused.

    Late fusion is the gated sum plus the element-wise product of both vectors, without which a sum could not relate
    the question to the photo (the product is that of Antol et al. 2015, https://arxiv.org/abs/1505.00468). No token
    attends across modalities. What is returned as the map between them is the similarity of the final tokens, in the
    spirit of FILIP (Yao et al. 2022, https://arxiv.org/abs/2111.07783): a softmax over cosines, of kind "similarity".
    It describes the tokens and takes no part in the answer.

    Args:
        width: size D of every token.
        layers: how many ``SelfAttentionLayer`` in each tower.
        heads, feed_forward_ratio, dropout: as in ``SelfAttentionLayer``.
    """

    STEPS = ("text_to_text", "image_to_image")
    SHARPNESS = 10.0  # of the softmax over cosines

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        feed_forward_ratio: float,
        dropout: float,
    ):
        super().__init__()
        size = (width, heads, feed_forward_ratio, dropout)
        self.text_tower = nn.ModuleList(SelfAttentionLayer(*size) for _ in range(layers))
        self.image_tower = nn.ModuleList(SelfAttentionLayer(*size) for _ in range(layers))
        self.text_norm, self.image_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.text_pooling, self.image_pooling = AttentionPooling(width), AttentionPooling(width)
        self.gate = GatedFusion(width)
        self.product_norm = nn.LayerNorm(width)

    def forward(
        self,
        text: Tensor,
        text_mask: Tensor,
        image: Tensor,
        grid: tuple[int, int],
        return_attention: bool = False,
        masked_heads: Collection[AttentionHead] = (),
    ) -> FusedFeatures:
        """Fuse text [B, T, D] (real where text_mask [B, T]) and image [B, N, D] (N = rows * columns of ``grid``)."""
        image = image + sine_positions(*grid, image.shape[-1]).to(image)
        maps: list[AttentionMap] = []
        for index, (text_layer, image_layer) in enumerate(zip(self.text_tower, self.image_tower, strict=True)):
            text, text_maps = text_layer(text, text_mask, "text", index, return_attention, masked_heads)
            image, image_maps = image_layer(image, None, "image", index, return_attention, masked_heads)
            maps += [*text_maps, *image_maps]
        text, image = self.text_norm(text), self.image_norm(image)
        if return_attention:
            maps += self._similarity_maps(text, text_mask, image)
        return fuse_streams(self, text, text_mask, image, maps)

    def _similarity_maps(self, text: Tensor, text_mask: Tensor, image: Tensor) -> list[AttentionMap]:
        cosine = functional.normalize(text, dim=-1) @ functional.normalize(image, dim=-1).transpose(1, 2)  # [B, T, N]
        scores = self.SHARPNESS * cosine[:, None]  # [B, 1, T, N]
        image_scores = scores.transpose(2, 3).masked_fill(~text_mask[:, None, None, :], float("-inf"))  # [B, 1, N, T]
        last = len(self.text_tower) - 1
        return [
            AttentionMap(scores.softmax(dim=-1), "text", "image", last, kind="similarity"),
            AttentionMap(image_scores.softmax(dim=-1), "image", "text", last, kind="similarity"),
        ]


Fusion = BiAttentionFusion | ConcatenationFusion | DualTowerFusion


def heads_of(heads: Collection[AttentionHead], step: str, layer: int) -> list[int]:
    """The numbers of those heads that belong to one attention step of one layer."""
    return [head for head_step, head_layer, head in heads if (head_step, head_layer) == (step, layer)]


def fuse_streams(
    fusion: BiAttentionFusion | DualTowerFusion,
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
