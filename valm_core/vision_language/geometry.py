"""Where image tokens lie on the photo: tiles, thumbnails, merged patches, padding and crops as boxes, and their cells.

A box is (left, top, right, bottom) as shares of the photo, 0..1; it may reach beyond where a photo was padded. A token
without a place, such as one that ends a row, has a box of NaN. I image tokens, N cells of the page's grid.
"""

import math
from dataclasses import dataclass

import numpy as np

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
MAX_CELLS = 32  # rows or columns of the grid that a page draws
NOWHERE = np.full((1, 4), np.nan, dtype=np.float32)


@dataclass(frozen=True)
class Places:
    """``boxes`` [I, 4] of the image tokens in their order, the page's ``grid``, and the ``box`` that it lies on."""

    boxes: np.ndarray
    grid: tuple[int, int]
    box: Box = WHOLE

    def projection(self) -> np.ndarray:
        """[I, N]: which share of each token lies in each cell. What lies beyond the grid's box is lost."""
        rows, columns = self.grid
        left, top, right, bottom = self.box
        across = _overlaps(self.boxes[:, 0], self.boxes[:, 2], left, right, columns)  # [I, columns]
        down = _overlaps(self.boxes[:, 1], self.boxes[:, 3], top, bottom, rows)  # [I, rows]
        return (down[:, :, None] * across[:, None, :]).reshape(len(self.boxes), -1)


def _overlaps(starts: np.ndarray, ends: np.ndarray, first: float, last: float, count: int) -> np.ndarray:
    """[I, count]: which share of each stretch lies in each of ``count`` equal parts of first..last; 0 for NaN."""
    edges = np.linspace(first, last, count + 1, dtype=np.float32)
    shared = np.minimum(ends[:, None], edges[1:]) - np.maximum(starts[:, None], edges[:-1])
    return np.nan_to_num(np.clip(shared, 0, None) / (ends - starts)[:, None]).astype(np.float32)


def grid_boxes(rows: int, columns: int, window: Box = WHOLE) -> np.ndarray:
    """Boxes [rows * columns, 4], row by row, of a grid over a window of the photo."""
    left, top, right, bottom = window
    across, down = np.linspace(left, right, columns + 1), np.linspace(top, bottom, rows + 1)
    boxes = np.empty((rows, columns, 4), dtype=np.float32)
    boxes[..., 0], boxes[..., 2] = across[:-1], across[1:]
    boxes[..., 1], boxes[..., 3] = down[:-1, None], down[1:, None]
    return boxes.reshape(-1, 4)


def shown_grid(rows: int, columns: int) -> tuple[int, int]:
    """The page's grid for the finest grid of tokens: itself, or a whole fraction with at most ``MAX_CELLS`` a side."""
    step = math.ceil(max(rows, columns) / MAX_CELLS)
    return math.ceil(rows / step), math.ceil(columns / step)


def one_grid(rows: int, columns: int, window: Box = WHOLE, before: int = 0) -> Places:
    """One image, one grid: PaliGemma, Gemma 3, Qwen-VL (merged patches), LLaVA (a window where the processor crops).

    Args:
        rows, columns: of tokens.
        window: the part of the photo that they cover.
        before: tokens without a place that come first, such as a class token.
    """
    boxes = np.concatenate([np.repeat(NOWHERE, before, axis=0), grid_boxes(rows, columns, window)])
    return Places(boxes, shown_grid(rows, columns), window)


def tiled(tile_rows: int, tile_columns: int, side: int, thumbnail: bool) -> Places:
    """Tiles row by row, each with side x side tokens, and then a thumbnail: Idefics3, SmolVLM, InternVL.

    Both stretch the photo to a whole number of tiles, so nothing is padded.

    Args:
        tile_rows, tile_columns: how many tiles; 0 for the thumbnail alone.
        side: tokens along a tile.
        thumbnail: whether the whole photo follows in one more tile.
    """
    tiles = grid_boxes(tile_rows, tile_columns) if tile_rows else np.empty((0, 4), dtype=np.float32)
    parts = [grid_boxes(side, side, tuple(tile)) for tile in tiles.tolist()]
    if thumbnail or not parts:
        parts.append(grid_boxes(side, side))
    finest = (max(tile_rows, 1) * side, max(tile_columns, 1) * side)
    return Places(np.concatenate(parts), shown_grid(*finest))


def centre_crop(width: int, height: int, shortest: int, crop: tuple[int, int]) -> Box:
    """The window that is left of a photo resized to a shortest side and cropped at its centre: LLaVA's CLIP processor.

    Args:
        width, height: of the photo.
        shortest: its shortest side after resizing, in pixels.
        crop: (height, width) of what is cropped.
    """
    scale = shortest / min(width, height)
    new_width, new_height = (int(round(width * scale, 7)), int(round(height * scale, 7)))
    left, top = (new_width - crop[1]) // 2, (new_height - crop[0]) // 2
    return (left / new_width, top / new_height, (left + crop[1]) / new_width, (top + crop[0]) / new_height)


def any_resolution(
    size: tuple[int, int], canvas: tuple[int, int], tile: int, patch: int, before: int = 0, most: float | None = None
) -> Places:
    """The whole photo in one tile, then the tiles of a padded canvas with a token at the end of each row: LLaVA-NeXT.

    The canvas' tokens that see only padding are dropped, as ``unpad_image`` of transformers does.

    Args:
        size: (width, height) of the photo in pixels.
        canvas: (height, width) in pixels that the photo is fitted into, keeping its shape.
        tile: pixels along a tile.
        patch: pixels along a token.
        before: tokens without a place that come first, such as a class token.
        most: LLaVA-OneVision's ``anyres_max_9``: the most tokens of the canvas, in tiles; more are scaled down.
    """
    side = tile // patch
    width, height = size
    scale = min(canvas[1] / width, canvas[0] / height)
    if canvas[1] / width < canvas[0] / height:
        new_width, new_height = canvas[1], min(math.ceil(height * scale), canvas[0])
    else:
        new_width, new_height = min(math.ceil(width * scale), canvas[1]), canvas[0]
    left, top = (canvas[1] - new_width) // 2, (canvas[0] - new_height) // 2
    rows, columns = canvas[0] // tile * side, canvas[1] // tile * side
    skipped_rows = skipped_columns = 0
    if width / height > columns / rows:
        skipped_rows = (rows - int(round(height * (columns / width), 7))) // 2
    else:
        skipped_columns = (columns - int(round(width * (rows / height), 7))) // 2
    window = (
        (skipped_columns * patch - left) / new_width,
        (skipped_rows * patch - top) / new_height,
        ((columns - skipped_columns) * patch - left) / new_width,
        ((rows - skipped_rows) * patch - top) / new_height,
    )
    rows, columns = rows - 2 * skipped_rows, columns - 2 * skipped_columns
    ratio = math.sqrt(rows * columns / (most * side**2)) if most else 1.0
    if ratio > 1.1:
        rows, columns = int(rows // ratio), int(columns // ratio)
    canvas_boxes = grid_boxes(rows, columns, window).reshape(rows, columns, 4)
    ended = np.concatenate([canvas_boxes, np.full((rows, 1, 4), np.nan, dtype=np.float32)], axis=1)
    parts = [np.repeat(NOWHERE, before, axis=0), grid_boxes(side, side), ended.reshape(-1, 4)]
    return Places(np.concatenate(parts), shown_grid(rows, columns))


def coarse_grid(width: int, height: int, cells: int = 48) -> tuple[int, int]:
    """A grid of about ``cells`` squares in a photo's shape, for hiding one after the other: at most 16 a side."""
    columns = min(max(round(math.sqrt(cells * width / height)), 1), 16)
    return min(max(round(cells / columns), 1), 16), columns
