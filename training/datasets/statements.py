"""Statements for pretraining: each question with its answer, or a caption, as one text about a photo."""

import dataclasses
from collections import Counter

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from training.datasets.feature_cache import FeatureCache, ModelInputs
from training.datasets.questions import collate_photos, number_photos
from training.datasets.readers.jsonl import Row
from valm_core.learning.pretraining import PretrainingObjective
from valm_core.model.model import ValmModel

EVALUATION_BATCH = 256  # statements, among whose photos each must find its own


class StatementDataset(Dataset):
    """Rows as statements; ``collate`` turns a list of them into the arguments of ``PretrainingObjective.forward``.

    A row with answers reads "question answer" (of several the first answer), a caption stands for itself. Texts are
    tokens here and not features: words get hidden before the text encoder sees them.

    Args:
        rows: questions with answers and photos, or captions (rows without answers).
        model: gives tokenizer and photo size (``ModelInputs``); none of its weights are kept.
        features: image tokens computed beforehand; without them photos are opened and encoded in every batch.
    """

    def __init__(self, rows: list[Row], model: ValmModel | ModelInputs, features: FeatureCache | None = None):
        self.inputs, self.features = ModelInputs.of(model), features
        self.photos = [row.photo for row in rows]
        self.photo_ids = number_photos(self.photos)
        self.statements = [self._tokens(row) for row in rows]
        self.lengths = [len(ids) for ids, _ in self.statements]

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> int:
        return index  # everything happens in collate, for the whole batch at once

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """Indices -> token_ids, text_mask and answer_mask [B, T], photo_ids [B], and the photos."""
        ids, answers = zip(*(self.statements[index] for index in indices), strict=True)
        pad = self.inputs.tokenizer.tokenizer.pad_token_id
        token_ids = pad_sequence([torch.tensor(part) for part in ids], True, pad)  # [B, T]
        lengths = torch.tensor([len(part) for part in ids])
        return {
            "token_ids": token_ids,
            "text_mask": torch.arange(token_ids.shape[1]) < lengths[:, None],
            "answer_mask": pad_sequence([torch.tensor(part) for part in answers], True, False),
            "photo_ids": torch.tensor([self.photo_ids[index] for index in indices]),
            **collate_photos([self.photos[index] for index in indices], self.inputs, self.features),
        }

    def _tokens(self, row: Row) -> tuple[list[int], list[bool]]:
        """Token ids of the statement, and which belong to the answer; of a long one the question is cut first."""
        tokenizer = self.inputs.tokenizer.tokenizer
        start, *question, end = tokenizer(row.question).input_ids
        answer = tokenizer(row.answers[0], add_special_tokens=False).input_ids if row.answers else []
        room = self.inputs.tokenizer.max_tokens - 2
        answer = answer[: room // 2]
        question = question[: room - len(answer)]
        ids = [start, *question, *answer, end]
        in_answer = [False] * (1 + len(question)) + [True] * len(answer) + [False]
        return ids, in_answer


@torch.no_grad()
def evaluate_pretraining(objective: PretrainingObjective, dataset: StatementDataset) -> dict:
    """Mean terms of the objective over the statements, as plain numbers, with the same words hidden every time.

    Returns:
        Every field of ``PretrainingTerms``, and ``accuracy``, that of the hidden tokens, for choosing the best epoch.
    """
    objective.eval()
    device = objective.model.device
    # Shuffled, so that a batch holds many photos to tell apart.
    batches = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0)).split(EVALUATION_BATCH)
    sums: Counter = Counter()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # manual_seed seeds it too
        torch.manual_seed(0)
        for chosen in batches:
            batch = dataset.collate(chosen.tolist())
            terms = objective(**{name: value.to(device) for name, value in batch.items()})
            for name, value in dataclasses.asdict(terms).items():
                sums[name] += value.item() * len(chosen)
    means = {f"validation_{name}": value / len(dataset) for name, value in sums.items()}
    return {"accuracy": means["validation_masked_accuracy"]} | means
