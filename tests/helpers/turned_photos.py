"""One scene as cameras store it: turned, with the orientation that puts it upright again, in every format."""

import io
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

ORIENTATIONS = range(1, 9)
STORED = {  # orientation: what turns the upright scene into the stored one; the reverse of what a reader does
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "quality": 0, "method": 0}, "TIFF": {}}
LOSSY = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "AVIF": {"quality": 95, "subsampling": "4:4:4", "speed": 10},
    "HEIF": {"quality": 95, "chroma": 444},
}


def scene(width: int, height: int) -> Image.Image:
    """Soft patches of colour, no two corners alike."""
    patches = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def stored(upright: Image.Image, orientation: int, kind: str, **more) -> bytes:
    """The file of ``upright`` as a camera that was held so writes it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "a camera"
    turned = upright.transpose(STORED[orientation]) if orientation in STORED else upright
    content = io.BytesIO()
    # As bytes: pillow-heif reads the orientation out of them, and stores it as HEIF does, as a property of the picture.
    turned.save(content, kind, exif=exif.tobytes(), **{**LOSSLESS, **LOSSY}.get(kind, {}), **more)
    return content.getvalue()


def write_turned(folder: Path) -> tuple[Path, list[Path]]:
    """An upright PNG, and the same pixels in all orientations and lossless formats; every file its own name."""
    upright = scene(90, 60)
    upright.save(folder / "upright.png")
    turned = []
    for kind in LOSSLESS:
        for orientation in ORIENTATIONS:
            turned.append(folder / f"{orientation}.{kind.lower()}")
            turned[-1].write_bytes(stored(upright, orientation, kind))
    return folder / "upright.png", turned
