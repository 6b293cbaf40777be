"""CaptionModel: describes a photo word piece by word piece, each reading from the image encoder's cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valm_core.model.encoders.two_encoders import Encoders, TwoEncoders
from valm_core.model.fusion.attention import FeedForward

KeyValue = tuple[Tensor, Tensor]  # keys and values [B, H, T, D/H] of one attention


@dataclass(frozen=True)
class Reading:
    """What a decoder made of captions, or of the next pieces of some.

    ``logits`` [B, T, V] of the piece after each; ``past`` are the keys and values of all pieces so far, a pair a layer,
    to go on from; ``weights`` [L, B, H, T, N] are how much each piece read from each cell, None where not asked for.
    """

    logits: Tensor
    past: tuple[KeyValue, ...]
    weights: Tensor | None = None


class DecoderLayer(nn.Module):
    """One layer of a decoder: pieces read earlier pieces, then cells (Vaswani et al. 2017, section 3.1).

    Norms come first (Xiong et al. 2020, https://arxiv.org/abs/2002.04745).

    Args:
        width: size D of pieces and cells, a multiple of ``heads``.
        heads: attention heads H.
        ratio: the feed-forward block is this many times wider.
        dropout: probability, 0..1.
    """

    def __init__(self, *, width: int, heads: int, ratio: float, dropout: float):
        super().__init__()
        self.heads = heads
        self.self_norm, self.cross_norm, self.forward_norm = (nn.LayerNorm(width) for _ in range(3))
        self.self_query_key_value, self.self_output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cross_query, self.cross_output = nn.Linear(width, width), nn.Linear(width, width)
        self.cross_key_value = nn.Linear(width, 2 * width)
        self.feed_forward = FeedForward(width, ratio, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        pieces: Tensor,
        cells: KeyValue,
        past: KeyValue | None = None,
        visible: Tensor | None = None,
        return_weights: bool = False,
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        """pieces [B, T, D], keys and values of cells [B, H, N, D/H] -> pieces, their own keys and values, the weights.

        ``past`` are those of earlier pieces; then T must be 1. ``visible`` [B, 1, T, T] says which piece may read
        which; None: all earlier ones and itself. ``hidden`` [B, N] are cells that can't be read. The weights
        [B, H, T, N] are None where not asked for.
        """
        query, key, value = map(self._split, self.self_query_key_value(self.self_norm(pieces)).chunk(3, dim=-1))
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        causal = past is None and visible is None
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, is_causal=causal)
        pieces = pieces + self.dropout(self.self_output(_join(read)))
        query, weights = self._split(self.cross_query(self.cross_norm(pieces))), None
        if return_weights:
            scores = query @ cells[0].transpose(-2, -1) / query.shape[-1] ** 0.5  # [B, H, T, N]
            if hidden is not None:
                scores = scores.masked_fill(hidden[:, None, None], float("-inf"))
            weights = scores.softmax(dim=-1)
            read = weights @ cells[1]
        else:
            open_cells = None if hidden is None else ~hidden[:, None, None]
            read = F.scaled_dot_product_attention(query, *cells, attn_mask=open_cells)
        pieces = pieces + self.dropout(self.cross_output(_join(read)))
        return pieces + self.dropout(self.feed_forward(self.forward_norm(pieces))), (key, value), weights

    def cells(self, cells: Tensor) -> KeyValue:
        """Cells [P, N, D] -> the keys and values that pieces read from."""
        key, value = self.cross_key_value(cells).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, T, D] -> [B, H, T, D/H]


class CaptionModel(TwoEncoders):
    """An image encoder and a small transformer decoder that reads its cells by cross-attention.

    A photo is described from left to right (Xu et al. 2015, "Show, Attend and Tell", https://arxiv.org/abs/1502.03044);
    what a piece read from the cells is its map. Input and output share one table of pieces.

    Args:
        encoders: the tokenizer splits captions into word pieces, the image encoder reads photos; the text encoder is
            read by no forward pass, a checkpoint names it, for the tokenizer is its.
        vocabulary: how many word pieces V a caption can be made of.
        width: size D of pieces and cells.
        layers: how many ``DecoderLayer``.
        heads, feed_forward_ratio, dropout: as in ``DecoderLayer``.
    """

    vocabulary: Tensor

    def __init__(
        self,
        encoders: Encoders,
        *,
        vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        feed_forward_ratio: float,
        dropout: float,
    ):
        super().__init__(encoders)
        self.width = width
        rows, columns = self.image_encoder.grid
        # Token ids of the tokenizer, in the order of the logits; filled once they are known.
        self.register_buffer("vocabulary", torch.zeros(vocabulary, dtype=torch.long))
        self.cell_norm = nn.LayerNorm(self.image_encoder.width)
        self.cell_projection = nn.Linear(self.image_encoder.width, width)
        self.cell_positions = nn.Parameter(0.1 * torch.randn(rows * columns, width))
        self.memory_norm = nn.LayerNorm(width)
        self.pieces = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.pieces.weight, std=width**-0.5)  # as it serves as output layer too
        self.piece_positions = nn.Parameter(0.1 * torch.randn(self.tokenizer.max_tokens, width))
        self.layers = nn.ModuleList(
            DecoderLayer(width=width, heads=heads, ratio=feed_forward_ratio, dropout=dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.dropout = nn.Dropout(dropout)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.bias.device

    def encode_photos(self, pixels: Tensor | None = None, image_tokens: Tensor | None = None) -> tuple[KeyValue, ...]:
        """What the layers read of photos: keys and values [P, H, N, D/H], a pair a layer.

        Args:
            pixels: [P, 3, S, S] in 0..1.
            image_tokens: or the image encoder's tokens [P, N, D_image].

        Raises:
            ValueError: neither is given.
        """
        tokens = self.cell_norm(self.image_tokens(pixels, image_tokens).to(self.bias.dtype))
        cells = self.dropout(self.memory_norm(self.cell_projection(tokens) + self.cell_positions))  # [P, N, D]
        return tuple(cast(DecoderLayer, layer).cells(cells) for layer in self.layers)

    def read(
        self,
        places: Tensor,
        cells: Sequence[KeyValue],
        past: Sequence[KeyValue] = (),
        return_weights: bool = False,
        order: tuple[Tensor, Tensor] | None = None,
        hidden: Tensor | None = None,
    ) -> Reading:
        """Captions, or their next pieces, with the photos that they are of.

        Args:
            places: [B, T], places in the vocabulary; the first of a caption is ``BEGIN``. No piece sees a later one.
            cells: of B photos, see ``encode_photos``.
            past: from the reading of the pieces before, whose next ones these are; then T must be 1.
            return_weights: hand out what was read from the cells.
            order: where several captions of a photo lie one behind the other in a row, the number of each piece's
                caption and its position in that, both [B, T]; a caption doesn't see the others.
            hidden: [B, N], True for cells that can't be read, fewer than all.
        """
        visible = None
        if order is None:
            first = past[0][0].shape[2] if past else 0
            positions = self.piece_positions[first : first + places.shape[1]]
        else:
            captions, positions = order[0], self.piece_positions[order[1]]
            visible = (captions[:, :, None] == captions[:, None, :]).tril()[:, None]  # [B, 1, T, T]
        pieces = self.dropout(self.pieces(places) * self.width**0.5 + positions)
        kept, weights = [], []
        for number, layer in enumerate(self.layers):
            pieces, own, read = layer(
                pieces, cells[number], past[number] if past else None, visible, return_weights, hidden
            )
            kept.append(own)
            weights.append(read)
        logits = F.linear(self.norm(pieces), self.pieces.weight, self.bias)
        return Reading(logits, tuple(kept), torch.stack(weights) if return_weights else None)


def _join(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)  # [B, H, T, D/H] -> [B, T, D]
