"""Labelled sentences in batches: windows of sentences in a row, cut anew in every epoch."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.datasets.feature_cache import FeatureCache, ModelInputs
from training.datasets.questions import collate_photos
from training.datasets.readers.tagged import TaggedSentence
from valm_core.inputs.word_windows import SENTENCES_A_WINDOW, WordPieces, sentence_pieces, window_tensors
from valm_core.model.tasks.tagger import TagModel

STRANGERS = 0.15  # the share of windows whose sentences don't belong together, for rows that come in any order
POOL = 20  # batches among which windows of like length are put together


class TaggedWindows:
    """Sentences as batches for ``learning.trainer.Trainer``; items are the arguments of ``TagObjective.forward``.

    Sentences in a row (one to ``SENTENCES_A_WINDOW``) share a window, so that the model learns to read a sentence with
    its document as well as alone. Where the model sees photos each stands alone, with its own.

    Args:
        sentences: in the order of their documents.
        model: gives tokenizer, labels and sizes; none of its weights are kept.
        batch_size: sentences in a batch.
        seed: of cuts and order.
        features: photos encoded beforehand.
    """

    def __init__(
        self,
        sentences: Sequence[TaggedSentence],
        model: TagModel,
        batch_size: int,
        seed: int,
        features: FeatureCache | None = None,
    ):
        self.model, self.features, self.seed = model, features, seed
        self.parts, self.labels, sentence_of = labelled_parts(sentences, model)
        self.photos = [sentences[number].image for number in sentence_of]
        self.rows, self.batches = len(self.parts), -(-len(self.parts) // batch_size)

    def __len__(self) -> int:
        return self.batches

    def epoch(self, epoch: int, first: int, rank: int, processes: int) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
        """From batch ``first`` on: sentences in the whole batch, those of this process, and its share of the batch."""
        generator = np.random.default_rng([self.seed, epoch])
        windows = self._windows(generator)
        lengths = np.array([sum(len(self.parts[place].pieces) for place in window) for window in windows])
        order = generator.permutation(len(windows))
        pool = max(1, POOL * len(windows) // self.batches)
        order = np.concatenate(
            [part[lengths[part].argsort(kind="stable")] for part in np.split(order, range(pool, len(order), pool))]
        )
        starts = np.cumsum([0, *(len(windows[place]) for place in order[:-1])])
        batch_of = starts * self.batches // self.rows  # each has a window: none is longer than a batch
        for batch in generator.permutation(self.batches)[first:]:
            chosen = [windows[place] for place in order[batch_of == batch]]
            own = chosen[rank::processes] or chosen[:1]
            rows = sum(map(len, chosen))
            yield rows, sum(map(len, chosen[rank::processes])), self.collate(own)

    def _windows(self, generator: np.random.Generator) -> list[list[int]]:
        """Every sentence once: the numbers of those that share a window."""
        longest = 1 if self.model.sees_photos else max(1, min(SENTENCES_A_WINDOW, self.rows // self.batches))
        most = self.model.config.max_question_tokens
        windows: list[list[int]] = []
        place = 0
        while place < self.rows:
            wanted, filled = int(generator.integers(1, longest, endpoint=True)), 1
            window: list[int] = []
            while place < self.rows and len(window) < wanted:
                filled += len(self.parts[place].pieces) + 1
                if window and filled > most:
                    break
                window.append(place)
                place += 1
            windows.append(window)
        mixed = [number for number in range(len(windows)) if generator.random() < STRANGERS]
        places = generator.permutation([place for number in mixed for place in windows[number]]).tolist()
        for number in mixed:
            count = len(windows[number])
            windows[number], places = places[:count], places[count:]
            if sum(len(self.parts[place].pieces) + 1 for place in windows[number]) >= most:  # too long together
                windows += [[place] for place in windows[number][1:]]
                windows[number] = windows[number][:1]
        return windows

    def collate(self, windows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Windows of sentence numbers -> the model's arguments, and ``labels`` [S, W]."""
        tensors = window_tensors([[self.parts[place] for place in window] for window in windows], self.model.tokenizer)
        numbers = [self.labels[place] for window in windows for place in window]
        labels = np.zeros(tensors["word_mask"].shape, dtype=np.int64)
        for row, own in enumerate(numbers):
            labels[row, : len(own)] = own
        tensors["labels"] = torch.from_numpy(labels)
        if self.model.sees_photos:
            photos = [self.photos[window[0]] for window in windows]
            tensors |= photo_tensors(photos, self.model, self.features)
        return tensors


def photo_tensors(photos: Sequence[Path | None], model: TagModel, features: FeatureCache | None) -> dict[str, Tensor]:
    """The photos of B windows as the arguments of ``FusedEncoders.encode``; {} where none has one."""
    there = [photo for photo in photos if photo is not None]
    if not there:
        return {}
    inputs = collate_photos(there, ModelInputs.of(model), features)
    numbers = iter(inputs["photo_index"].tolist())
    inputs["photo_index"] = torch.tensor([-1 if photo is None else next(numbers) for photo in photos])
    return inputs


def labelled_parts(
    sentences: Sequence[TaggedSentence], model: TagModel
) -> tuple[list[WordPieces], list[np.ndarray], list[int]]:
    """Sentences in pieces, the numbers of their labels, and the sentence of each part; long sentences are cut.

    Raises:
        ValueError: a label isn't among the model's.
    """
    numbers = {label: number for number, label in enumerate(model.answers)}
    parts, labels, sentence_of = [], [], []
    for place, sentence in enumerate(sentences):
        for label in sentence.labels:
            if label not in numbers:
                raise ValueError(f"The label {label!r} isn't among the model's: {', '.join(model.answers)}.")
        first = 0
        for part in sentence_pieces(model.tokenizer, sentence.tokens, model.config.max_question_tokens):
            parts.append(part)
            own = sentence.labels[first : first + part.count]
            if own[0].startswith("I-"):  # the span was cut
                own = (f"B-{own[0][2:]}", *own[1:])
            labels.append(np.array([numbers[label] for label in own]))
            sentence_of.append(place)
            first += part.count
    return parts, labels, sentence_of
