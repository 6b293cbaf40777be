"""From what a person sends to what the model reads: photos to pixels, questions to token ids.

torch is imported where it is needed: an exported model reads the same arrays without it.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image

from valm_core.outputs import InputError
from valm_core.word_pieces import words_of_pieces

if TYPE_CHECKING:
    from torch import Tensor

PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PHOTO_BYTES = 30 * 2**20
MAX_JPEG_PIXELS = 64_000_000  # JPEG decodes at a fraction of its size
MAX_PHOTO_PIXELS = 32_000_000  # the other formats are decoded whole, 4 bytes a pixel
MAX_PHOTO_SIDE = 65_535  # what a JPEG can have; Pillow needs 8 bytes for every row
MAX_JPEG_SCANS = 100  # cameras write at most a dozen; each costs one pass over all pixels
SHOWN_SIDE = 1600  # longest side of an opened photo: enough for a page, far more than the model sees
MAX_QUESTION_CHARACTERS = 300

JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd8\xff])")  # all but stuffing and markers without a length
START_OF_SCAN, END_OF_IMAGE = b"\xda", b"\xd9"

TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Photo = str | Path | bytes | Image.Image


def open_photo(photo: Photo) -> Image.Image:
    """Open a photo as upright RGB with its longest side at most ``SHOWN_SIDE`` pixels.

    EXIF orientation is applied, transparency laid on white, CMYK, palette, grey and 16-bit modes converted, the first
    frame of an animation taken. Size limits are checked before any pixel is decoded.

    Raises:
        InputError: no photo, an unreadable file, or one that is too large.
    """
    if photo is None:
        raise InputError("There is no photo yet. Upload one, or pick an example.")
    if isinstance(photo, Image.Image):
        return _upright_rgb(photo)
    if isinstance(photo, bytes):
        name, size = "The photo", len(photo)
    else:
        path = Path(photo)
        if not path.is_file():
            raise InputError(f"There is no file {str(photo)!r}. Check the path.")
        name, size = path.name, path.stat().st_size
    if size > MAX_PHOTO_BYTES:
        raise InputError(
            f"{name} has {size / 2**20:.0f} MB; at most {MAX_PHOTO_BYTES // 2**20} MB are read. Shrink it."
        )
    try:
        content = photo if isinstance(photo, bytes) else path.read_bytes()
        with warnings.catch_warnings():
            # A warning on standard error helps nobody: what is too large is refused below, by limits of our own.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=PHOTO_FORMATS) as image:
                if image.format in ("JPEG", "MPO"):
                    _check_scans(content)
                return _upright_rgb(image)
    except InputError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, far above ours
        raise _too_many_pixels("far more", MAX_PHOTO_PIXELS) from error
    except Exception as error:  # Pillow's decoders raise many kinds, struct.error and SyntaxError among them
        formats = ", ".join(PHOTO_FORMATS)
        raise InputError(f"{name} can't be read as a photo. Send {formats}; if it is one, it is damaged.") from error


def _upright_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if not width * height:
        raise InputError(f"The photo is empty: {width} x {height} pixels. Send another.")
    if max(width, height) > MAX_PHOTO_SIDE:
        raise InputError(
            f"The photo has {width} x {height} pixels; at most {MAX_PHOTO_SIDE} a side are read. Crop it, or shrink it."
        )
    allowed = MAX_JPEG_PIXELS if image.format in ("JPEG", "MPO") else MAX_PHOTO_PIXELS
    if width * height > allowed:
        raise _too_many_pixels(f"{width} x {height}", allowed)
    image.draft("RGB", (SHOWN_SIDE, SHOWN_SIDE))  # lets JPEG decode at a fraction of the size
    orientation = _orientation(image)
    image = _coarser(image)
    if orientation in TO_UPRIGHT:
        image = image.transpose(TO_UPRIGHT[orientation])
    if image.mode.startswith(("I", "F")):  # 16- and 32-bit: stretch to 8 bits, or Pillow clips to white
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        values = (values - values.min()) / max(np.ptp(values), 1e-9)
        image = Image.fromarray((values * 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        image = canvas
    image = image.convert("RGB")
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where EXIF is missing or broken."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF raises many kinds: show the pixels as they are
        return 1


def _coarser(image: Image.Image) -> Image.Image:
    """A photo far larger than shown, at a whole fraction of its size: what comes after needs less memory and time."""
    factor = max(image.size) // (2 * SHOWN_SIDE)
    if factor < 2:
        return image
    if image.mode in ("P", "PA"):  # places in a palette have no average
        return image.resize([-(-side // factor) for side in image.size], Image.Resampling.NEAREST)
    if image.mode == "1" or image.mode.startswith("I;16"):  # Pillow can't average these
        image = image.convert("L" if image.mode == "1" else "I")
    return image.reduce(factor)


def _check_scans(content: bytes) -> None:
    """Refuse a JPEG that makes the decoder go over all pixels again and again: a few MB of scans can take an hour.

    Raises:
        InputError: it has more than ``MAX_JPEG_SCANS`` scans.
    """
    scans, place = 0, 2  # after the start-of-image marker
    while (found := JPEG_MARKER.search(content, place)) and found[1] != END_OF_IMAGE:
        place = found.end()
        if found[1] == START_OF_SCAN:
            scans += 1
        if scans > MAX_JPEG_SCANS:
            raise InputError(f"The photo has more than {MAX_JPEG_SCANS} JPEG scans. Save it anew and send that.")
        place += int.from_bytes(content[place : place + 2], "big")  # the segment's length counts itself


def _too_many_pixels(count: str, allowed: int) -> InputError:
    return InputError(f"The photo has {count} pixels; at most {allowed // 10**6} million are read. Shrink it.")


def photo_to_array(image: Image.Image, size: int, resize: str) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Bring an RGB photo to the square that the image encoder sees.

    Args:
        image: an RGB photo.
        size: side S of the square.
        resize: ``squash`` or ``crop``, see ``ValmConfig``.

    Returns:
        Pixels [3, S, S] in 0..1, float32, and the part of the photo they show as (left, top, right, bottom) in 0..1.
    """
    width, height = image.size
    box = (0.0, 0.0, 1.0, 1.0)
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        box = (left / width, top / height, (left + side) / width, (top + side) / height)
    image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(255), box  # [S, S, 3] -> [3, S, S]


def photo_to_pixels(image: Image.Image, size: int, resize: str) -> tuple[Tensor, tuple[float, float, float, float]]:
    """``photo_to_array`` with a tensor for the array."""
    import torch

    pixels, box = photo_to_array(image, size, resize)
    return torch.from_numpy(pixels), box


def clean_question(question: str) -> str:
    """The question in one line: Unicode NFKC, without control or invisible characters or repeated white space.

    Raises:
        InputError: nothing is left, or it is longer than ``MAX_QUESTION_CHARACTERS``.
    """
    if len(question or "") > 10 * MAX_QUESTION_CHARACTERS:
        raise _too_long(f"{len(question)} characters", f"{MAX_QUESTION_CHARACTERS} characters")
    text = unicodedata.normalize("NFKC", question or "")
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")  # zero-width space, soft hyphen
    text = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in text)
    text = " ".join(text.split())
    if not any(character.isalnum() for character in text):
        raise InputError("The question is empty. Type one, for example: What is in the photo?")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise _too_long(f"{len(text)} characters", f"{MAX_QUESTION_CHARACTERS} characters")
    return text


class QuestionTokenizer:
    """Questions to token ids, and tokens back to the words that a reader sees.

    Args:
        tokenizer: a fast transformers tokenizer.
        max_tokens: longest question, special tokens included.
    """

    def __init__(self, tokenizer: Any, max_tokens: int):
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.tokenizer("")  # drops the padding and truncation of its file, a change that threads must not meet later

    def __call__(self, questions: list[str], truncate: bool = False) -> tuple[Tensor, Tensor]:
        """Questions -> token ids [B, T] and mask [B, T], padded to the longest of them.

        The tokenizer's own padding and truncation change its state, so that two threads could disturb each other; both
        are done here instead. A truncated question keeps its closing special token.

        Raises:
            InputError: a question has more than ``max_tokens`` tokens and ``truncate`` is off.
        """
        import torch

        encoded = self.tokenizer(list(questions)).input_ids
        ids, mask = padded_ids(encoded, self.tokenizer.pad_token_id, self.max_tokens, truncate)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def words(self, question: str) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
        """The words of ``question`` and the word of every token, see ``words_of_pieces``."""
        encoding = self.tokenizer(question, return_offsets_mapping=True, return_special_tokens_mask=True)
        return words_of_pieces(question, encoding["offset_mapping"], encoding["special_tokens_mask"])


def padded_ids(encoded: list[list[int]], pad_id: int, max_tokens: int, truncate: bool) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of several questions -> ids [B, T] and mask [B, T], padded to the longest of them.

    Args:
        encoded: the ids of each question, special tokens included.
        pad_id: fills the rest of the shorter ones.
        max_tokens: longest question.
        truncate: cut longer ones, which keep their closing special token.

    Raises:
        InputError: a question has more than ``max_tokens`` tokens and ``truncate`` is off.
    """
    longest = max(map(len, encoded))
    if longest > max_tokens and not truncate:
        raise _too_long(f"{longest} word pieces (a word has one or more)", str(max_tokens))
    if longest > max_tokens:
        keep = max_tokens - 1
        encoded = [ids if len(ids) <= max_tokens else [*ids[:keep], ids[-1]] for ids in encoded]
    lengths = np.array([len(ids) for ids in encoded])
    mask = np.arange(lengths.max()) < lengths[:, None]  # [B, T]
    padded = np.full(mask.shape, pad_id, dtype=np.int64)
    padded[mask] = np.concatenate(encoded)
    return padded, mask


def _too_long(length: str, allowed: str) -> InputError:
    return InputError(f"The question is too long: {length}, at most {allowed}. Shorten it.")
