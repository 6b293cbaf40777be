"""Classifier: one label for a text with or without a photo, or for two marked parts of a text."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from valm_core.config import ValmConfig
from valm_core.inputs.question import QuestionTokenizer
from valm_core.model.attention import mean_token
from valm_core.model.fused_encoders import FusedEncoders
from valm_core.model.image_encoder import ImageEncoder
from valm_core.model.text_encoder import TextEncoder
from valm_core.outputs import FusedFeatures

SPAN_TASKS = ("relate",)  # whose texts have two marked parts
SPANS = 2


class Classifier(FusedEncoders):
    """Scores every label of a text and its photo.

    Where the task is ``relate``, the head reads beside the fused vector the mean token of each marked part, their
    markers included, and the product of both (after Soares et al. 2019, https://arxiv.org/abs/1906.03158).

    Args:
        config, tokenizer, text_encoder, image_encoder, concepts: as of ``FusedEncoders``.
        answers: the labels, in the order of the logits.

    Raises:
        ValueError: fewer than two labels, or one twice.
    """

    def __init__(
        self,
        config: ValmConfig,
        *,
        tokenizer: QuestionTokenizer,
        text_encoder: TextEncoder,
        image_encoder: ImageEncoder,
        concepts: Sequence[str] = (),
        answers: Sequence[str] = (),
    ):
        super().__init__(
            config,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            image_encoder=image_encoder,
            concepts=concepts,
            answers=answers,
        )
        if len(set(answers)) < 2 or len(set(answers)) != len(answers):
            raise ValueError(f"The labels are {', '.join(answers) or 'none'}; two at least are needed, each once.")
        self.has_spans = config.task in SPAN_TASKS
        width = config.width
        read = width * (2 + SPANS if self.has_spans else 1)
        self.head = nn.Sequential(
            nn.LayerNorm(read),
            nn.Linear(read, width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, len(answers)),
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
            spans: [B, 2, T], True where a token belongs to the first or second marked part; for ``relate`` alone.

        Raises:
            ValueError: spans are missing where the task needs them.
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
