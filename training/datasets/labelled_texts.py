"""Labelled texts as training examples: tokens, marked parts, labels and photos, encoded beforehand or not."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.datasets.feature_cache import FeatureCache, ModelInputs
from training.datasets.questions import collate_photos
from training.datasets.readers.jsonl import DataError
from training.datasets.readers.labelled import LabelledText
from valm_core.inputs.marked_text import marked_text, span_masks
from valm_core.model.tasks.classifier import SPANS, Classifier


class LabelledTexts(Dataset):
    """Rows ready for a model; ``collate`` turns a list of them into arguments of ``LabelObjective.forward``.

    Args:
        rows: what to read.
        model: gives tokenizer, labels and photo size; none of its weights are kept.
        features: encoder outputs computed beforehand; what they lack is encoded in every batch.
        photos: whether photos are seen.

    Raises:
        DataError: a row has a label that the model lacks.
    """

    def __init__(
        self, rows: list[LabelledText], model: Classifier, features: FeatureCache | None = None, photos: bool = True
    ):
        self.rows, self.features, self.photos = rows, features, photos and model.sees_photos
        self.inputs = ModelInputs.of(model)
        place = {label: number for number, label in enumerate(model.answers)}
        if unknown := {row.label for row in rows} - place.keys():
            raise DataError(f"The label {min(unknown)!r} is unknown to the model; it knows {', '.join(model.answers)}.")
        self.labels = torch.tensor([place[row.label] for row in rows])
        self.texts = texts_of(rows)
        ids, mask = self.inputs.tokenizer(self.texts, truncate=True)
        self.lengths = mask.sum(dim=1).tolist()
        self.ids = [row[:length] for row, length in zip(ids, self.lengths, strict=True)]
        self.encoded = (
            "lower_tokens" if model.config.learned_text_layers else "text_tokens"
        )  # what a cache of texts has
        self.has_spans = model.has_spans
        self.spans: list[np.ndarray] = []
        if self.has_spans:
            self.spans = [
                span_masks(self.inputs.tokenizer, row.words, row.spans, length)
                for row, length in zip(rows, self.lengths, strict=True)
            ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        return index  # everything happens in collate, for the whole batch at once

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """Indices -> labels [B], text_mask [B, T], token_ids [B, T] or text_tokens, spans [B, 2, T], and the photos."""
        lengths = torch.tensor([self.lengths[index] for index in indices])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        batch = {"labels": self.labels[indices], "text_mask": mask}
        if self.features and self.features.has_text:
            batch[self.encoded] = self.features.text_tokens([self.texts[index] for index in indices])[0]
        else:
            batch["token_ids"] = torch.nn.utils.rnn.pad_sequence(
                [self.ids[index] for index in indices],
                batch_first=True,
                padding_value=self.inputs.tokenizer.tokenizer.pad_token_id,
            )
        if self.has_spans:
            spans = torch.zeros(len(indices), SPANS, mask.shape[1], dtype=torch.bool)
            for place, index in enumerate(indices):
                spans[place, :, : self.lengths[index]] = torch.from_numpy(self.spans[index])
            batch["spans"] = spans
        return batch | self._photos(indices)

    def _photos(self, indices: list[int]) -> dict[str, Tensor]:
        """The photos of a batch, ``photo_index`` being -1 where a row has none; {} where none has one."""
        photos = [self.rows[index].image for index in indices] if self.photos else []
        known = [photo for photo in photos if photo is not None]
        if not known:
            return {}
        batch = collate_photos(known, self.inputs, self.features)
        own = iter(batch["photo_index"].tolist())
        return batch | {"photo_index": torch.tensor([-1 if photo is None else next(own) for photo in photos])}


def texts_of(rows: list[LabelledText]) -> list[str]:
    """The texts that the encoder reads, marked parts in their markers."""
    return [marked_text(row.words, row.spans)[0] for row in rows]
