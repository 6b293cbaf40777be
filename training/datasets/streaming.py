"""Questions out of shards that don't fit a disk: WebDataset tars and Parquet files, read while training."""

import glob
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from training.datasets.answer_classes import answer_identity
from training.datasets.feature_cache import read_pixels
from training.datasets.questions import QuestionDataset, answer_index
from training.datasets.readers.jsonl import DataError, Row, needed_text
from training.datasets.readers.shards import SHARD_SUFFIXES, ShardRow, read_shard
from valm_core.model.model import ValmModel

STREAM = "stream:"
SHUFFLE_BUFFER = 1000  # rows that are held to draw from
MEAN_PHOTOS = 256  # the average image token is taken over so many


class StreamingBatches:
    """Batches out of shards, in the place of ``BucketedBatches``; no more than a shuffle buffer is ever in memory.

    Shards are as ``readers.shards.read_shard`` takes them; a row has `question` and `answer` or `answers`. Rows without
    an answer in the model's list are passed over. Every process reads shards, or rows, that no other one does. When the
    shards end before the epoch does, they begin again in a new order.

    Args:
        source: ``stream:`` and a pattern of files that end in ``.tar`` or ``.parquet``.
        model: gives tokenizer, photo size and answer list.
        rows: how many rows make an epoch, over all processes.
        batch_size: rows in a batch, over all processes.
        seed: of the order.
        soft_targets: see ``QuestionDataset``.

    Raises:
        DataError: no file fits the pattern, or they are of another kind.
        ValueError: ``rows`` is missing.
    """

    def __init__(
        self, source: str, model: ValmModel, rows: int, batch_size: int, seed: int, soft_targets: bool = False
    ):
        if rows < 1:
            raise ValueError(
                f"rows is {rows}; a stream has no length, so say how many rows make an epoch, e.g. rows=100000."
            )
        self.source = source
        self.files = sorted(glob.glob(source.removeprefix(STREAM)))
        kinds = {Path(file).suffix for file in self.files}
        if not kinds or not kinds <= set(SHARD_SUFFIXES):
            found = ", ".join(sorted(kinds)) or "nothing"
            raise DataError(f"{source} matches {found}; a pattern of {' or '.join(SHARD_SUFFIXES)} files is needed.")
        self.model, self.rows, self.seed, self.soft_targets = model, rows, seed, soft_targets
        self.batch_size = batch_size
        self.known_answers = answer_index(model.answers).keys()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(self.rows / self.batch_size)

    def epoch(self, epoch: int, first: int, rank: int, processes: int) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
        """From batch ``first`` on: rows in the whole batch, rows of this process, and its share of the batch."""
        own = max(1, self.batch_size // processes)
        stream = self.read(epoch, rank, processes)
        for _ in range(first * own):
            next(stream)
        for _ in range(first, len(self)):
            yield own * processes, own, self.collate([next(stream) for _ in range(own)])

    def read(self, epoch: int, rank: int = 0, processes: int = 1) -> Iterator[Row]:
        """Rows without end, in an order that seed and epoch decide.

        Raises:
            DataError: a row is faulty, or none has an answer in the list.
        """
        data = self._open(rank, processes)
        turn = 0
        while True:
            data.set_epoch(epoch * 1000 + turn)  # another order each time the shards begin again
            known = 0
            for record in data:
                row = _question(record["row"])
                if any(answer_identity(answer) in self.known_answers for answer in row.answers):
                    known += 1
                    yield row
            if not known:
                raise DataError(f"No row of {', '.join(self.files[:3])} has an answer that the model knows.")
            turn += 1

    def _open(self, rank: int, processes: int) -> Any:
        try:
            import datasets  # imported here: the extra [stream]
            from datasets.distributed import split_dataset_by_node
        except ImportError as error:
            raise DataError(f"{self.source} needs the package datasets. Run: pip install -e '.[stream]'") from error

        data = datasets.IterableDataset.from_generator(_rows_of, gen_kwargs={"files": self.files})
        data = data.shuffle(seed=self.seed, buffer_size=SHUFFLE_BUFFER)
        return split_dataset_by_node(data, rank=rank, world_size=processes)

    def collate(self, rows: list[Row]) -> dict[str, Tensor]:
        """Rows -> arguments of ``AnswerObjective.forward``, as ``QuestionDataset.collate`` gives them."""
        batch = QuestionDataset(rows, self.model, soft_targets=self.soft_targets).collate(list(range(len(rows))))
        batch["photo_ids"] = torch.tensor(
            [_photo_id(cast(_Photo, row.image)) for row in rows]
        )  # the same in every process
        return batch

    @torch.no_grad()
    def mean_image_token(self) -> Tensor:
        """The average cell of the first photos, [D_image] in float32."""
        self.model.image_encoder.eval()
        total, stream = torch.zeros((), device=self.model.device), self.read(epoch=0)
        count = min(MEAN_PHOTOS, self.rows)
        for _ in range(count):
            pixels = read_pixels(self.model, next(stream).photo)[None].to(self.model.device)
            total = total + self.model.image_encoder(pixels).float().mean(dim=(0, 1))
        return total / count


def _rows_of(files: list[str]) -> Iterator[dict[str, ShardRow]]:
    for file in files:
        for row in read_shard(file):
            yield {"row": row}  # a record of one column, as the library shuffles them


class _Photo(bytes):
    """A photo's file, which names the row that it came in, not its bytes, in messages."""

    place: str

    def __new__(cls, content: bytes, place: str) -> "_Photo":
        photo = super().__new__(cls, content)
        photo.place = place
        return photo

    def __str__(self) -> str:
        return self.place


def _question(shard_row: ShardRow) -> Row:
    """A row to learn from. Raises DataError where it lacks question or answer, or they are no texts."""
    place, values = shard_row.place, shard_row.values
    answers = values.get("answers") or ([values["answer"]] if values.get("answer") else [])
    if not values.get("question") or not answers:
        raise DataError(f"{place}: `question` and `answer` or `answers` are needed, found {', '.join(sorted(values))}.")
    if not isinstance(answers, list) or not all(isinstance(part, str) for part in [values["question"], *answers]):
        raise DataError(f"{place}: `question` and `answer` must be texts, `answers` a list of them; found {answers!r}.")
    try:
        question = needed_text(values["question"], "question")
        cleaned = tuple(needed_text(answer, "answer") for answer in answers)
    except ValueError as error:
        raise DataError(f"{place}: {error}") from error
    photo = cast(Path, _Photo(shard_row.photo, place))
    return Row(image=photo, question=question, answers=cleaned, source=values.get("source") or "unknown")


def _photo_id(photo: bytes) -> int:
    return int.from_bytes(hashlib.sha256(photo).digest()[:7], "big")
