"""Maps drawn over the photo, and their colours; no HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from valm_core.evidence.rules import is_flat

if TYPE_CHECKING:  # for real it would load torch, which the terminal's -h can do without
    from valm_core.outputs import Explanation

# Matplotlib's inferno at 33 even steps (perceptually uniform, readable in print and with colour blindness), so that
# the page doesn't need matplotlib; between the steps we interpolate (at most 5 of 255 off, see the test).
INFERNO = np.frombuffer(
    bytes.fromhex(
        "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b57106e64156e71196e"
        "7d1e6d8a226a972766a32c61b0315bbc3754c73e4cd24644db503be45a31eb6628"
        "f1731df68013f98e09fb9d07fcac11fbbc21f9cb35f5db4cf2ea69f3f68afcffa4"
    ),
    dtype=np.uint8,
).reshape(-1, 3)  # [33, 3]
# Okabe and Ito's colours, told apart with any kind of colour vision: one a word where several are shown at once.
WORD_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
MAX_SIDE = 1024  # pixels of the drawn overlay
DENSITY = 1.5  # times the opacity: how much of the hottest place is heat, at most all of it
WHOLE_QUESTION = -1  # in place of a word's index
FLAT_GREY = (128, 128, 128)  # of a flat map where there is no photo beneath it


@dataclass(frozen=True)
class Look:
    """How the person wants the map: opacity in 0..1, raw cells or smooth, one scale for all words or each its own."""

    opacity: float = 0.55
    raw_cells: bool = False
    same_scale: bool = False


def word_map(explanation: Explanation, word: int) -> np.ndarray:
    """The map [rows, columns] of one word, or of the whole question."""
    return explanation.image_map if word == WHOLE_QUESTION else explanation.token_map(word)


def words_map(explanation: Explanation, words: tuple[int, ...]) -> np.ndarray:
    """The mean map [rows, columns] of some words, that of the whole question for none."""
    return np.mean([word_map(explanation, word) for word in words or (WHOLE_QUESTION,)], axis=0)


def scale_top(explanation: Explanation, word: int, same_scale: bool) -> float:
    """The share of the map at the hot end of the colour bar; the cold end is 0."""
    if same_scale:
        return float(max(explanation.token_to_patch.max(), explanation.image_map.max()))
    return float(word_map(explanation, word).max())


def colour(values: np.ndarray) -> np.ndarray:
    """Inferno colours, uint8 [..., 3], of values in 0..1."""
    steps = np.linspace(0, 1, len(INFERNO))
    channels = [np.interp(values, steps, INFERNO[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def density(heat: np.ndarray, opacity: float) -> np.ndarray:
    """How much of each place is heat and not photo, 0..1, of heat in 0..1: where a map is low the photo stays."""
    return min(DENSITY * opacity, 1) * heat


def overlay(
    picture: Image.Image, explanation: Explanation, words: tuple[int, ...], look: Look, min_side: int = 0
) -> Image.Image:
    """The photo with maps stretched over the part that the model saw (``Explanation.box``).

    One map (of one word, or of the whole question for none) has the inferno colours, the denser the hotter
    (``density``). Several words have a colour each over the photo in grey. Outside the box the photo stays as it is,
    behind a thin frame. Smooth maps are interpolated between the centres of neighbouring cells and never hotter than
    those, raw ones show the cells themselves. A flat map leaves the photo as it is: no colour would be true.

    Args:
        picture: the photo.
        explanation: whose maps are drawn.
        words: whose; none for the whole question.
        look: how.
        min_side: pixels that the longer side has at least; a smaller photo is enlarged. At most ``MAX_SIDE`` else.
    """
    canvas = picture.convert("RGB")
    canvas.thumbnail((max(MAX_SIDE, min_side),) * 2)
    if max(canvas.size) < min_side:
        scale = min_side / max(canvas.size)
        canvas = canvas.resize([max(round(side * scale), 1) for side in canvas.size], Image.Resampling.LANCZOS)
    left, top, right, bottom = pixel_box(explanation.box, canvas.size)
    size = (right - left, bottom - top)
    seen = canvas.crop((left, top, right, bottom))
    if all(is_flat(word_map(explanation, word)) for word in words or (WHOLE_QUESTION,)):
        drawn = seen
    elif len(words) < 2:
        heat = _stretched(explanation, words[0] if words else WHOLE_QUESTION, size, look)
        dense = density(heat, look.opacity)[..., None]
        mixed = np.asarray(seen, dtype=np.float32) * (1 - dense) + colour(heat) * dense
        drawn = Image.fromarray(mixed.round().astype(np.uint8))
    else:
        heats = np.stack([_stretched(explanation, word, size, look) for word in words])  # [K, height, width]
        colours = np.array([word_colour(place) for place in range(len(words))], dtype=np.float32)  # [K, 3]
        strength = heats**2
        mixed = np.einsum("khw,kc->hwc", strength, colours) / np.maximum(strength.sum(axis=0), 1e-6)[..., None]
        dense = density(heats.max(axis=0), look.opacity)[..., None]  # [height, width, 1]
        greyed = Image.blend(seen, ImageOps.grayscale(seen).convert("RGB"), look.opacity)
        grey = np.asarray(greyed, dtype=np.float32) * (1 - 0.4 * look.opacity)  # darker, so that the colours stand out
        drawn = Image.fromarray((grey * (1 - dense) + mixed * dense).round().astype(np.uint8))
    canvas.paste(drawn, (left, top))
    if (left, top, right, bottom) != (0, 0, *canvas.size):
        ImageDraw.Draw(canvas).rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255))
    return canvas


def _stretched(explanation: Explanation, word: int, size: tuple[int, int], look: Look) -> np.ndarray:
    """A word's map as heat in 0..1, [height, width] of a size (width, height) in pixels; a flat one has none.

    Smooth maps are a weighted mean of at most four cells: no ringing, nothing beyond a cell's neighbours, and along the
    photo's edge the outermost cells' own heat.
    """
    resampling = Image.Resampling.NEAREST if look.raw_cells else Image.Resampling.BILINEAR
    cells = Image.fromarray(np.asarray(heat_to_show(explanation, word), dtype=np.float32))
    heat = np.asarray(cells.resize(size, resampling))
    highest = scale_top(explanation, word, look.same_scale)
    return np.clip(heat / highest, 0, 1) if highest > 0 else np.zeros_like(heat)


def word_colour(place: int) -> tuple[int, int, int]:
    """The colour of the word that was selected as number ``place``, from 0; the page allows no more than have one."""
    return WORD_COLOURS[place % len(WORD_COLOURS)]


def pixel_box(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box in 0..1 as whole pixels of an image of that size, at least one pixel each way."""
    width, height = size
    left, top = min(round(box[0] * width), width - 1), min(round(box[1] * height), height - 1)
    return left, top, max(round(box[2] * width), left + 1), max(round(box[3] * height), top + 1)


def heat_to_show(explanation: Explanation, word: int) -> np.ndarray:
    """A word's map [rows, columns] to be coloured: zeros where it is flat, or all of it would be hottest."""
    heat = word_map(explanation, word)
    return np.zeros_like(heat) if is_flat(heat) else heat
