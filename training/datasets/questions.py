"""Rows as training examples: the answer list, the targets, and batches with or without cached features."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.datasets.answer_classes import answer_identity
from training.datasets.crops import cropped, draw_crops
from training.datasets.feature_cache import FeatureCache, ModelInputs, read_pixels
from training.datasets.readers.jsonl import Row
from valm_core.inputs.text import lower_text
from valm_core.model.model import ValmModel


def build_answer_list(rows: list[Row], size: int) -> list[str]:
    """The ``size`` most common answers. Those of one identity (``answer_identity``) count as one, in its commonest
    spelling, cleaned and in lower case."""
    spellings: dict[str, Counter] = {}
    for row in rows:
        for answer in row.answers:
            spellings.setdefault(answer_identity(answer), Counter())[lower_text(answer)] += 1
    spellings.pop("", None)
    ranked = sorted(spellings.values(), key=lambda counts: -counts.total())
    return [counts.most_common(1)[0][0] for counts in ranked[:size]]


def answer_index(answers: Sequence[str]) -> dict[str, int]:
    """Identity of every answer, see ``answer_identity`` -> its place in the list."""
    return {answer_identity(answer): index for index, answer in enumerate(answers)}


class QuestionDataset(Dataset):
    """Rows ready for a model; ``collate`` turns a list of them into the arguments of ``ValmModel.forward``.

    Args:
        rows: the questions.
        model: gives tokenizer, photo size and answer list (``ModelInputs``); none of its weights are kept.
        features: encoder outputs computed beforehand; without them photos are opened and encoders run in every batch.
        blind: leave the photos out, so that the model sees the question alone.
        soft_targets: score every answer by how many people gave it, see ``soft_score``, instead of sharing out 1.
        balanced: the ``source`` of rows that are balanced, see ``heads.QuestionHead``; for training alone.
    """

    def __init__(
        self,
        rows: list[Row],
        model: ValmModel | ModelInputs,
        features: FeatureCache | None = None,
        blind: bool = False,
        soft_targets: bool = False,
        balanced: str = "",
    ):
        self.rows, self.inputs, self.features, self.blind = rows, ModelInputs.of(model), features, blind
        self.soft_targets, self.balanced = soft_targets, balanced
        index = answer_index(self.inputs.answers)
        self.photo_ids = number_photos([row.image for row in rows])
        self.targets = [[index[key] for key in map(answer_identity, row.answers) if key in index] for row in rows]
        if features and features.has_text:
            self.lengths = features.question_lengths([row.question for row in rows])
        else:
            self.lengths = [len(row.question.split()) for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        return index  # everything happens in collate, for the whole batch at once

    def answerable(self) -> "QuestionDataset":
        """Only the rows with an answer in the list: what a classifier can learn from."""
        rows = [row for row, targets in zip(self.rows, self.targets, strict=True) if targets]
        return QuestionDataset(rows, self.inputs, self.features, self.blind, self.soft_targets, self.balanced)

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """Indices -> arguments of ``AnswerObjective.forward``.

        ``targets`` [B, A] (rows summing to 1, or 0 without a known answer; or soft scores in 0..1), ``photo_ids`` [B]
        where there are photos, ``regions`` [B, 4] where a row has one; the rest are those of ``ValmModel.forward``.
        """
        rows = [self.rows[index] for index in indices]
        batch = self._collate_questions([row.question for row in rows])
        if not self.blind:
            batch |= collate_photos([row.photo for row in rows], self.inputs, self.features)
            batch["photo_ids"] = torch.tensor([self.photo_ids[index] for index in indices])
        if self.balanced:
            batch["balanced"] = torch.tensor([row.source == self.balanced for row in rows])
        if any(row.region for row in rows):
            batch["regions"] = torch.tensor([row.region or (float("nan"),) * 4 for row in rows])
        targets = torch.zeros(len(rows), len(self.inputs.answers))
        for place, index in enumerate(indices):
            for answer, people in Counter(self.targets[index]).items():
                share = people / len(self.targets[index])
                targets[place, answer] = soft_score(people) if self.soft_targets else share
        return batch | {"targets": targets}

    def _collate_questions(self, questions: list[str]) -> dict[str, Tensor]:
        if self.features and self.features.has_text:
            tokens, mask = self.features.text_tokens(questions)
            return {"text_tokens": tokens, "text_mask": mask}
        ids, mask = self.inputs.tokenizer(questions, truncate=True)
        return {"token_ids": ids, "text_mask": mask}


def soft_score(people: int) -> float:
    """How right an answer is that so many of ten people gave: 0.3 for each, at most 1, in 0..1.

    The scores of Teney et al. 2018, https://arxiv.org/abs/1708.02711. Meant for data with ten answers a question;
    where one person answered, no score exceeds 0.3.
    """
    return min(1.0, 0.3 * people)


def collate_photos(
    photos: list[Path], model: ValmModel | ModelInputs, features: FeatureCache | None, crops_seed: int | None = None
) -> dict[str, Tensor]:
    """Each photo of a batch once: ``photo_index`` [B], and ``image_tokens`` [P, N, D] or ``pixels`` [P, 3, S, S].

    With ``crops_seed`` the pixels are those of random crops that it decides.
    """
    position = {photo: place for place, photo in enumerate(dict.fromkeys(photos))}  # in order
    index = {"photo_index": torch.tensor([position[photo] for photo in photos])}
    if features and features.has_images:
        return index | {"image_tokens": features.image_tokens(list(position))}
    pixels = torch.stack([read_pixels(model, photo) for photo in position])
    if crops_seed is not None:
        generator = torch.Generator().manual_seed(crops_seed)
        pixels = cropped(pixels, draw_crops(len(pixels), generator), pixels.shape[-1], generator)
    return index | {"pixels": pixels}


def number_photos(photos: Sequence[Path | None]) -> list[int]:
    """A number for every photo, the same where the photo is the same."""
    numbers: dict[Path | None, int] = {}
    return [numbers.setdefault(photo, len(numbers)) for photo in photos]
