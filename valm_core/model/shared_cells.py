"""Many variants of one photo, each cell itself or the average token: what is made of a cell is made once."""

import torch
from torch import Tensor

from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedImage, EncodedText


class SharedCells:
    """One question about one photo, ready to be asked again with any cells hidden.

    Before cells read each other, a hidden cell is the same in all variants, and so is a cell that shows: projection,
    similarity to the words and what glimpses take are computed once for both and then chosen. About a third less work
    than ``model(image_tokens=...)`` of every variant, with the same logits up to rounding.

    Args:
        model: in evaluation mode.
        text: one encoded question, T tokens.
        image: one encoded photo, N tokens.
    """

    def __init__(self, model: ValmModel, text: EncodedText, image: EncodedImage):
        self.model, self.text, self.grid = model, text, image.grid
        average = model.mean_image_token.to(image.tokens)[None, None]
        tokens = torch.cat([image.tokens, average], dim=1)  # [1, N + 1, D_image]
        self.words, self.cells = model.project(text.tokens, tokens)  # [1, T, D], [1, N + 1, D]
        dtype = self.cells.dtype
        self.glimpsed = None if model.glimpses is None else model.glimpses.features(tokens)  # [1, N + 1, W]
        self.similarity = None  # [1, N + 1, T]
        if model.similarity is not None:
            self.similarity = model.similarity(text.tokens.to(dtype), tokens.to(dtype)).transpose(1, 2)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [F, N], True where a cell is the average token -> logits [F, A]."""

        def chosen(made: Tensor) -> Tensor:  # [1, N + 1, X] -> [F, N, X]
            return torch.where(hidden[..., None], made[:, -1:], made[:, :-1])

        count = len(hidden)
        words = self.words.expand(count, -1, -1)
        tokens, mask = self.text.tokens.expand(count, -1, -1), self.text.mask.expand(count, -1)
        similar = {} if self.similarity is None else {"similarity": chosen(self.similarity).transpose(1, 2)}
        explicit = self.glimpsed is not None and self.similarity is None
        features = self.model.fusion(words, mask, chosen(self.cells), self.grid, explicit, **similar)
        glimpsed = None if self.glimpsed is None else chosen(self.glimpsed)
        return self.model.score(features, tokens, mask, tokens[:, :0], glimpsed=glimpsed)
