"""Batches for the trainer: rows of like length together, shared out over processes, the same in every resumed epoch."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler


class LengthBucketSampler(Sampler[list[int]]):
    """Batches of rows of similar length, in an order that (seed, epoch) decides; little padding, little repetition.

    Rows are shuffled, sorted by length within pools of ``pool`` batches, cut into batches, and these are shuffled. With
    ``photo_ids`` (equal where rows share a photo) a photo's rows stay together instead, so that an image encoder that
    learns sees each photo about once an epoch and not once a question.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int, pool: int = 20, photo_ids: list[int] | None = None
    ):
        self.lengths = torch.tensor(lengths)
        self.photo_ids = None if photo_ids is None else torch.tensor(photo_ids)
        self.batch_size, self.seed, self.pool = batch_size, seed, pool
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator)
        if self.photo_ids is not None:
            turn = torch.randperm(int(self.photo_ids.max()) + 1, generator=generator)[self.photo_ids]  # of each row
            return iter([batch.tolist() for batch in order[turn[order].argsort(stable=True)].split(self.batch_size)])
        pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in order.split(self.batch_size * self.pool)]
        batches = torch.cat(pools).split(self.batch_size)
        return iter([batches[index].tolist() for index in torch.randperm(len(batches), generator=generator)])


class RowsWithLengths(Protocol):
    """Rows 0..len of a data set, each with its length in ``lengths``."""

    @property
    def lengths(self) -> Sequence[int]:
        """The length of each row, in tokens."""

    def __len__(self) -> int:
        """How many rows."""

    def __getitem__(self, index: int) -> Any:
        """A row, as ``collate`` takes it."""


class Batches(Protocol):
    """Where the trainer gets its rows from, epoch by epoch: a data set cut into batches, or a stream."""

    rows: int

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, first: int, rank: int, processes: int) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
        """From batch ``first`` on: rows in the whole batch, rows of this process, and its share of the batch."""


class BucketedBatches:
    """A data set as batches.

    Every process takes its share of each batch: rows ``rank``, ``rank + processes``, ...

    Args:
        data: items 0..len, with a length each in ``data.lengths``.
        collate: list of items -> dict of tensors, the arguments of the objective.
        batch_size: rows in a batch, over all processes.
        seed: of the order.
        workers: processes that collate ahead.
        photo_ids: keep rows with the same number together, see ``LengthBucketSampler``.
    """

    def __init__(
        self,
        data: RowsWithLengths,
        collate: Callable[[list[Any]], dict[str, Tensor]],
        batch_size: int,
        seed: int,
        workers: int = 0,
        photo_ids: list[int] | None = None,
    ):
        if len(data) == 0:
            raise ValueError("There is no training row. Check the data file and the answer list.")
        self.data, self.collate, self.workers = data, collate, workers
        self.sampler = LengthBucketSampler(data.lengths, batch_size, seed, photo_ids=photo_ids)
        self.rows = len(data)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def epoch(self, epoch: int, first: int, rank: int, processes: int) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
        """From batch ``first`` on: rows in the whole batch, rows of this process, and its share of the batch."""
        self.sampler.epoch = epoch
        batches = list(self.sampler)[first:]
        shares = [batch[rank::processes] or batch[:1] for batch in batches]
        loader = DataLoader(
            cast(Dataset[Any], self.data),
            batch_sampler=shares,
            collate_fn=self._collate,
            num_workers=self.workers,
            multiprocessing_context="fork" if self.workers and sys.platform == "linux" else None,  # 3.14 would copy all
            generator=torch.Generator(),  # or a resumed epoch would draw a number that an uninterrupted one doesn't
        )
        for batch, collated in zip(batches, loader, strict=True):
            if isinstance(collated, Exception):
                raise collated
            yield len(batch), len(batch[rank::processes]), collated

    def _collate(self, items: list[Any]) -> dict[str, Tensor] | Exception:
        """The batch, or what is wrong with it: raised in a worker, the message would end up inside a traceback."""
        try:
            return self.collate(items)
        except (OSError, ValueError) as error:
            return error
