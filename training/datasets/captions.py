"""Captions as training examples: batches of texts with their photos, encoded beforehand or not."""

from collections import Counter

import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.datasets.feature_cache import FeatureCache, ModelInputs
from training.datasets.questions import collate_photos
from training.datasets.readers.captioned import CaptionedPhoto
from valm_core.model.retrieval import RetrievalModel

CONTENT_WORDS = 1000  # that the visual term asks for


class CaptionDataset(Dataset):
    """Captions ready for a model; ``collate`` turns a list of them into arguments of ``RetrievalObjective.forward``.

    Args:
        photos: with their captions; every caption is a row.
        model: gives tokenizer and photo size; none of its weights are kept.
        features: image tokens computed beforehand; without them photos are opened and encoded in every batch.
    """

    def __init__(self, photos: list[CaptionedPhoto], model: RetrievalModel, features: FeatureCache | None = None):
        self.inputs, self.features = ModelInputs.of(model), features
        self.photos = [photo.image for photo in photos]
        self.rows = [(place, text) for place, photo in enumerate(photos) for text in photo.captions]
        self.lengths = [len(text.split()) for _, text in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        return index  # everything happens in collate, for the whole batch at once

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """Indices -> token_ids and text_mask [B, T], photo_ids [B], and the photos."""
        places, texts = zip(*(self.rows[index] for index in indices), strict=True)
        token_ids, mask = self.inputs.tokenizer(list(texts), truncate=True)
        photos = collate_photos([self.photos[place] for place in places], self.inputs, self.features)
        return {"token_ids": token_ids, "text_mask": mask, "photo_ids": torch.tensor(places), **photos}


def content_words(dataset: CaptionDataset, size: int = CONTENT_WORDS) -> Tensor:
    """The token ids [up to ``size``] that most captions have, but for those that more than half of them have.

    What most captions have ("a") says nothing of a photo.
    """
    tokenizer = dataset.inputs.tokenizer
    counts: Counter[int] = Counter()
    for _, text in dataset.rows:
        counts.update(set(tokenizer.tokenizer(text, add_special_tokens=False).input_ids))
    common = [token for token, count in counts.most_common() if count <= len(dataset) / 2]
    return torch.tensor(common[:size], dtype=torch.long)
