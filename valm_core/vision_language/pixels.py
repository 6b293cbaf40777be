"""Hiding regions of a photo in its pixels: the one way to ask any model again without a part."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

from valm_core.vision_language.geometry import WHOLE, Box


def mean_colour(picture: Image.Image) -> tuple[int, int, int]:
    """The photo's mean colour."""
    red, green, blue = np.asarray(picture, dtype=np.float64).reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
    return red, green, blue


def blind_picture(picture: Image.Image) -> Image.Image:
    """A photo of the same size in its mean colour: what stands for no photo."""
    return Image.new("RGB", picture.size, mean_colour(picture))


def without_regions(picture: Image.Image, hidden: np.ndarray, box: Box = WHOLE) -> Image.Image:
    """The photo with the cells of ``hidden`` [rows, columns], a grid over ``box``, in its mean colour."""
    changed = np.asarray(picture).copy()
    colour = mean_colour(picture)
    for top, bottom, left, right in _pixels_of(hidden, picture.size, box):
        changed[top:bottom, left:right] = colour
    return Image.fromarray(changed)


def _pixels_of(hidden: np.ndarray, size: tuple[int, int], box: Box) -> Iterable[tuple[int, int, int, int]]:
    """(top, bottom, left, right) of each hidden cell in pixels."""
    rows, columns = hidden.shape
    across = np.round(np.linspace(box[0], box[2], columns + 1) * size[0]).astype(int).clip(0, size[0])
    down = np.round(np.linspace(box[1], box[3], rows + 1) * size[1]).astype(int).clip(0, size[1])
    for row, column in np.argwhere(hidden):
        yield int(down[row]), int(down[row + 1]), int(across[column]), int(across[column + 1])


def cell_colours(picture: Image.Image, grid: tuple[int, int], box: Box = WHOLE) -> np.ndarray:
    """Mean colours [1, N, 3] in 0..1 of a grid's cells over a part of the photo."""
    left, top, right, bottom = box
    part = (left * picture.width, top * picture.height, right * picture.width, bottom * picture.height)
    small = picture.resize((grid[1], grid[0]), Image.Resampling.BOX, box=_inside(part, picture.size))
    return np.asarray(small, dtype=np.float32).reshape(1, -1, 3) / 255


def _inside(part: Box, size: tuple[int, int]) -> Box:
    return max(part[0], 0), max(part[1], 0), min(part[2], size[0]), min(part[3], size[1])


def stretched(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """[..., rows, columns] of one grid on another, each cell by its centre, scaled to the same sum."""
    rows = ((np.arange(grid[0]) + 0.5) * values.shape[-2] / grid[0]).astype(int)
    columns = ((np.arange(grid[1]) + 0.5) * values.shape[-1] / grid[1]).astype(int)
    finer = values[..., rows, :][..., columns]
    total = finer.sum(axis=(-2, -1), keepdims=True)
    wanted = values.sum(axis=(-2, -1), keepdims=True)
    return np.where(total > 0, finer * wanted / np.where(total > 0, total, 1), finer)
