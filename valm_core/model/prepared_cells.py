"""What is made of a photo's cells before any word is known, so that the next question need not make it again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PreparedCells:
    """Cells as ``ValmModel.prepare`` makes them, of P photos with N cells each; good for any number of questions.

    ``projected`` [P, N, D] go into the fusion, words are compared with ``matched`` [P, N, W], and glimpses gather
    ``glimpsed`` [P, N, G]; the last two are None where the model has no such part. Once they were compared with one
    question's T words, ``similar`` [P, N, T] says how much they resemble each, in place of ``matched``.
    """

    projected: Tensor
    matched: Tensor | None
    glimpsed: Tensor | None
    grid: tuple[int, int]  # rows, columns
    similar: Tensor | None = None

    def of(self, photos: Tensor) -> "PreparedCells":
        """The cells of photos by their numbers [B] among these P."""
        return self._together([self], lambda made: made[0][photos])

    def hidden(self, hidden: Tensor, average: "PreparedCells") -> "PreparedCells":
        """One photo's cells in F variants: where ``hidden`` [F, N] is true, the single cell of ``average`` instead."""
        return self._together([self, average], lambda made: torch.where(hidden[..., None], made[1], made[0]))

    def joined(self, others: Sequence["PreparedCells"]) -> "PreparedCells":
        """These photos' cells and then those of others, all of the same grid."""
        return self._together([self, *others], torch.cat) if others else self

    def _together(self, photos: list["PreparedCells"], join: Callable[[list[Tensor]], Tensor]) -> "PreparedCells":
        def part(name: str) -> Tensor | None:
            made = [getattr(photo, name) for photo in photos]
            return None if made[0] is None else join(made)

        projected = join([photo.projected for photo in photos])
        return PreparedCells(projected, part("matched"), part("glimpsed"), self.grid, part("similar"))
