"""A page of a document with frames: around the answer, and around the lines that spoke for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:  # for real it would load torch, which the terminal's -h can do without
    from valm_core.tasks.reader import PageAnswer, ReadPage

MIN_FALL = 0.1  # of the logarithm of the probability; what moves it less is not named
ANSWER_COLOR, LINE_COLOR = (214, 39, 40), (38, 84, 200)


def marked_page(picture: Image.Image, page: ReadPage, answer: PageAnswer) -> Image.Image:
    """The page with a frame around the answer, and a thinner one around each line that spoke for it."""
    marked = picture.convert("RGB").copy()
    draw, (width, height) = ImageDraw.Draw(marked), picture.size
    thick = max(2, round(max(width, height) / 400))
    for line in np.flatnonzero(answer.line_scores >= MIN_FALL):
        boxes = page.page.boxes[page.page.lines == line]
        _frame(draw, [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)], width, height, LINE_COLOR, thick // 2)
    for box in answer.boxes:
        _frame(draw, list(box), width, height, ANSWER_COLOR, thick)
    return marked


def _frame(
    draw: ImageDraw.ImageDraw, box: list[float], width: int, height: int, color: tuple[int, int, int], thick: int
) -> None:
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    draw.rectangle((left - thick, top - thick, right + thick, bottom + thick), outline=color, width=thick)
