"""Photos as people send them: checked, opened upright, and brought to the square that the encoder sees.

torch is imported where it is needed: an exported model reads the same arrays without it.
"""

from __future__ import annotations

import io
import os
import re
import unicodedata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, features

from valm_core.inputs.avif import coded_frames
from valm_core.inputs.text import printable
from valm_core.outputs import InputError, Photo, UnreachablePhoto

if TYPE_CHECKING:
    from torch import Tensor

# Version of what becomes of a photo before an encoder sees it. Raise it with every change of the pixels that come out:
# features in a cache were made from the former ones.
PHOTO_PREPROCESSING = 3


def _photo_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read here: AVIF from Pillow 11.3 on, HEIF where pillow-heif is there."""
    formats = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO"]
    if "avif" in features.modules and features.check("avif"):
        formats.append("AVIF")
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return tuple(formats)
    register_heif_opener()
    return (*formats, "HEIF")


PHOTO_FORMATS = _photo_formats()
PHOTO_ENDINGS = tuple(sorted(end for end, kind in Image.registered_extensions().items() if kind in PHOTO_FORMATS))
MAX_PHOTO_BYTES = 30 * 2**20
MAX_JPEG_PIXELS = 64_000_000  # JPEG decodes at a fraction of its size
MAX_PHOTO_PIXELS = 32_000_000  # the other formats are decoded whole, 4 bytes a pixel
MAX_PHOTO_SIDE = 65_535  # what a JPEG can have; Pillow needs 8 bytes for every row
MAX_JPEG_SCANS = 100  # cameras write at most a dozen; each costs one pass over all pixels
MAX_AVIF_PICTURES = 4  # as large as a photo may be, in one file: colours, transparency, and what phones put beside
MAX_AVIF_FRAMES = 32  # of one picture; cameras write one, and one for each of at most four layers
MAX_SHOWN_NAME = 300  # letters of a path that a message repeats
SHOWN_SIDE = 1600  # longest side of an opened photo: enough for a page, far more than the model sees

JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd8\xff])")  # all but stuffing and markers without a length
START_OF_SCAN, END_OF_IMAGE = b"\xda", b"\xd9"

BESIDE_PHOTOS = (".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r")  # what systems put into every folder
# Folders that systems, photo programs and network drives fill with copies, thumbnails and what was thrown away.
BESIDE_FOLDERS = {"__MACOSX", ".AppleDouble", ".Trashes", "$RECYCLE.BIN", "@eaDir", ".thumbnails"}
SHOWN_PERCENTILES = (0.5, 99.5)  # what becomes black and white of values without a range
MIN_SPREAD = 1 / 16  # of their largest: values that differ by less are one surface, not black and white


def check_size(name: str, size: int) -> None:
    """Refuse a file of more than ``MAX_PHOTO_BYTES`` bytes. Raises InputError."""
    if size > MAX_PHOTO_BYTES:
        raise InputError(
            "{name} has {size} MB; at most {most} MB are read. Shrink it.",
            name=name,
            size=f"{size / 2**20:.0f}",
            most=MAX_PHOTO_BYTES // 2**20,
        )


def open_photo(photo: Photo) -> Image.Image:
    """Open a photo as upright RGB with its longest side at most ``SHOWN_SIDE`` pixels.

    The orientation that the file names is applied and gone from what is returned, so that opening that once more
    changes nothing; of all that a file says beside its pixels only an RGB colour profile is kept. Transparency is laid
    on white, CMYK, palette and grey modes are converted, and so are 16 bits, by their range of 65535; values without a
    range (floats, 32-bit integers) are spread. The first frame of an animation is taken. Size limits are checked before
    any pixel is decoded.

    Raises:
        InputError: no photo, an unreadable file, or one that is too large.
        UnreachablePhoto: there is no such file, or it can't be read now.
    """
    if photo is None:
        raise InputError("There is no photo yet. Upload one, or pick an example.")
    name = printable(Path(photo).name) if isinstance(photo, str | Path) else "The photo"
    try:
        if isinstance(photo, Image.Image):
            return _upright_rgb(photo)
        content = photo if isinstance(photo, bytes) else file_content(Path(photo))
        check_size(name, len(content))
        with warnings.catch_warnings():
            # A warning on standard error helps nobody: what is too large is refused below, by limits of our own.
            warnings.simplefilter("ignore")
            openers = [kind for kind in PHOTO_FORMATS if kind != "MPO"]  # which Pillow opens as a JPEG
            with Image.open(io.BytesIO(content), formats=openers) as image:
                if image.format in ("JPEG", "MPO"):
                    _check_scans(content)
                if image.format == "AVIF":
                    _check_frames(content)
                # Lets JPEG decode at a fraction of the size; an image that someone else opened stays as large as it is.
                image.draft("RGB", (SHOWN_SIDE, SHOWN_SIDE))
                return _upright_rgb(image)
    except InputError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, far above ours
        raise _too_many_pixels("", MAX_PHOTO_PIXELS) from error
    except Exception as error:  # Pillow's decoders raise many kinds, struct.error and SyntaxError among them
        formats = ", ".join(PHOTO_FORMATS)
        raise InputError(
            "{name} can't be read as a photo. Send {formats}; if it is one, it is damaged.", name=name, formats=formats
        ) from error


def as_on_disk(path: Path) -> Path:
    """The path of a file that is there under another Unicode form of its name; any other path as it is.

    macOS stores names decomposed (NFD), and what lists them mostly composes them (NFC): both look alike.
    """
    if str(path).isascii() or os.path.exists(path):
        return path
    found = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        found /= next((form for form in forms if os.path.exists(found / form)), part)
    return found if os.path.exists(found) else path


def file_content(path: Path) -> bytes:
    """A photo's file as it is; only a regular one, since a device could be read without end.

    Raises:
        InputError: it has too many bytes.
        UnreachablePhoto: there is no such file, or it can't be read now.
    """
    path = as_on_disk(path)
    name = printable(path.name)
    if not _is_file(path):
        raise UnreachablePhoto("There is no file '{name}'. Check the path.", name=printable(str(path)[:MAX_SHOWN_NAME]))
    try:
        check_size(name, path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnreachablePhoto(
            "{name} can't be read now: {reason}. Check that it is there and may be read.", name=name, reason=reason
        ) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have: too long
        return False


def _upright_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if not width * height:
        raise InputError("The photo is empty: {width} x {height} pixels. Send another.", width=width, height=height)
    if max(width, height) > MAX_PHOTO_SIDE:
        raise InputError(
            "The photo has {width} x {height} pixels; at most {most} a side are read. Crop it, or shrink it.",
            width=width,
            height=height,
            most=MAX_PHOTO_SIDE,
        )
    allowed = MAX_JPEG_PIXELS if image.format in ("JPEG", "MPO") else MAX_PHOTO_PIXELS
    if width * height > allowed:
        raise _too_many_pixels(f"{width} x {height}", allowed)
    image.load()  # Pillow turns a TIFF here by itself; a PNG may tell its orientation after the pixels
    largest, negative = _largest_value(image), _white_is_zero(image)
    keeps_profile = image.mode.startswith("RGB") and "icc_profile" in image.info
    profile: dict[Any, Any] = {"icc_profile": image.info["icc_profile"]} if keeps_profile else {}
    image = _coarser(_turned_upright(image))
    if image.mode.startswith(("I", "F")):
        clear = image.info.get("transparency")  # a grey value, of PNG
        hidden = np.array(image) == clear if isinstance(clear, int) else None
        image = _eight_bits(image, largest)
        image = ImageOps.invert(image) if negative else image
        if hidden is not None:
            image.paste("white", mask=Image.fromarray(np.uint8(255) * hidden))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        image = canvas
    image = image.convert("RGB")
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    image.info = profile  # without an orientation, which the next reader would apply again
    return image


def _turned_upright(image: Image.Image) -> Image.Image:
    """A loaded image turned as its EXIF or XMP says; as it is where they say nothing or are broken.

    Before it is made smaller, so that a turned photo gives the very pixels of the upright one.
    """
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:  # exif_transpose would copy it
            return image
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF raises many kinds: show the pixels as they are
        return image


def _largest_value(image: Image.Image) -> int | None:
    """The value that is white in a mode of 16 bits; None in a mode without such a value."""
    if image.mode.startswith("I;16"):
        bits = image.tag_v2.get(ExifTags.Base.BitsPerSample) if hasattr(image, "tag_v2") else None
        return 2 ** (bits[0] if bits else 16) - 1  # a TIFF may have 12
    return 65535 if image.mode == "I" and image.format == "PNG" else None  # as Pillow read 16-bit PNGs before


def _white_is_zero(image: Image.Image) -> bool:
    """Whether the file's zero is white, in a mode where Pillow doesn't turn that round itself."""
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith(("I", "F")) and tags.get(ExifTags.Base.PhotometricInterpretation) == 0


def _eight_bits(image: Image.Image, largest: int | None) -> Image.Image:
    """Grey values of 16 or 32 bits or floats as 8 bits, which Pillow would clip to white."""
    values = np.array(image, dtype=np.float32)
    lowest, span = _spread(values) if largest is None else (0.0, float(largest))
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond all bounds is clipped below
        values -= lowest  # in place: the largest photos have 100 MB of these
        values *= 255 / span
    np.nan_to_num(values, copy=False, nan=0, posinf=255, neginf=0)
    np.clip(values, 0, 255, out=values)
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def _spread(values: np.ndarray) -> tuple[float, float]:
    """What becomes black, and how far above it white lies, for values [height, width] without a range of their own."""
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = map(float, np.percentile(values, SHOWN_PERCENTILES))
    if low == high:  # less than a hundredth differs from the rest: a star in the sky
        low, high = float(values.min()), float(values.max())
    span = max(high - low, MIN_SPREAD * max(abs(low), abs(high)), 1e-9)
    return (low + high - span) / 2, span


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


def photos_in(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """The photos in a folder and its folders, and the other files there, both by name.

    A photo is what has an ending of ``PHOTO_ENDINGS``. What systems put beside people's files is passed over, see
    ``is_companion``. A link to a folder isn't followed, since it may lead in a circle: it is among the others.
    """
    photos: list[Path] = []
    others: list[Path] = []
    for path in sorted(Path(folder).rglob("*")):
        is_folder = path.is_dir() and not path.is_symlink()
        if not is_folder and not is_companion(path.relative_to(folder)):
            (photos if path.suffix.lower() in PHOTO_ENDINGS else others).append(path)
    return photos, others


def is_companion(path: Path) -> bool:
    """Whether a system made this file beside a person's: ``._a.jpg`` of macOS, ``.DS_Store``, all in ``__MACOSX``, the
    thumbnails in ``@eaDir`` of network drives."""
    return path.name.startswith("._") or path.name in BESIDE_PHOTOS or not BESIDE_FOLDERS.isdisjoint(path.parts)


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
            raise InputError(
                "The photo has more than {most} JPEG scans. Save it anew and send that.", most=MAX_JPEG_SCANS
            )
        place += int.from_bytes(content[place : place + 2], "big")  # the segment's length counts itself


def _check_frames(content: bytes) -> None:
    """Refuse an AVIF whose frames are larger, or more, than its container claims: two KB can take gigabytes.

    Raises:
        InputError: a frame, or all of them, have more pixels than a photo may have, or there are too many.
        ValueError: the file is damaged.
    """
    pictures = coded_frames(content)
    if not pictures:
        raise ValueError("the AVIF file has no picture")
    largest, total = max(picture.pixels for picture in pictures), sum(picture.pixels for picture in pictures)
    if largest > MAX_PHOTO_PIXELS or total > MAX_AVIF_PICTURES * MAX_PHOTO_PIXELS:
        raise _too_many_pixels(f"{total / 1e6:.0f} million", MAX_PHOTO_PIXELS)
    if max(picture.count for picture in pictures) > MAX_AVIF_FRAMES:
        raise InputError("The photo has more than {most} frames. Save it anew and send that.", most=MAX_AVIF_FRAMES)


def _too_many_pixels(count: str, allowed: int) -> InputError:
    most = allowed // 10**6
    if not count:
        return InputError("The photo has far more pixels; at most {most} million are read. Shrink it.", most=most)
    return InputError(
        "The photo has {count} pixels; at most {most} million are read. Shrink it.", count=count, most=most
    )


def photo_to_array(image: Image.Image, size: int, detail: int = 0) -> np.ndarray:
    """All of an RGB photo squashed to the square of side S = ``size`` that the image encoder sees.

    Args:
        image: the photo.
        size: S.
        detail: side of the square that it is squashed to before, so that nothing finer is left in it; 0 for none.

    Returns:
        Pixels [3, S, S] in 0..1, float32.
    """
    for side in (detail, size) if detail else (size,):
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)  # [S, S, 3] -> [3, S, S]


def photo_to_pixels(image: Image.Image, size: int, detail: int = 0) -> Tensor:
    """``photo_to_array`` with a tensor for the array."""
    import torch

    return torch.from_numpy(photo_to_array(image, size, detail))
