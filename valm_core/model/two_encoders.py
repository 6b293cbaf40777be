"""TwoEncoders: what models for other tasks than answering share: a text and an image encoder, and photos for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

from valm_core.config import ValmConfig
from valm_core.inputs.photo import photo_to_pixels
from valm_core.inputs.question import QuestionTokenizer
from valm_core.model.image_encoder import ImageEncoder
from valm_core.model.model import keep_frozen_parts_in_evaluation, learns
from valm_core.model.text_encoder import TextEncoder

if TYPE_CHECKING:
    from typing_extensions import Self


class TwoEncoders(nn.Module):
    """A module with both encoders.

    Args:
        config: what the parts were built from.
        tokenizer, text_encoder, image_encoder: what reads texts and photos.
        concepts: names of the concepts that the image encoder looks for.
        answers: what it can say, in the order of its logits; none where it gives no answers.
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
        super().__init__()
        self.config = config
        self.answers = list(answers)
        self.concepts = tuple(concepts)
        self.tokenizer, self.text_encoder, self.image_encoder = tokenizer, text_encoder, image_encoder

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> Self:
        """Switch to training; what is frozen in the encoders keeps dropout and batch statistics off."""
        super().train(mode)
        for part in (self.text_encoder, self.image_encoder):
            keep_frozen_parts_in_evaluation(part, mode)
        return self

    def image_tokens(self, pixels: Tensor | None, image_tokens: Tensor | None) -> Tensor:
        """The image encoder's tokens [P, N, D_image] of photos that come as pixels [P, 3, S, S] or already encoded.

        Raises:
            ValueError: neither is given.
        """
        if image_tokens is not None:
            return image_tokens
        if pixels is None:
            raise ValueError("There is no photo: give pixels or image_tokens.")
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns(self.image_encoder)):
            return self.image_encoder(pixels)

    def pixels(self, photo: Image.Image) -> Tensor:
        """An RGB ``PIL.Image`` -> pixels [3, S, S] in 0..1."""
        return photo_to_pixels(photo, self.config.image_size)
