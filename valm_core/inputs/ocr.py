"""Text on photos and scans, read by RapidOCR (extra ``read``): lines with their places, turned pages included."""

import functools
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from valm_core.inputs.page import Line
from valm_core.inputs.photo import open_photo
from valm_core.outputs import InputError, Photo

MIN_CONFIDENCE = 0.5  # of a line: what is less sure is no text
SURE = 0.85  # the mean from which on a page counts as upright
SHORT_SIDE = 900  # pixels; smaller pages are enlarged so far, at most by ``MAX_ENLARGEMENT``
MAX_ENLARGEMENT = 3
MIN_SIDE = 6  # pixels; nothing is read on what is thinner
MAX_ASPECT = 8  # long side over short side; RapidOCR makes the short side 736 pixels, so a strip is widened before
TURNS = (0, 90, 270, 180)  # degrees
_ENGINE_LOCK = threading.Lock()

Engine = Callable[[np.ndarray], list[tuple[np.ndarray, str, float]]]  # pixels -> corners [4, 2], text, probability


class OcrMissing(InputError):
    """There is no OCR to read with; the message says how to install it."""


def has_ocr() -> bool:
    """Whether the package that ``rapid_ocr`` needs is installed."""
    return find_spec("rapidocr_onnxruntime") is not None


def read_lines(photo: Photo, engine: Engine | None = None) -> tuple[tuple[Line, ...], int]:
    """The lines of text on a photo, and by how many degrees it was turned, counterclockwise, to read them.

    A page that lies on its side or its head is turned until it reads best; places are those of the turned page. A photo
    with a side below ``MIN_SIDE`` has none.

    Args:
        photo: file, content or opened picture; upright as its file says.
        engine: reads upright pictures; RapidOCR unless told otherwise.

    Raises:
        InputError: the photo can't be used.
        OcrMissing: OCR isn't installed.
    """
    picture = open_photo(photo)
    read = engine or rapid_ocr()
    if min(picture.size) < MIN_SIDE:
        return (), 0
    picture = _enlarged(picture)
    best: list[tuple[np.ndarray, str, float]] = []
    best_score, best_size, best_turn = -1.0, picture.size, 0
    for turn in TURNS:
        turned = picture.rotate(turn, expand=True) if turn else picture
        found = [line for line in read(_widened(np.asarray(turned))) if line[2] >= MIN_CONFIDENCE and line[1].strip()]
        score = sum(len(text) * sure for _, text, sure in found) * (0.5 if _on_its_side(found) else 1.0)
        if score > best_score:
            best, best_score, best_size, best_turn = found, score, turned.size, turn
        if found and _upright(found):
            break
    width, height = best_size
    lines = []
    for corners, text, _ in best:
        left, top = (corners.min(axis=0) / (width, height)).clip(0, 1)
        right, bottom = (corners.max(axis=0) / (width, height)).clip(0, 1)
        lines.append(Line((float(left), float(top), float(right), float(bottom)), text))
    return tuple(lines), best_turn


@functools.cache
def rapid_ocr() -> Engine:
    """RapidOCR as a function, its models loaded once; calls wait for each other.

    Raises:
        OcrMissing: it isn't installed.
    """
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise OcrMissing("Reading documents needs OCR. Install it with: .venv/bin/pip install -e '.[read]'") from error
    engine: Any = RapidOCR()

    def read(pixels: np.ndarray) -> list[tuple[np.ndarray, str, float]]:
        with _ENGINE_LOCK:
            found, _ = engine(pixels[:, :, ::-1], use_cls=False)  # it takes BGR, as OpenCV has it
        return [(np.array(corners), str(text), float(sure)) for corners, text, sure in found or []]

    return read


def _enlarged(picture: Image.Image) -> Image.Image:
    factor = min(SHORT_SIDE / min(picture.size), MAX_ENLARGEMENT)
    if factor <= 1:
        return picture
    size = round(picture.width * factor), round(picture.height * factor)
    return picture.resize(size, Image.Resampling.BICUBIC)


def _widened(pixels: np.ndarray) -> np.ndarray:
    """A strip with white to its right or below, which moves no place, so that it is no strip; all else as it is."""
    height, width = pixels.shape[:2]
    short = -(-max(height, width) // MAX_ASPECT)
    below, right = max(short - height, 0), max(short - width, 0)
    return np.pad(pixels, ((0, below), (0, right), (0, 0)), constant_values=255) if below or right else pixels


def _upright(found: list[tuple[np.ndarray, str, float]]) -> bool:
    return not _on_its_side(found) and float(np.mean([sure for _, _, sure in found])) >= SURE


def _on_its_side(found: list[tuple[np.ndarray, str, float]]) -> bool:
    """Whether most lines of several letters stand upright like a spine's."""
    sizes = [corners.max(axis=0) - corners.min(axis=0) for corners, text, _ in found if len(text) > 3]
    return bool(sizes) and float(np.mean([size[1] > size[0] for size in sizes])) > 0.5
