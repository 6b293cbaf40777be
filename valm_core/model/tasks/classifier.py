"""Classifier: one label for a text with or without a photo, or for two marked parts of a text."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from valm_core.model.encoders.two_encoders import Encoders
from valm_core.model.fusion.attention import mean_token
from valm_core.model.fusion.fused_encoders import FusedEncoders, FusionParts
from valm_core.outputs import FusedFeatures

SPANS = 2  # marked parts of a text


class Classifier(FusedEncoders):
    """Scores every label of a text and its photo.

    With ``spans`` the head reads beside the fused vector the mean token of each marked part, their
    markers included, and the product of both (after Soares et al. 2019, https://arxiv.org/abs/1906.03158).

    Args:
        encoders, parts, dropout, options: as of ``FusedEncoders``.
        answers: the labels, in the order of the logits.
        spans: whether two parts of a text are marked.

    Raises:
        ValueError: fewer than two labels, or one twice.
    """

    def __init__(
        self,
        encoders: Encoders,
        parts: FusionParts,
        answers: Sequence[str],
        *,
        spans: bool = False,
        dropout: float,
        **options: int,
    ):
        super().__init__(encoders, parts, answers, dropout=dropout, **options)
        if len(set(answers)) < 2 or len(set(answers)) != len(answers):
            raise ValueError(f"The labels are {', '.join(answers) or 'none'}; two at least are needed, each once.")
        self.has_spans = spans
        read = self.width * (2 + SPANS if spans else 1)
        self.head = nn.Sequential(
            nn.LayerNorm(read),
            nn.Linear(read, self.width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(self.width, len(answers)),
        )

    def forward(
        self,
        text_mask: Tensor,
        token_ids: Tensor | None = None,
        text_tokens: Tensor | None = None,
        pixels: Tensor | None = None,
        image_tokens: Tensor | None = None,
        photo_index: Tensor | None = None,
        spans: Tensor | None = None,
        return_attention: bool = False,
        lower_tokens: Tensor | None = None,
    ) -> tuple[Tensor, FusedFeatures]:
        """Logits [B, labels], and what they were read from; arguments as of ``FusedEncoders.encode``.

        Args:
            spans: [B, 2, T], True where a token belongs to the first or second marked part; for a model with spans.

        Raises:
            ValueError: spans are missing where the model needs them.
        """
        photos = pixels, image_tokens, photo_index
        features = self.encode(text_mask, token_ids, text_tokens, *photos, return_attention, lower_tokens)
        return self.score(features, spans), features

    def score(self, features: FusedFeatures, spans: Tensor | None = None) -> Tensor:
        """Logits [B, labels] of fused features; ``spans`` as of ``forward``."""
        read = features.fused
        if self.has_spans:
            if spans is None:
                raise ValueError("There are no marked parts: give spans.")
            parts = [mean_token(features.text_tokens, spans[:, number]) for number in range(SPANS)]
            read = torch.cat([read, *parts, parts[0] * parts[1]], dim=-1)
        return self.head(read)
