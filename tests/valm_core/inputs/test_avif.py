"""AVIF files: what their frames really have is read before they are decoded, and what hides more is refused."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, features

from valm_core.inputs import photo
from valm_core.inputs.avif import Frames, coded_frames
from valm_core.inputs.photo import open_photo
from valm_core.outputs import InputError

pytestmark = pytest.mark.skipif("AVIF" not in photo.PHOTO_FORMATS, reason="this Pillow reads no AVIF")


def saved(image: Image.Image, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, "AVIF", speed=10, **options)
    return content.getvalue()


def claiming(content: bytes, width: int, height: int) -> bytes:
    """The same file, whose container says another size."""
    changed = bytearray(content)
    place = content.index(b"ispe") + 8
    changed[place : place + 8] = struct.pack(">II", width, height)
    return bytes(changed)


def test_pillow_with_avif_reads_avif():
    assert features.check("avif")


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (200, 150), (513, 9)])
def test_the_size_of_the_coded_frame_is_read(size):
    assert coded_frames(saved(Image.new("RGB", size, "red"))) == [Frames(size[0] * size[1], 1)]


def test_transparency_is_a_picture_of_its_own():
    image = Image.new("RGBA", (40, 30), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 20, 30))
    content = saved(image, quality=100)
    assert coded_frames(content) == [Frames(1200, 1)] * 2
    opened = open_photo(content)
    assert min(opened.getpixel((5, 5))) > 245 and opened.getpixel((35, 5))[1] < 20


def test_the_first_frame_of_an_animation_is_taken():
    red, blue = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")
    content = saved(red, save_all=True, append_images=[blue] * 50)
    assert {picture.pixels for picture in coded_frames(content)} == {1200}
    opened = open_photo(content)
    assert opened.getpixel((5, 5))[0] > 200 and opened.getpixel((5, 5))[2] < 60


@pytest.mark.parametrize("claimed", [(64, 64), (3000, 3000)])
def test_a_frame_larger_than_the_container_says_is_refused_before_decoding(monkeypatch, claimed):
    monkeypatch.setattr(photo, "MAX_PHOTO_PIXELS", 10**6)
    content = saved(Image.new("L", (1200, 900)))
    assert coded_frames(content) == [Frames(1_080_000, 1)]

    def decode(*_):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.AvifImagePlugin.AvifImageFile.load", decode)
    for told in (content, claiming(content, *claimed)):
        with pytest.raises(InputError, match="1 million pixels; at most 1 million"):
            open_photo(told)


def test_many_pictures_and_many_frames_are_refused(monkeypatch):
    content = saved(Image.new("RGB", (40, 30), "red"))
    monkeypatch.setattr(photo, "coded_frames", lambda _: [Frames(30_000_000, 1)] * 5)
    with pytest.raises(InputError, match="150 million pixels"):
        open_photo(content)
    monkeypatch.setattr(photo, "coded_frames", lambda _: [Frames(1200, 33)])
    with pytest.raises(InputError, match="more than 32 frames"):
        open_photo(content)


def test_hidden_frames_are_counted():
    content = saved(Image.new("RGB", (40, 30), "red"))
    place = content.index(b"mdat") + 4
    frame = content[place:]
    assert frame[0] >> 3 & 15 in (1, 2)  # the first unit: a sequence header, or what divides pictures
    directory = content[: place - 8]
    longer = directory.replace(struct.pack(">I", len(frame)), struct.pack(">I", 3 * len(frame)), 1)
    assert longer != directory  # the length that iloc gives
    changed = longer + struct.pack(">I", 8 + 3 * len(frame)) + b"mdat" + frame * 3
    assert coded_frames(changed) == [Frames(1200, 3)]


def test_a_damaged_file_is_refused_and_never_ends_otherwise():
    content = saved(Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 50).convert("RGB"))
    random = np.random.default_rng(0)
    for _ in range(3000):
        changed = bytearray(content)
        for place in random.integers(0, 400, random.integers(1, 4)):
            changed[place] = random.integers(256)
        try:
            coded_frames(bytes(changed[: random.integers(200, len(content) + 1)]))
        except ValueError:
            continue


def test_a_directory_that_costs_more_than_its_bytes_is_refused():
    def box(kind: bytes, *parts: bytes) -> bytes:
        inner = b"".join(parts)
        return struct.pack(">I", len(inner) + 8) + kind + inner

    entry = box(b"infe", struct.pack(">IHH4sB", 2 << 24, 1, 0, b"av01", 0))
    items = box(b"iinf", struct.pack(">IH", 0, 1), entry)
    whole = (b"\0\0\0\0", b"\0" * 8)
    for sizes, part, parts in (
        (0x0000, b"", 65_535),
        (0x0400, b"\0\0\1\0", 3),
        (0x4400, b"\0\0\0\0\x7f\xff\xff\xff", 1),
    ):
        places = struct.pack(">IHHHHH", 0, sizes, 1, 1, 0, parts) + part * parts
        file = box(b"meta", whole[0], items, box(b"iloc", places)) + box(b"mdat", *whole)
        with pytest.raises(ValueError, match="AVIF"):
            coded_frames(file)
    with pytest.raises(ValueError, match="boxes"):
        coded_frames(box(b"free") * 20_000)
    with pytest.raises(ValueError, match="too large"):
        coded_frames(box(b"meta", bytes(2**21)))
