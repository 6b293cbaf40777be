"""The object head: which of COCO's 80 kinds of object a cell of the photo belongs to, taught by a detector's boxes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The categories of COCO (Lin et al. 2014, https://arxiv.org/abs/1405.0312), in the order of their ids.
# fmt: off
OBJECT_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck",
    "boat", "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat",
    "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe",
    "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake",
    "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop",
    "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
HIDDEN = 256


class ObjectHead(nn.Module):
    """Cells and their neighbours -> for each cell and kind of object, the logit that it is there.

    A detector's scores are its targets, so its weights are our own and the detector isn't needed to answer (knowledge
    distillation, Hinton et al. 2015, https://arxiv.org/abs/1503.02531).

    Args:
        width: size D of a cell's features.
        dropout: probability, 0..1, while the head itself is trained.
    """

    def __init__(self, width: int, dropout: float = 0.2):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.cell = nn.Linear(width, HIDDEN)
        self.neighbours = nn.Conv2d(HIDDEN, HIDDEN, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(HIDDEN, len(OBJECT_NAMES))

    def forward(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        """features [B, N, D], N = rows * columns of ``grid`` -> logits [B, N, 80]."""
        hidden = F.gelu(self.cell(self.norm(features)))  # [B, N, 256]
        around = self.dropout(hidden).transpose(1, 2).unflatten(2, grid)  # [B, 256, rows, columns]
        hidden = hidden + F.gelu(self.neighbours(around)).flatten(2).transpose(1, 2)
        return self.output(self.dropout(hidden))


def object_cells(boxes: list[tuple], grid: tuple[int, int]) -> Tensor:
    """Boxes of one photo as the targets of ``ObjectHead``.

    A box counts for the cells it covers by ``COVERED`` or more, or, where it is smaller than a cell, for those that
    hold that share of it; of several boxes of a kind the surest counts.

    Args:
        boxes: (name, score in 0..1, x0, y0, x1, y1 in 0..1); names that aren't in ``OBJECT_NAMES`` are left out.
        grid: (rows, columns).

    Returns:
        [N, 80] in 0..1.
    """
    targets = torch.zeros(*grid, len(OBJECT_NAMES))
    places = {name: place for place, name in enumerate(OBJECT_NAMES)}
    for name, score, x0, y0, x1, y1 in boxes:
        if name not in places:
            continue
        covered = _overlap(y0, y1, grid[0])[:, None] * _overlap(x0, x1, grid[1])[None]  # [rows, columns], in cells
        area = max((x1 - x0) * (y1 - y0) * grid[0] * grid[1], 1e-3)
        there = covered >= COVERED * min(area, 1)
        kind = targets[..., places[name]]
        kind[there] = kind[there].clamp_min(score)
    return targets.flatten(0, 1)


COVERED = 0.4


def _overlap(low: float, high: float, count: int) -> Tensor:
    """How much of each of ``count`` equal parts of 0..1 lies between low and high, in parts."""
    edges = torch.arange(count + 1) / count
    return (edges[1:].clamp(max=high) - edges[:-1].clamp(min=low)).clamp_min(0) * count
