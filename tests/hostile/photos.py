"""Photos that someone could send to break the app, made afresh every time: damaged, disguised, huge, and merely odd."""

import io
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageCms

KINDS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tiff"}
SCRIPT = "<script>alert(document.domain)</script>"
PICTURE = Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 60).convert("RGB")


@dataclass(frozen=True)
class HostilePhoto:
    """A file by name and content; ``opened`` says whether it must open, must be refused, or (None) may do either."""

    name: str
    content: bytes
    opened: bool | None


def hostile_photos(large: bool = False) -> Iterator[HostilePhoto]:
    """The corpus, over 300 files in the same order and with the same bytes every time.

    Args:
        large: with those of tens of megapixels, which take a second each.
    """
    yield from _odd_but_right()
    yield from _damaged()
    yield from _disguised()
    yield from _with_strange_metadata()
    yield from _bombs()
    yield from _mutated(150)
    if large:
        yield from _large()


@cache
def corpus() -> tuple[HostilePhoto, ...]:
    """The corpus without large photos, made once for all tests of a process."""
    return tuple(hostile_photos())


def saved(image: Image.Image, kind: str, **options) -> bytes:
    """An image as a file of that kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG with its right checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, pixels: bytes | None = None, depth: int = 8, colour: int = 2, extra: bytes = b""):
    """A PNG of a claimed size; ``pixels`` None puts almost no data in it."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"\0" * 10 if pixels is None else pixels)
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def black_png(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that really has all its pixels, all 0: a small file however large the picture."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = 1 + (width * channels * depth + 7) // 8
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(bytes(row)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A grey progressive JPEG whose every scan makes the decoder pass over all pixels and changes nothing."""

    def segment(marker: int, data: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data

    one_code = bytes([1] + [0] * 15)  # a Huffman table with a single symbol, whose code is the bit 0
    blocks = -(-width // 8) * -(-height // 8)
    runs = -(-blocks // 2**14)
    header = (
        b"\xff\xd8"
        + segment(0xDB, bytes([0]) + bytes([1] * 64))
        + segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))
        + segment(0xC4, b"\0" + one_code + b"\0")  # DC: no difference
        + segment(0xC4, b"\x10" + one_code + b"\xe0")  # AC: nothing in the next 2**14 blocks
        + segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0]))
        + bytes(blocks // 8 + 1)
    )
    scan = segment(0xDA, bytes([1, 1, 0x00, 1, 63, 0])) + bytes(-(-15 * runs // 8))
    return header + scan * scans + b"\xff\xd9"


def _odd_but_right() -> Iterator[HostilePhoto]:
    for kind, ending in KINDS.items():
        yield HostilePhoto(f"plain.{ending}", saved(PICTURE, kind), True)
        yield HostilePhoto(f"one_pixel.{ending}", saved(PICTURE.resize((1, 1)), kind), True)
        for size in ((1, 20_000), (20_000, 1)):
            if kind != "WEBP":  # WebP ends at 16383
                yield HostilePhoto(f"{size[0]}_by_{size[1]}.{ending}", saved(PICTURE.resize(size), kind), True)
    for orientation in (*range(1, 9), 0, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            yield HostilePhoto(f"exif_{orientation}.{KINDS[kind]}", saved(PICTURE, kind, exif=exif), True)
    for mode in ("1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"):
        for kind in ("TIFF", "PNG", "JPEG", "GIF", "BMP", "WEBP"):
            try:
                yield HostilePhoto(
                    f"mode_{mode}.{KINDS[kind]}",
                    saved(_in_mode(mode), kind),
                    None if (mode, kind) == ("YCbCr", "TIFF") else True,  # Pillow can't read what it writes there
                )
            except (OSError, KeyError, ValueError):  # this format has no such mode
                continue
    values = np.linspace(-1e30, 1e30, 600, dtype=np.float32).reshape(20, 30)
    for name, odd in (("huge", values), ("nan", values * np.nan), ("infinite", values * np.inf)):
        yield HostilePhoto(f"float_{name}.tiff", saved(Image.fromarray(odd.astype(np.float32)), "TIFF"), True)
    frames = [PICTURE.rotate(angle) for angle in range(0, 360, 20)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        animated = saved(PICTURE, kind, save_all=True, append_images=frames)
        yield HostilePhoto(f"animated.{KINDS[kind]}", animated, True)
    yield HostilePhoto("animated_50000_frames.gif", _many_frames(50_000), True)
    transparent = PICTURE.convert("RGBA")
    transparent.putalpha(0)
    for kind in ("PNG", "WEBP", "TIFF"):
        yield HostilePhoto(f"wholly_transparent.{KINDS[kind]}", saved(transparent, kind), True)
    for wrong in ("png", "gif", "txt", "svg", "html", "exe", ""):
        yield HostilePhoto(f"jpeg_named.{wrong}", saved(PICTURE, "JPEG"), True)
    for name in ("<img src=x onerror=alert(1)>.png", "; rm -rf ~.png", "$(id).png", "a" * 200 + ".png", "=1+1.png"):
        yield HostilePhoto(name, saved(PICTURE, "PNG"), True)
    for name in ("..png", "😀\u202egnp.exe.png", "con.png", " .png", "%2e%2e%2fetc.png", "a\nb.png"):
        yield HostilePhoto(name, saved(PICTURE, "PNG"), True)


def _in_mode(mode: str) -> Image.Image:
    if mode == "LAB":
        change = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        converted = ImageCms.applyTransform(PICTURE, change)
        converted.info.clear()  # its profile holds the time
        return converted
    if mode in ("I;16", "I"):
        values = np.asarray(PICTURE.convert("L"))
        return Image.fromarray(values.astype(np.uint16) * 257 if mode == "I;16" else values.astype(np.int32) * 100_000)
    if mode in ("LA", "PA"):
        return PICTURE.convert("L" if mode == "LA" else "P").convert(mode)
    return PICTURE.convert(mode)


def _many_frames(count: int) -> bytes:
    whole = saved(Image.new("P", (2, 2)), "GIF")
    frame = whole[whole.index(b",") : -1]  # from the image separator to the trailer
    return whole[:-1] + frame * (count - 1) + b";"


def _damaged() -> Iterator[HostilePhoto]:
    yield HostilePhoto("zero_bytes.jpg", b"", False)
    yield HostilePhoto("zeros.jpg", bytes(10_000), False)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8))
    for kind, ending in KINDS.items():
        whole = saved(noise, kind)
        yield HostilePhoto(f"signature_only.{ending}", whole[:12], False)
        for percent in (2, 10, 25, 50, 75):
            yield HostilePhoto(f"first_{percent}_percent.{ending}", whole[: len(whole) * percent // 100], False)
        yield HostilePhoto(f"last_byte_missing.{ending}", whole[:-1], None)
        yield HostilePhoto(f"rubbish_behind.{ending}", whole + SCRIPT.encode() * 100, True)
        yield HostilePhoto(f"twice.{ending}", whole * 2, None)
        yield HostilePhoto(f"zeros_inside.{ending}", whole[: len(whole) // 2] + bytes(len(whole) // 2), None)
    yield HostilePhoto("no_pixels.png", png(0, 5), False)
    yield HostilePhoto("wrong_checksum.png", saved(PICTURE, "PNG")[:-6] + b"\0\0\0\0\0\0", None)
    yield HostilePhoto("missing_data.png", png(50, 50), False)


def _disguised() -> Iterator[HostilePhoto]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("../../evil.txt"), bytes(10_000_000), zipfile.ZIP_DEFLATED)

    class Runs:
        def __reduce__(self):
            return eval, ("1/0",)

    svg = f'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">{SCRIPT}</svg>'
    entity = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + svg.replace(SCRIPT, "&b;")
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n"
    contents = {
        "svg": svg.encode(),
        "svg_entity": entity.encode(),
        "html": f"<!doctype html><html>{SCRIPT}</html>".encode(),
        "zip": archive.getvalue(),
        "pickle": pickle.dumps(Runs()),
        "postscript": postscript,
        "pdf": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj",
        "elf": b"\x7fELF" + bytes(200),
        "shell": b"#!/bin/sh\nid\n",
        "python": b"import os; os.system('id')",
        "mvg": b"push graphic-context\nfill 'url(https://127.0.0.1/|id)'\npop graphic-context",
        "xml_bomb": b'<!DOCTYPE l [<!ENTITY a "aaaaaaaa">]><l>' + b"&a;" * 10_000 + b"</l>",
        "avif": b"\0\0\0 ftypavif" + bytes(64),
        "heic": b"\0\0\0 ftypheic" + bytes(64),
        "ico": saved(PICTURE, "ICO"),
        "ppm": b"P6 10 10 255\n" + bytes(300),
    }
    for what, content in contents.items():
        for ending in ("jpg", "png"):
            yield HostilePhoto(f"{what}.{ending}", content, False)
    both = b"GIF89a/*" + SCRIPT.encode() + b"*/=1;"
    yield HostilePhoto("gif_and_script.gif", both, False)


def _with_strange_metadata() -> Iterator[HostilePhoto]:
    for number, rubbish in enumerate(
        (b"\xff" * 40, b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 60, b"II*\0" + bytes(3), b"")
    ):
        for kind in ("JPEG", "PNG", "WEBP"):
            content = saved(PICTURE, kind, exif=b"Exif\0\0" + rubbish)
            yield HostilePhoto(f"broken_exif_{number}.{KINDS[kind]}", content, True)
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            content = saved(PICTURE, kind, icc_profile=rubbish or b"x")
            yield HostilePhoto(f"broken_profile_{number}.{KINDS[kind]}", content, True)
    circle = b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0"  # its EXIF part is itself
    yield HostilePhoto("exif_circle.jpg", saved(PICTURE, "JPEG", exif=b"Exif\0\0" + circle), True)
    many = struct.pack("<H", 60_000) + struct.pack("<HHII", 0x0112, 3, 2**31, 8) * 5000
    yield HostilePhoto("exif_60000_tags.jpg", saved(PICTURE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + many), True)
    for kind in ("JPEG", "PNG", "GIF"):
        content = saved(PICTURE, kind, comment=SCRIPT.encode()) if kind != "PNG" else saved(PICTURE, kind)
        yield HostilePhoto(f"script_in_comment.{KINDS[kind]}", content, True)
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))
    yield HostilePhoto("text_bomb.png", png(1, 1, b"\0" * 4, extra=text), None)
    profile = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))
    yield HostilePhoto("profile_bomb.png", png(1, 1, b"\0" * 4, extra=profile), None)
    yield HostilePhoto("20000_chunks.png", png(1, 1, b"\0" * 4, extra=png_chunk(b"tEXt", b"a\0b") * 20_000), None)


def _bombs() -> Iterator[HostilePhoto]:
    """Headers that claim far more pixels than there are, and small files that unpack to far too many."""
    for width, height in ((100_000, 100_000), (30_000, 30_000), (2**31 - 1, 1), (65_536, 1), (10_000, 10_000)):
        yield HostilePhoto(f"claims_{width}_by_{height}.png", png(width, height), False)
    small = {kind: bytearray(saved(PICTURE.quantize() if kind == "GIF" else PICTURE, kind)) for kind in KINDS}
    places = {"GIF": [(6, "<HH")], "BMP": [(18, "<II")]}
    for kind, spots in places.items():
        content = small[kind]
        for place, form in spots:
            struct.pack_into(form, content, place, 50_000, 50_000)
        yield HostilePhoto(f"claims_50000_by_50000.{KINDS[kind]}", bytes(content), None if kind == "GIF" else False)
    frame = small["GIF"].index(b",", 13)
    struct.pack_into("<HH", small["GIF"], frame + 5, 50_000, 50_000)
    yield HostilePhoto("claims_50000_by_50000_frame.gif", bytes(small["GIF"]), False)
    start = small["JPEG"].index(b"\xff\xc0")
    struct.pack_into(">HH", small["JPEG"], start + 5, 65_000, 65_000)
    yield HostilePhoto("claims_65000_by_65000.jpg", bytes(small["JPEG"]), False)
    yield HostilePhoto("claims_16384_by_16384.webp", _claimed_webp(16_384, 16_384), False)
    for tag, value in ((256, 200_000), (257, 200_000), (278, 2**31), (277, 60_000), (258, 60_000), (273, 2**32 - 1)):
        yield HostilePhoto(f"tag_{tag}_is_{value}.tiff", _tiff_with(tag, value), None if tag in (278, 258) else False)
    yield HostilePhoto("pages_in_a_circle.tiff", _tiff_circle(), None)
    yield HostilePhoto("2000_scans.jpg", many_scans(512, 512, 2000), False)


def _claimed_webp(width: int, height: int) -> bytes:
    canvas = (
        b"VP8X" + struct.pack("<II", 10, 2) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", len(canvas) + 4) + b"WEBP" + canvas


def _tiff_with(tag: int, value: int) -> bytes:
    """A TIFF with one tag's value changed."""
    content = bytearray(saved(PICTURE, "TIFF"))
    place = struct.unpack_from("<I", content, 4)[0]
    for entry in range(struct.unpack_from("<H", content, place)[0]):
        spot = place + 2 + 12 * entry
        if struct.unpack_from("<H", content, spot)[0] == tag:
            struct.pack_into("<HII", content, spot + 2, 4, 1, value)
    return bytes(content)


def _tiff_circle() -> bytes:
    content = bytearray(saved(PICTURE, "TIFF"))
    place = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, place)[0]
    struct.pack_into("<I", content, place + 2 + 12 * count, place)
    return bytes(content)


def _mutated(count: int) -> Iterator[HostilePhoto]:
    """Right files with a few bytes changed, moved or taken out."""
    chance = random.Random(8)
    sources = [(kind, saved(PICTURE, kind)) for kind in KINDS]
    sources += [("JPEG", saved(PICTURE, "JPEG", progressive=True)), ("GIF", _many_frames(20))]
    sources += [("TIFF", saved(PICTURE, "TIFF", compression=how)) for how in ("tiff_lzw", "jpeg", "packbits")]
    for number in range(count):
        kind, content = sources[number % len(sources)]
        yield HostilePhoto(f"mutated_{number}.{KINDS[kind]}", mutated(content, chance), None)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The same file with one to twenty small changes, most of them in its first 200 bytes."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 20)):
        place = chance.randrange(min(len(changed), chance.choice((200, 200, len(changed)))))
        match chance.randrange(4):
            case 0:
                changed[place] = chance.randrange(256)
            case 1:
                changed[place] ^= 1 << chance.randrange(8)
            case 2:
                changed[place : place + 4] = chance.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
            case 3:
                del changed[place : place + chance.randint(1, 30)]
    return bytes(changed)


def _large() -> Iterator[HostilePhoto]:
    """Just within what is allowed, in the forms that need most memory, and just beyond."""
    yield HostilePhoto("32_megapixels_rgb.png", black_png(8000, 4000), True)
    yield HostilePhoto("32_megapixels_alpha_16_bit.png", black_png(8000, 4000, 16, 6), True)
    yield HostilePhoto("32_megapixels_grey_16_bit.png", black_png(8000, 4000, 16, 0), True)
    yield HostilePhoto("26_megapixels_alpha.png", black_png(6399, 4063, 8, 6), True)
    for mode in ("F", "I"):
        image = Image.new(mode, (8000, 4000))
        yield HostilePhoto(f"32_megapixels_{mode}.tiff", saved(image, "TIFF", compression="tiff_adobe_deflate"), True)
    image = Image.new("RGBA", (8000, 4000))
    yield HostilePhoto("32_megapixels.webp", saved(image, "WEBP", lossless=True, quality=0, method=0), True)
    yield HostilePhoto("32_megapixels.gif", saved(Image.new("P", (8000, 4000)), "GIF", transparency=0), True)
    yield HostilePhoto("64_megapixels.jpg", saved(Image.new("RGB", (8000, 8000)), "JPEG"), True)
    yield HostilePhoto(
        "64_megapixels_progressive.jpg", saved(Image.new("RGB", (8000, 8000)), "JPEG", progressive=True), True
    )
    yield HostilePhoto("64_megapixels_90_scans.jpg", many_scans(8000, 8000, 90), None)
    yield HostilePhoto("100_megapixels.jpg", saved(Image.new("L", (10_000, 10_000)), "JPEG"), False)
    yield HostilePhoto("100_megapixels.png", black_png(10_000, 10_000, 8, 0), False)
    yield HostilePhoto("1_by_65535.png", black_png(1, 65_535), True)
    yield HostilePhoto("31_megabytes.jpg", saved(PICTURE, "JPEG") + bytes(31 * 2**20), False)
