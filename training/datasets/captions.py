"""Captions as training examples, to find photos by or to write: texts with their photos, encoded beforehand or not."""

import zlib
from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.datasets.feature_cache import FeatureCache, ModelInputs
from training.datasets.questions import collate_photos, number_photos
from training.datasets.readers.captioned import CaptionedPhoto
from valm_core.captions.written import caption_pieces, caption_places
from valm_core.inputs.question import QuestionTokenizer
from valm_core.learning.captioning import NO_TARGET
from valm_core.model.tasks.beam_search import BEGIN, END, UNKNOWN
from valm_core.model.tasks.captioner import CaptionModel
from valm_core.model.tasks.retrieval import RetrievalModel

CONTENT_WORDS = 1000  # that the visual term asks for
MIN_USES = 5  # of a word piece, for captions to be made of it


class CaptionDataset(Dataset):
    """Captions ready for a model; ``collate`` turns a list of them into arguments of ``RetrievalObjective.forward``.

    Args:
        photos: with their captions; every caption is a row.
        model: gives tokenizer and photo size; none of its weights are kept.
        features: image tokens computed beforehand; without them photos are opened and encoded in every batch.
        crops: show photos as random crops, drawn anew for every batch.
    """

    def __init__(
        self,
        photos: list[CaptionedPhoto],
        model: RetrievalModel,
        features: FeatureCache | None = None,
        crops: bool = False,
    ):
        self.inputs, self.features, self.crops = ModelInputs.of(model), features, crops
        self.photos = [photo.image for photo in photos]
        self.rows = [(place, text) for place, photo in enumerate(photos) for text in photo.captions]
        self.lengths = [len(text.split()) for _, text in self.rows]
        self.photo_ids = [place for place, _ in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        return index  # everything happens in collate, for the whole batch at once

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """Indices -> token_ids and text_mask [B, T], photo_ids [B], and the photos.

        Where texts were encoded beforehand, ``lower_tokens`` too.
        """
        places, texts = zip(*(self.rows[index] for index in indices), strict=True)
        token_ids, mask = self.inputs.tokenizer(list(texts), truncate=True)
        batch = {"token_ids": token_ids, "text_mask": mask, "photo_ids": torch.tensor(places)}
        if self.features and self.features.has_text:
            batch["lower_tokens"] = self.features.text_tokens(list(texts))[0]
        chosen = [self.photos[place] for place in places]
        return batch | collate_photos(chosen, self.inputs, self.features, batch_seed(indices) if self.crops else None)


def batch_seed(indices: list[int]) -> int:
    """What decides all that is drawn for a batch: its rows, of which another epoch makes others, so that a resumed run
    sees the same."""
    return zlib.crc32(np.array(indices, dtype=np.int64).tobytes())


def content_tokens(dataset: CaptionDataset) -> Tensor:
    """The token ids [up to ``CONTENT_WORDS``] that most captions have, but for those that more than half of them have.

    What most captions have ("a") says nothing of a photo.
    """
    tokenizer = dataset.inputs.tokenizer
    counts: Counter[int] = Counter()
    for _, text in dataset.rows:
        counts.update(set(tokenizer.tokenizer(text, add_special_tokens=False).input_ids))
    common = [token for token, count in counts.most_common() if count <= len(dataset) / 2]
    return torch.tensor(common[:CONTENT_WORDS], dtype=torch.long)


class WrittenCaptions(Dataset):
    """Captions to learn to write; ``collate`` turns a list of them into arguments of ``CaptionObjective.forward``.

    Args:
        photos: with their captions; every caption is a row, cut where it is longer than the model's.
        model: gives tokenizer, vocabulary and photo size; none of its weights are kept.
        features: image tokens computed beforehand; without them photos are opened and encoded in every batch.
        crops: show photos as random crops, drawn anew for every batch.
    """

    def __init__(
        self,
        photos: list[CaptionedPhoto],
        model: CaptionModel,
        features: FeatureCache | None = None,
        crops: bool = False,
    ):
        self.inputs, self.features, self.crops = ModelInputs.of(model), features, crops
        self.photos = [photo.image for photo in photos for _ in photo.captions]
        pieces = caption_pieces(model.tokenizer, [text for photo in photos for text in photo.captions])
        self.rows = caption_places(pieces, model.vocabulary.tolist(), model.tokenizer.max_tokens)
        self.lengths = [len(row) for row in self.rows]
        self.photo_ids = number_photos(self.photos)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        return index  # everything happens in collate, for the whole batch at once

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """Indices -> the photos, and for each a row with its captions one behind the other, see ``forward`` there."""
        chosen = [self.photos[index] for index in indices]
        photos = collate_photos(chosen, self.inputs, self.features, batch_seed(indices) if self.crops else None)
        captions_of: list[list[list[int]]] = [[] for _ in range(int(photos["photo_index"].max()) + 1)]
        for index, photo in zip(indices, photos.pop("photo_index").tolist(), strict=True):
            captions_of[photo].append(self.rows[index])
        shape = len(captions_of), max(sum(len(row) - 1 for row in own) for own in captions_of)
        places, captions, positions = np.full(shape, END), np.full(shape, -1), np.zeros(shape, dtype=np.int64)
        targets = np.full(shape, NO_TARGET)
        for photo, own in enumerate(captions_of):
            first = 0
            for number, row in enumerate(own):
                part = slice(first, first + len(row) - 1)
                places[photo, part], targets[photo, part] = row[:-1], row[1:]
                captions[photo, part], positions[photo, part] = number, np.arange(len(row) - 1)
                first = part.stop
        targets[targets == UNKNOWN] = NO_TARGET
        pieces = {"places": places, "targets": targets, "captions": captions, "positions": positions}
        return {name: torch.from_numpy(values) for name, values in pieces.items()} | photos


def caption_vocabulary(tokenizer: QuestionTokenizer, texts: Iterable[str]) -> Tensor:
    """Token ids [V] that captions are made of, in the order of a ``CaptionModel``'s logits: its three special places,
    then what occurs at least ``MIN_USES`` times in ``texts``, the commonest first.

    Raises:
        ValueError: nothing does.
    """
    counts = Counter(token for tokens in caption_pieces(tokenizer, list(texts)) for token in tokens)
    unknown = tokenizer.tokenizer.unk_token_id
    common = [token for token, count in counts.most_common() if count >= MIN_USES and token != unknown]
    if not common:
        raise ValueError(f"No word occurs {MIN_USES} times in the captions. Give more captions.")
    special = {BEGIN: tokenizer.tokenizer.cls_token_id, END: tokenizer.tokenizer.sep_token_id, UNKNOWN: unknown}
    return torch.tensor([special[place] for place in sorted(special)] + common)
