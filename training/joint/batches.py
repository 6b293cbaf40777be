"""Photos with their questions, captions and boxes, on the device they are learned on: drawn, cropped, mirrored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.datasets.crops import cropped, draw_crops
from training.datasets.joint_data import BALANCED, CAPTION, COLOR, FILL_IN, OPEN, PRESENCE, YES_NO
from valm_core.inputs.photo import open_photo, photo_to_pixels
from valm_core.outputs import InputError

Report = Callable[[str], None]
MAX_TOKENS = 40  # of a question or caption; longer ones are cut


class JointBatches:
    """Photos with their questions as tensors on one device, drawn anew in every epoch.

    Args:
        arrays: of ``training.datasets.joint_data.joint_data``.
        pixels: uint8 [photos, 3, S, S], on any device.
        answers, concepts: how many.
        device: ``cpu``, ``cuda`` or ``mps``.
        seed: of what is drawn by numpy; torch's own generator draws crops.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        pixels: Tensor,
        answers: int,
        concepts: int,
        device: str,
        seed: int = 0,
    ):
        self.data = {name: torch.from_numpy(value) for name, value in arrays.items()}
        self.pixels, self.answers, self.concepts, self.device = pixels, answers, concepts, device
        self.generator = np.random.default_rng(seed)
        count = len(arrays["boxes"])
        self.by_photo: list[list[list[int]]] = [[[], [], [], [], []] for _ in range(count)]
        group = {OPEN: 0, YES_NO: 0, BALANCED: 0, PRESENCE: 1, COLOR: 2, FILL_IN: 3, CAPTION: 4}
        kinds = arrays["row_kind"]
        for row, (photo, kind) in enumerate(zip(arrays["row_photo"].tolist(), kinds.tolist(), strict=True)):
            self.by_photo[photo][group[kind]].append(row)
        self.captions_of: list[list[int]] = [[] for _ in range(count)]
        for text, photo in arrays["captions"].tolist():
            self.captions_of[photo].append(text)
        share = np.select([kinds == FILL_IN, kinds == CAPTION, kinds >= PRESENCE], [0.3, 0.5, 0.15], 1.5)
        self.row_odds = torch.from_numpy(share / share.sum())
        self.boxes, self.sided = self.data["boxes"].to(device), self.data["sided"].to(device)
        self._keep_labels(count)
        self._keep_texts(arrays)

    def _keep_labels(self, count: int) -> None:
        """Concepts of every photo: ``labels`` [photos, C], 0 or 1, and how far each counts, ``weight`` [photos, C]."""
        labels = torch.zeros(count, self.concepts, dtype=torch.float16)
        weight = self.data["absent_weight"].half()[:, None].repeat(1, self.concepts)
        shown, maybe = self.data["concept_shown"].long(), self.data["concept_maybe"].long()
        labels[shown[:, 0], shown[:, 1]] = 1
        weight[maybe[:, 0], maybe[:, 1]] = 0
        weight[shown[:, 0], shown[:, 1]] = 1
        self.labels, self.weight = labels.to(self.device), weight.to(self.device)

    def _keep_texts(self, arrays: dict[str, np.ndarray]) -> None:
        """Texts padded: ``text_ids`` [texts, T], and ``text_marks`` [2, texts, T] of function and person words."""
        starts = arrays["text_starts"]
        lengths = np.minimum(np.diff(starts), MAX_TOKENS)
        padded = np.arange(MAX_TOKENS) < lengths[:, None]
        at = (starts[:-1, None] + np.arange(MAX_TOKENS))[padded]
        ids, marks = np.zeros(padded.shape, np.int32), np.zeros((2, *padded.shape), bool)
        ids[padded] = arrays["text_ids"][at]
        marks[0][padded], marks[1][padded] = arrays["text_function"][at] > 0, arrays["text_person"][at] > 0
        self.text_lengths = torch.from_numpy(lengths)
        self.text_lengths_there = self.text_lengths.to(self.device)
        self.text_ids, self.text_marks = torch.from_numpy(ids).to(self.device), torch.from_numpy(marks).to(self.device)

    def texts(self, places: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Token ids, mask, function and person marks, each [B, T]."""
        which = torch.tensor(places, device=self.device)
        length = int(self.text_lengths[places].max())
        function, person = (self.text_marks[part, which, :length] for part in range(2))
        mask = torch.arange(length, device=self.device) < self.text_lengths_there[which][:, None]
        return self.text_ids[which, :length].long(), mask, function, person

    def targets(self, rows: list[int], name: str) -> Tensor:
        """[B, A], rows summing to 1."""
        starts = self.data[f"{name}_starts"]
        chosen = torch.tensor(rows)
        counts = starts[chosen + 1] - starts[chosen]
        place = torch.repeat_interleave(torch.arange(len(rows)), counts)
        within = torch.arange(len(place)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        flat = torch.repeat_interleave(starts[chosen], counts) + within
        targets = torch.zeros(len(rows), self.answers, device=self.device)
        which = self.data[f"{name}_answers"][flat].long().to(self.device)
        targets[place.to(self.device), which] = self.data[f"{name}_shares"][flat].to(self.device)
        return targets

    def balanced(self, kinds: Tensor) -> Tensor:
        """[B]: 1 for balanced questions, 0 for yes/no ones as people ask them, chance where it doesn't matter."""
        chance = torch.rand(len(kinds)).round()
        balanced = torch.where(
            (kinds == BALANCED) | (kinds == PRESENCE), 1.0, torch.where(kinds == YES_NO, 0.0, chance)
        )
        return balanced.to(self.device)

    def blind_batch(self, size: int) -> tuple[dict[str, Tensor], Tensor]:
        """Questions without photos: arguments of ``ValmModel.question_logits``, and targets."""
        alone = int(size * 0.6)
        rows = self.generator.integers(0, len(self.data["blind_text"]), alone).tolist()
        asked = torch.multinomial(self.row_odds, size - alone, replacement=True).tolist()
        places = self.data["blind_text"][rows].tolist() + self.data["row_text"][asked].tolist()
        ids, mask, _, _ = self.texts(places)
        kinds = torch.cat([self.data["blind_kind"][rows], self.data["row_kind"][asked]])
        targets = torch.cat([self.targets(rows, "blind"), self.targets(asked, "row")])
        return {"token_ids": ids, "text_mask": mask, "balanced": self.balanced(kinds)}, targets

    def photo_batch(self, photos: list[int], limits: tuple[int, ...], side: int) -> dict[str, Tensor]:
        """Photos with some of their questions and a caption, see ``joint_loss``."""
        rows: list[int] = []
        of: list[int] = []
        captions: list[int] = []
        caption_of: list[int] = []
        for place, photo in enumerate(photos):
            for group, limit in zip(self.by_photo[photo], limits, strict=True):
                drawn = group if len(group) <= limit else self.generator.choice(group, limit, replace=False).tolist()
                rows += drawn
                of += [place] * len(drawn)
            if self.captions_of[photo]:
                captions.append(int(self.generator.choice(self.captions_of[photo])))
                caption_of.append(place)
        ids, mask, function, person = self.texts(self.data["row_text"][rows].tolist() + captions)
        which = torch.tensor(photos, device=self.device)
        pixels, boxes = self.cropped(which, side)
        return {
            "ids": ids,
            "mask": mask,
            "function": function,
            "person": person,
            "targets": self.targets(rows, "row"),
            "balanced": self.balanced(self.data["row_kind"][rows]),
            "importance": torch.where(self.data["row_kind"][rows] == FILL_IN, 0.5, 1.0).to(self.device),
            "photo_index": torch.tensor(of, device=self.device),
            "caption_index": torch.tensor(caption_of, device=self.device, dtype=torch.long),
            "pixels": pixels,
            "boxes": boxes,
            "labels": self.labels[which],
            "weight": self.weight[which],
        }

    def cropped(self, which: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Random crops of photos [P] squashed to squares, some mirrored, and their boxes.

        Returns:
            Pixels [P, 3, side, side] in 0..1, of other brightness and contrast; boxes [P, K, 4] in 0..1 of them.
        """
        drawn = draw_crops(len(which), device=self.device)
        crops = replace(drawn, mirrored=drawn.mirrored & ~self.sided[which])
        photos = self.pixels[which.to(self.pixels.device)].to(self.device).float() / 255
        pixels = cropped(photos, crops, side)
        boxes = self.boxes[which]
        corner, size = crops.corner.repeat(1, 2)[:, None], crops.size.repeat(1, 2)[:, None]
        boxes = ((boxes - corner) / size).clamp(0, 1)
        flipped = torch.stack([1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]], dim=-1)
        return pixels, torch.where(crops.mirrored[:, None, None], flipped, boxes)


def cells_in_boxes(boxes: Tensor, side: int) -> Tensor:
    """[P, K, 4] in 0..1, NaN for none -> [P, side * side], True where a cell's middle lies in a box."""
    middle = (torch.arange(side, device=boxes.device) + 0.5) / side
    x, y = middle[None, None, None, :], middle[None, None, :, None]
    x0, y0, x1, y1 = (boxes[..., part, None, None] for part in range(4))  # [P, K, 1, 1]
    return ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).any(dim=1).flatten(1)


class PhotoSquares(Dataset):
    """Photos as squares uint8 [3, side, side], squashed."""

    def __init__(self, paths: list[Path], side: int):
        self.paths, self.side = paths, side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Tensor | str:
        """The square, or what is wrong with the photo: an error would come out of a process as another one."""
        try:
            pixels = photo_to_pixels(open_photo(self.paths[place]), self.side)
        except (InputError, OSError) as error:
            return f"{self.paths[place]}: {error}"
        return (pixels * 255).round().to(torch.uint8)


def open_photos(paths: list[Path], side: int, workers: int, tell: Report = print) -> Tensor:
    """All photos as squares, uint8 [photos, 3, side, side].

    Raises:
        InputError: one can't be read; its path is named.
    """
    squares = torch.empty(len(paths), 3, side, side, dtype=torch.uint8)
    for place, square in enumerate(DataLoader(PhotoSquares(paths, side), batch_size=None, num_workers=workers)):
        if isinstance(square, str):
            raise InputError(square)
        squares[place] = square
        if (place + 1) % 5000 == 0:
            tell(f"photos: {place + 1} of {len(paths)}")
    return squares
