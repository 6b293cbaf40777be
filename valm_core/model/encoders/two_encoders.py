"""TwoEncoders: what models for other tasks than answering share: a text and an image encoder, and photos for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

from valm_core.inputs.photo import photo_to_pixels
from valm_core.inputs.question import QuestionTokenizer
from valm_core.model.encoders.frozen_parts import keep_frozen_parts_in_evaluation, learns
from valm_core.model.encoders.image_encoder import ImageEncoder
from valm_core.model.encoders.text_encoder import TextEncoder

if TYPE_CHECKING:
    from typing_extensions import Self

    from valm_core.config import ValmConfig


@dataclass(frozen=True, eq=False)
class Encoders:
    """What reads texts and photos.

    ``image_size`` S is the side of the square that photos are fitted to, ``photo_detail`` that of the square that they
    are reduced to before (0 for none); ``concepts`` are the names of those that the
    image encoder looks for.
    """

    tokenizer: QuestionTokenizer
    text_encoder: TextEncoder
    image_encoder: ImageEncoder
    image_size: int
    photo_detail: int = 0
    concepts: tuple[str, ...] = ()


class TwoEncoders(nn.Module):
    """A module with both encoders.

    Args:
        encoders: what reads texts and photos.
        answers: what it can say, in the order of its logits; none where it gives no answers.
        cell_side: rows and columns of cells that it reads at most; 0 for all.

    ``config`` notes what the whole was built from, for those who keep it; the model never reads it.
    """

    config: ValmConfig

    def __init__(self, encoders: Encoders, answers: Sequence[str] = (), cell_side: int = 0):
        super().__init__()
        self.answers, self.cell_side = list(answers), cell_side
        self.concepts = encoders.concepts
        self.tokenizer = encoders.tokenizer
        self.image_size, self.photo_detail = encoders.image_size, encoders.photo_detail
        self.text_encoder, self.image_encoder = encoders.text_encoder, encoders.image_encoder

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

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the cells that it reads: the image encoder's, at most ``cell_side`` of each."""
        rows, columns = self.image_encoder.grid
        most = self.cell_side or max(rows, columns)
        return min(rows, most), min(columns, most)

    def cells(self, pixels: Tensor | None = None, image_tokens: Tensor | None = None) -> Tensor:
        """Photos as pixels [P, 3, S, S] or the image encoder's tokens -> the cells [P, N, D_image] of ``grid``.

        Neighbouring tokens are averaged; what has as many as the grid already stays.
        """
        tokens, whole = self.image_tokens(pixels, image_tokens), self.image_encoder.grid
        if self.grid == whole or tokens.shape[1] != whole[0] * whole[1]:
            return tokens
        return pool_cells(tokens, whole, self.grid)

    def pixels(self, photo: Image.Image) -> Tensor:
        """An RGB ``PIL.Image`` -> pixels [3, S, S] in 0..1."""
        return photo_to_pixels(photo, self.image_size, self.photo_detail)


def pool_cells(tokens: Tensor, whole: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Tokens [P, N, D] of a grid ``whole`` (rows, columns), averaged to those of a smaller ``grid``, in float32."""
    squares = tokens.float().transpose(1, 2).unflatten(2, whole)  # [P, D, rows, columns]
    return nn.functional.adaptive_avg_pool2d(squares, grid).flatten(2).transpose(1, 2)
