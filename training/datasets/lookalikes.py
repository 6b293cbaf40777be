"""Blocks of photos that resemble each other, a caption each: what a model learns from to match words and photos."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.datasets.captions import batch_seed
from training.datasets.feature_cache import FeatureCache, ModelInputs
from training.datasets.questions import collate_photos
from training.datasets.readers.captioned import CaptionedPhoto
from valm_core.model.tasks.classifier import Classifier

NEIGHBOURS = 20  # of a photo, among which those of its block are drawn


class Lookalikes(Dataset):
    """A row a photo; ``collate`` puts each into a block with some of its neighbours, drawn anew in every epoch.

    Args:
        photos: with their captions, of which one is drawn.
        neighbours: [P, at most ``NEIGHBOURS``], of each photo the places of those that resemble it.
        block: photos in a block, two at least.
        model: gives the tokenizer; none of its weights are kept.
        features: tokens of photos and captions computed beforehand; what they lack is encoded in every batch.

    Raises:
        ValueError: a block needs more neighbours than there are.
    """

    def __init__(
        self,
        photos: list[CaptionedPhoto],
        neighbours: np.ndarray,
        block: int,
        model: Classifier,
        features: FeatureCache | None = None,
    ):
        if not 2 <= block <= neighbours.shape[1] + 1:
            raise ValueError(
                f"A block of {block} photos can't be made: 2 at least, and {neighbours.shape[1] + 1} at most of "
                f"{len(photos)} photos."
            )
        self.photos, self.neighbours, self.block, self.features = photos, neighbours, block, features
        self.inputs = ModelInputs.of(model)
        self.lengths = [1] * len(photos)  # any two rows may share a batch

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> int:
        return index  # everything happens in collate, for the whole batch at once

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """Indices of B photos -> B blocks of K, one behind the other: text_mask [B K, T] and the captions' tokens or
        ids, the photos, and ``photo_index`` [B K]."""
        generator = np.random.default_rng(batch_seed(indices))
        chosen: list[CaptionedPhoto] = []
        for index in indices:
            others = generator.choice(self.neighbours[index], self.block - 1, replace=False)
            chosen += [self.photos[place] for place in (index, *others)]
        texts = [str(generator.choice(photo.captions)) for photo in chosen]
        files: list[Path] = [photo.image for photo in chosen]
        return caption_inputs(texts, self.inputs, self.features) | collate_photos(files, self.inputs, self.features)


def caption_inputs(texts: list[str], inputs: ModelInputs, features: FeatureCache | None) -> dict[str, Tensor]:
    """Captions as arguments of ``match_scores``: text_mask [R, T], and text_tokens [R, T, D_text] or token_ids."""
    if features and features.has_text:
        tokens, mask = features.text_tokens(texts)
        return {"text_mask": mask, "text_tokens": tokens}
    ids, mask = inputs.tokenizer(texts, truncate=True)
    return {"text_mask": mask, "token_ids": ids}


def nearest_photos(texts: Tensor, own: list[int], photos: Tensor) -> np.ndarray:
    """Of each of P photos the places of those that its captions fit best beside it: [P, at most ``NEIGHBOURS``].

    Args:
        texts, photos: vectors [T, D] and [P, D] of length 1.
        own: [T], the photo of each text.
    """
    mean = torch.zeros_like(photos).index_add_(0, torch.tensor(own), texts)  # [P, D], the sum: its length is no matter
    fit = (mean @ photos.T).fill_diagonal_(float("-inf"))
    return fit.topk(min(NEIGHBOURS, len(photos) - 1), dim=1).indices.numpy()
