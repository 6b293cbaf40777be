"""Photos with texts out of one shard, in its order, to learn from or to answer: a WebDataset tar or a Parquet file."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from training.datasets.readers.jsonl import DataError
from valm_core.inputs.photo import PHOTO_ENDINGS, is_companion
from valm_core.inputs.text import parse_json, printable, writable

SHARD_SUFFIXES = (".tar", ".parquet")
PHOTO_COLUMNS = (*(ending.removeprefix(".") for ending in PHOTO_ENDINGS), "image")


@dataclass(frozen=True)
class ShardRow:
    """A photo's file and the ``values`` beside it; ``place`` names shard and row, ``key`` the row alone."""

    place: str
    key: str
    photo: bytes
    values: dict[str, Any]


@dataclass(frozen=True)
class ShardQuestion:
    """One question: its ``key`` (unique in the shard), the photo's file, and the text."""

    key: str
    photo: bytes
    question: str


@dataclass(frozen=True)
class Fault:
    """A row that can't be used: its ``key``, and what is wrong, with shard and row named."""

    key: str
    error: str


def find_shards(folder: str | Path) -> list[Path]:
    """The shards of a folder by name.

    Raises:
        DataError: there is none, or two would have their answers in one file.
    """
    files = (path for path in Path(folder).glob("*") if not is_companion(Path(path.name)))
    shards = sorted(path for path in files if path.suffix in SHARD_SUFFIXES)
    if not shards:
        raise DataError(f"{folder} has no shard; {' or '.join(SHARD_SUFFIXES)} files are needed.")
    stems = [shard.stem for shard in shards]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise DataError(f"{folder} has two shards {twice!r}, whose answers would be one file; rename one.")
    return shards


def scan_questions(path: Path) -> Iterator[ShardQuestion | Fault]:
    """The questions of one shard, each row's ``question``, or a row's fault. Raises what ``scan_shard`` does."""
    for row in scan_shard(path):
        if isinstance(row, Fault):
            yield row
        elif isinstance(question := row.values.get("question"), str):
            yield ShardQuestion(writable(row.key), row.photo, question)
        else:
            yield Fault(row.key, f"{row.place}: there is no question; a photo and `question`, a text, are needed.")


def read_shard(path: str | Path) -> Iterator[ShardRow]:
    """Like ``scan_shard``, but a row's fault is raised, too."""
    for row in scan_shard(path):
        if isinstance(row, Fault):
            raise DataError(row.error)
        yield row


def scan_shard(path: str | Path) -> Iterator[ShardRow | Fault]:
    """The rows of one shard; one without a photo or with values that can't be read is handed out as its fault.

    A tar holds ``KEY.jpg`` (or another ending of ``PHOTO_ENDINGS``) and ``KEY.json`` with the values, next to each
    other; a Parquet file has a column each for the photo (one of ``PHOTO_COLUMNS``: bytes, or a struct with
    ``bytes``), the values, and optionally ``id``.

    Raises:
        DataError: the shard is damaged; it is named.
    """
    path = Path(path)
    try:
        yield from _read_tar(path) if path.suffix == ".tar" else _read_parquet(path)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} can't be read: {error}. Copy the shard again.") from error


def _read_tar(path: Path) -> Iterator[ShardRow | Fault]:
    key = ""
    parts: dict[str, bytes] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            if not member.isfile() or is_companion(Path(member.name)):
                continue
            stem, suffix = (member.name.removesuffix(Path(member.name).suffix), Path(member.name).suffix.lower())
            if stem != key and parts:
                yield _of_tar(path, key, parts)
                parts = {}
            key = stem
            with cast(IO[bytes], tar.extractfile(member)) as file:  # never None of a file
                parts[suffix] = file.read()
    if parts:
        yield _of_tar(path, key, parts)


def _of_tar(path: Path, key: str, parts: dict[str, bytes]) -> ShardRow | Fault:
    place = f"{path}, {printable(key)}"
    try:
        values = parse_json(parts.get(".json", b"{}"))
    except ValueError as error:
        return Fault(key, f"{place}: its .json can't be read: {error}.")
    if not isinstance(values, dict):
        return Fault(key, f"{place}: its .json holds {values!r}; an object with `question` is needed.")
    return _row(place, key, {suffix.removeprefix("."): content for suffix, content in parts.items()}, values)


def _read_parquet(path: Path) -> Iterator[ShardRow | Fault]:
    """Read in this thread: a reader with threads of its own waits forever for one who stops before the end."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(f"{path} needs the package pyarrow. Run: pip install -e '.[stream]'") from error

    number = 0
    try:
        file = ParquetFile(path)
        columns = file.schema_arrow.names
        if twice := next((name for name in columns if columns.count(name) > 1), None):
            raise DataError(f"{path}: the column {twice!r} is there twice; leave one.")
        for batch in file.iter_batches(batch_size=64, use_threads=False):
            for values in batch.to_pylist():
                key = str(number if values.get("id") is None else values["id"])
                yield _row(f"{path}, {printable(key)}", key, values, values)
                number += 1
    except ArrowException as error:
        raise DataError(f"{path} can't be read: {error}. Copy the shard again.") from error


def _row(place: str, key: str, columns: dict[str, Any], values: dict[str, Any]) -> ShardRow | Fault:
    """A row whose photo is the first column of ``PHOTO_COLUMNS`` that holds something: bytes, or a struct of them."""
    photo = next((columns[name] for name in PHOTO_COLUMNS if columns.get(name) is not None), None)
    photo = photo.get("bytes") if isinstance(photo, dict) else photo
    if not isinstance(photo, bytes):
        return Fault(key, f"{place}: there is no photo; one of {', '.join(PHOTO_COLUMNS)} must hold its bytes.")
    return ShardRow(place, key, photo, values)
