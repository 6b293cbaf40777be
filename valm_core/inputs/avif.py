"""How large and how many the frames are that an AVIF file makes a decoder decode, read before anything is decoded.

The size that the file's container claims binds nobody: the AV1 frame inside may be 16384 x 16384 in two kilobytes, and
hidden frames may precede the shown one. Layout: ISO/IEC 14496-12 and 23008-12; AV1 Bitstream & Decoding Process
Specification, https://aomediacodec.github.io/av1-spec/, sections 5.3 to 5.5.
"""

from collections.abc import Iterator
from dataclasses import dataclass

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6  # types of OBUs, the units of AV1
MAX_PARTS = 10_000  # boxes in one box, parts of a picture, units of AV1: files of cameras have tens
MAX_DIRECTORY_BYTES = 2**20  # of a box that tells where pictures lie; cameras need some thousand
INTO_TRACK = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


@dataclass(frozen=True)
class Frames:
    """One coded picture: the pixels that its largest frame may have, and how many frames it has."""

    pixels: int
    count: int


def coded_frames(content: bytes) -> list[Frames]:
    """The coded pictures in an AVIF file: colours, transparency, parts of a grid; of an animation the first of each.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return [_frames(data) for data in _coded_data(content)]
    except (IndexError, RecursionError) as error:
        raise ValueError("the AVIF file ends too early") from error


class _Reader:
    """Big-endian numbers of whole bytes, one after the other. Raises IndexError at the end."""

    def __init__(self, content: bytes, place: int = 0):
        self.content, self.place = content, place

    def take(self, size: int) -> bytes:
        part = self.content[self.place : self.place + size]
        if len(part) < size:
            raise IndexError(self.place)
        self.place += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


class _Bits:
    """Bits of an OBU, one after the other. Raises IndexError at the end."""

    def __init__(self, content: bytes):
        self.content, self.place = content, 0

    def number(self, bits: int) -> int:
        value = 0
        for _ in range(bits):
            value = 2 * value + (self.content[self.place // 8] >> (7 - self.place % 8) & 1)
            self.place += 1
        return value

    def skip_variable(self) -> None:
        zeros = 0
        while not self.number(1):
            zeros += 1
        self.number(zeros if zeros < 32 else 0)


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The boxes in a file or in another box: type and what is in it."""
    reader = _Reader(content)
    for _ in range(MAX_PARTS):
        start = reader.place
        if start == len(content):
            return
        size, kind = reader.number(4), reader.take(4)
        if size == 1:
            size = reader.number(8)
        end = start + size if size else len(content)
        if end < reader.place or end > len(content):
            raise ValueError(f"the AVIF file's box {kind!r} has a wrong size")
        yield kind, content[reader.place : end]
        reader.place = end
    raise ValueError(f"the AVIF file has more than {MAX_PARTS} boxes in one place")


def _inside(content: bytes, kinds: tuple[bytes, ...]) -> Iterator[bytes]:
    """What is in the boxes that lie in one another."""
    for kind, inner in _boxes(content):
        if kind == kinds[0]:
            yield from _inside(inner, kinds[1:]) if kinds[1:] else (inner,)


def _coded_data(content: bytes) -> Iterator[bytes]:
    """What the file gives to AV1 decoders."""
    if any(kind in (b"meta", b"moov") and len(inner) > MAX_DIRECTORY_BYTES for kind, inner in _boxes(content)):
        raise ValueError("the AVIF file's directory is too large")
    for meta in _inside(content, (b"meta",)):
        yield from _items(content, dict(_boxes(meta[4:])))
    for table in _inside(content, INTO_TRACK):
        yield from _first_sample(content, dict(_boxes(table)))


def _items(content: bytes, meta: dict[bytes, bytes]) -> Iterator[bytes]:
    coded, total = _coded_items(meta.get(b"iinf", b"")), 0
    for number, method, extents in _places(meta.get(b"iloc", b"")):
        if number not in coded:
            continue
        source = content if method == 0 else meta.get(b"idat", b"")
        total += sum(length or len(source) for _, length in extents)
        if method > 1 or total > 2 * len(content):  # parts may overlap, but not to copy a file a thousand times
            raise ValueError("the AVIF file's pictures are larger than itself")
        yield b"".join(source[start : start + length] if length else source[start:] for start, length in extents)


def _coded_items(box: bytes) -> set[int]:
    """The numbers of items that are AV1 pictures."""
    reader = _Reader(box)
    if not box:
        return set()
    version = reader.number(4) >> 24
    reader.number(2 if version == 0 else 4)
    found = set()
    for kind, entry in _boxes(box[reader.place :]):
        item = _Reader(entry)
        if kind == b"infe" and (version := item.number(4) >> 24) >= 2:
            number = item.number(2 if version == 2 else 4)
            item.number(2)
            if item.take(4) == b"av01":
                found.add(number)
    return found


def _places(box: bytes) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Where items lie: number, 0 for the file or 1 for the box beside, and (start, length) of each part."""
    reader = _Reader(box)
    if not box:
        return
    version = reader.number(4) >> 24
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(reader.number(2 if version < 2 else 4)):
        number = reader.number(2 if version < 2 else 4)
        method = reader.number(2) & 15 if version else 0
        reader.number(2)
        base = reader.number(base_size)
        extents = []
        parts = reader.number(2)
        if parts > 1 and not offset_size + length_size:  # which would cost no bytes
            raise ValueError("the AVIF file has parts without a place")
        for _ in range(parts):
            reader.take(index_size if version else 0)
            extents.append((base + reader.number(offset_size), reader.number(length_size)))
        yield number, method, extents


def _first_sample(content: bytes, table: dict[bytes, bytes]) -> Iterator[bytes]:
    """The first sample of a track."""
    chunks = b"stco" if b"stco" in table else b"co64"
    if chunks not in table or b"stsz" not in table:
        return
    start = _Reader(table[chunks], 8).number(4 if chunks == b"stco" else 8)
    sizes = _Reader(table[b"stsz"], 4)
    length = sizes.number(4) or (sizes.number(4) and sizes.number(4))
    yield content[start : start + length]


def _frames(data: bytes) -> Frames:
    reader, pixels, count = _Reader(data), 0, 0
    for _ in range(MAX_PARTS):
        if reader.place == len(data):
            return Frames(pixels, count)
        header = reader.number(1)
        reader.take(header >> 2 & 1)
        size = _variable(reader) if header & 2 else len(data) - reader.place
        unit, kind = reader.take(size), header >> 3 & 15
        if kind == SEQUENCE_HEADER:
            pixels = max(pixels, _largest_frame(unit))
        count += kind in (FRAME_HEADER, FRAME)
    raise ValueError(f"a picture of the AVIF file has more than {MAX_PARTS} units")


def _variable(reader: _Reader) -> int:
    """A number in leb128."""
    value = 0
    for place in range(8):
        part = reader.number(1)
        value |= (part & 127) << 7 * place
        if part < 128:
            break
    return value


def _largest_frame(unit: bytes) -> int:
    """The pixels that a sequence header allows a frame to have."""
    bits = _Bits(unit)
    bits.number(4)  # profile, still picture
    if bits.number(1):  # a reduced header
        bits.number(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.number(4) + 1, bits.number(4) + 1
    return (bits.number(width_bits) + 1) * (bits.number(height_bits) + 1)


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0  # 0 where there is no decoder model
    if bits.number(1):  # timing
        bits.number(64)
        if bits.number(1):
            bits.skip_variable()
        if bits.number(1):
            delay_bits = bits.number(5) + 1
            bits.number(42)
    display_delay = bits.number(1)
    for _ in range(bits.number(5) + 1):
        bits.number(12)
        if bits.number(5) > 7:
            bits.number(1)
        if delay_bits and bits.number(1):
            bits.number(2 * delay_bits + 1)
        if display_delay and bits.number(1):
            bits.number(4)
