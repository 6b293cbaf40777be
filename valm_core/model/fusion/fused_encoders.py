"""FusedEncoders: texts, with or without a photo, through one of the fusion families: what labels are read from."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from valm_core.model.encoders.two_encoders import Encoders, TwoEncoders
from valm_core.model.fusion.attention import AttentionPooling
from valm_core.outputs import FusedFeatures

if TYPE_CHECKING:
    from valm_core.model.fusion.bi_attention import WordCellSimilarity
    from valm_core.model.fusion.families import Fusion


@dataclass(frozen=True, eq=False)
class FusionParts:
    """What brings texts and photos together at the fusion's width D; of a model of texts alone the first alone."""

    text_projection: nn.Linear
    image_projection: nn.Linear | None = None
    fusion: "Fusion | None" = None
    similarity: "WordCellSimilarity | None" = None


class FusedEncoders(TwoEncoders):
    """Two encoders and a fusion; subclasses put a head on what it returns.

    Args:
        encoders: what reads texts and photos.
        parts: the fusion and what leads to it.
        answers: the labels, in the order of the head's logits.
        dropout: probability, 0..1, of tokens on their way into the fusion.
        cell_side: rows and columns of cells that the fusion reads at most; 0 for all.
        learned_text_layers: how many of the text encoder's last layers learn, or have learned.
    """

    mean_image_token: Tensor

    def __init__(
        self,
        encoders: Encoders,
        parts: FusionParts,
        answers: Sequence[str],
        *,
        dropout: float,
        cell_side: int = 0,
        learned_text_layers: int = 0,
    ):
        super().__init__(encoders, answers, cell_side)
        self.learned_text_layers = learned_text_layers
        self.width = width = parts.text_projection.out_features
        self.text_projection, self.text_norm = parts.text_projection, nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.similarity: WordCellSimilarity | None = None
        self.sees_photos = parts.fusion is not None
        if parts.fusion is None or parts.image_projection is None:
            self.text_pooling = AttentionPooling(width)
            return
        self.image_projection = parts.image_projection
        self.image_input_norm = nn.LayerNorm(self.image_encoder.feature_width)
        self.image_norm = nn.LayerNorm(width)
        self.fusion = parts.fusion
        self.similarity = parts.similarity
        # The average image token of the training data: stands in for a photo where there is none.
        self.register_buffer("mean_image_token", torch.zeros(self.image_encoder.width))

    def encode(
        self,
        text_mask: Tensor,
        token_ids: Tensor | None = None,
        text_tokens: Tensor | None = None,
        pixels: Tensor | None = None,
        image_tokens: Tensor | None = None,
        photo_index: Tensor | None = None,
        return_attention: bool = False,
        lower_tokens: Tensor | None = None,
    ) -> FusedFeatures:
        """Fuse texts with their photos.

        Each side comes raw or already encoded, as in ``ValmModel.forward``. Without a photo the average token of the
        training photos stands in, as a grid of one cell; a model of texts alone reads no photo, given or not.

        Args:
            text_mask: [B, T], True where a token is real.
            token_ids, text_tokens: [B, T] or [B, T, D_text].
            pixels, image_tokens: [P, 3, S, S], or the image encoder's tokens, or what ``cells`` made of them.
            photo_index: [B], which of the P photos each text has, -1 for none; None where P = B, one photo a text.
            return_attention: compute all attention explicitly and return it in ``attention``.
            lower_tokens: [B, T, D_text], by all layers of the text encoder but those that learned.

        Returns:
            ``text_tokens`` [B, T, D], ``fused`` [B, D], ``attention`` and all else of ``FusedFeatures``; of a model of
            texts alone ``image_tokens`` and ``image_pooling`` have no cell, ``image`` is 0 and ``gate`` 1.
        """
        encoded = self.text_encoder.read(text_mask, token_ids, text_tokens, lower_tokens, self.learned_text_layers)
        text = self.dropout(self.text_norm(self.text_projection(encoded.to(self.text_projection.weight.dtype))))
        if not self.sees_photos:
            return self._without_photos(text, text_mask)
        cells, grid = self.mean_image_token[None, None], (1, 1)  # [1, 1, D_image]
        if pixels is not None or image_tokens is not None:
            given, grid = self.cells(pixels, image_tokens).to(cells.dtype), self.grid  # [P, N, D_image]
            none = cells.expand(1, given.shape[1], -1)
            cells = given if photo_index is None else torch.cat([given, none])[photo_index]  # -1 is the last
        cells = cells.expand(len(text), -1, -1).to(self.image_projection.weight.dtype)
        image = self.image_projection(self.image_input_norm(cells[..., : self.image_encoder.feature_width]))
        if self.image_encoder.semantic_width:  # it lives in the text encoder's space, see ``ValmModel.project_cells``
            image = image + self.text_projection(cells[..., self.image_encoder.feature_width :])
        image = self.dropout(self.image_norm(image))
        if self.similarity is None:
            return self.fusion(text, text_mask, image, grid, return_attention)
        similar = self.similarity(encoded.to(cells.dtype), cells)  # [B, T, N]
        fused = self.fusion(text, text_mask, image, grid, return_attention, (), similar)
        return fused if return_attention else dataclasses.replace(fused, attention=())

    def _without_photos(self, text: Tensor, text_mask: Tensor) -> FusedFeatures:
        vector, pooling = self.text_pooling(text, text_mask)
        return FusedFeatures(
            fused=vector,
            text=vector,
            image=torch.zeros_like(vector),
            gate=vector.new_ones(len(vector)),
            text_tokens=text,
            image_tokens=text[:, :0],
            text_pooling=pooling,
            image_pooling=pooling[:, :0],
            attention=(),
        )
