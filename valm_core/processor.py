"""From what a person sends to what the model reads: photos to pixels, questions to token ids."""

import io
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from valm_core.outputs import InputError

PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO")
MAX_PHOTO_BYTES = 30 * 2**20
MAX_PHOTO_PIXELS = 64_000_000
SHOWN_SIDE = 1600  # longest side of an opened photo: enough for a page, far more than the model sees
MAX_QUESTION_CHARACTERS = 300

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
        name, size, source = "The photo", len(photo), io.BytesIO(photo)
    else:
        path = Path(photo)
        if not path.is_file():
            raise InputError(f"There is no file {str(photo)!r}. Check the path.")
        name, size, source = path.name, path.stat().st_size, path
    if size > MAX_PHOTO_BYTES:
        raise InputError(
            f"{name} has {size / 2**20:.0f} MB; at most {MAX_PHOTO_BYTES // 2**20} MB are read. Shrink it."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own size warning: ours below is stricter
            with Image.open(source, formats=PHOTO_FORMATS) as image:
                return _upright_rgb(image)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds, struct.error and SyntaxError among them
        raise InputError(f"{name} can't be read as a photo ({', '.join(PHOTO_FORMATS)}): {error}") from error


def _upright_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PHOTO_PIXELS:
        raise InputError(
            f"The photo has {width} x {height} pixels; at most {MAX_PHOTO_PIXELS // 10**6} million are read. Shrink it."
        )
    image.draft("RGB", (SHOWN_SIDE, SHOWN_SIDE))  # lets JPEG decode at a fraction of the size
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF: show the pixels as they are
        image.load()
    if image.mode.startswith(("I", "F")):  # 16- and 32-bit: stretch to 8 bits, or Pillow clips to white
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        values = (values - values.min()) / max(np.ptp(values), 1e-9)
        image = Image.fromarray((values * 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    return image


def photo_to_pixels(image: Image.Image, size: int, resize: str) -> tuple[Tensor, tuple[float, float, float, float]]:
    """Bring an RGB photo to the square that the image encoder sees.

    Args:
        image: an RGB photo.
        size: side S of the square.
        resize: ``squash`` or ``crop``, see ``ValmConfig``.

    Returns:
        Pixels [3, S, S] in 0..1, and the part of the photo they show as (left, top, right, bottom) in 0..1.
    """
    width, height = image.size
    box = (0.0, 0.0, 1.0, 1.0)
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        box = (left / width, top / height, (left + side) / width, (top + side) / height)
    image = image.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255, box  # [S, S, 3] -> [3, S, S]


def clean_question(question: str) -> str:
    """The question in one line: Unicode NFKC, control characters and repeated white space removed.

    Raises:
        InputError: nothing is left, or it is longer than ``MAX_QUESTION_CHARACTERS``.
    """
    if len(question or "") > 10 * MAX_QUESTION_CHARACTERS:
        raise _too_long(f"{len(question)} characters", f"{MAX_QUESTION_CHARACTERS} characters")
    text = unicodedata.normalize("NFKC", question or "")
    text = "".join(" " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in text)
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

    def __init__(self, tokenizer, max_tokens: int):
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens

    def __call__(self, questions: list[str], truncate: bool = False) -> tuple[Tensor, Tensor]:
        """Questions -> token ids [B, T] and mask [B, T], padded to the longest of them.

        Raises:
            InputError: a question has more than ``max_tokens`` tokens and ``truncate`` is off.
        """
        encoding = self.tokenizer(
            questions,
            padding=True,
            truncation=truncate,
            max_length=self.max_tokens if truncate else None,
            return_tensors="pt",
        )
        if encoding.input_ids.shape[1] > self.max_tokens:
            raise _too_long(f"{encoding.input_ids.shape[1]} word pieces", str(self.max_tokens))
        return encoding.input_ids, encoding.attention_mask.bool()

    def words(self, question: str) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
        """The words of ``question``, split at white space, and for every token the word it belongs to.

        Special tokens belong to no word (None).
        """
        encoding = self.tokenizer(question, return_offsets_mapping=True, return_special_tokens_mask=True)
        starts = [index for index in range(len(question)) if not question[index].isspace()]
        word_at, word = {}, -1
        for index in starts:
            if index == 0 or question[index - 1].isspace():
                word += 1
            word_at[index] = word
        token_words = tuple(
            None if special else word_at[start]
            for (start, _), special in zip(encoding["offset_mapping"], encoding["special_tokens_mask"], strict=True)
        )
        return tuple(question.split()), token_words


def _too_long(length: str, allowed: str) -> InputError:
    return InputError(f"The question is too long: {length}, at most {allowed}. Shorten it.")
