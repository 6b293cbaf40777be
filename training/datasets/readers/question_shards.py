"""Photos with questions out of one shard, in its order, for answering: a WebDataset tar or a Parquet file."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from training.datasets.readers.jsonl import DataError
from valm_core.inputs.photo import PHOTO_ENDINGS, is_companion
from valm_core.inputs.text import parse_json, printable, writable

SHARD_SUFFIXES = (".tar", ".parquet")


@dataclass(frozen=True)
class ShardQuestion:
    """One question: its ``key`` (unique in the shard), the photo's file, and the text."""

    key: str
    photo: bytes
    question: str


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


def read_shard(path: Path) -> Iterator[ShardQuestion]:
    """The questions of one shard.

    A tar holds ``KEY.jpg`` (or another ending of ``PHOTO_ENDINGS``) and ``KEY.json`` with ``question``, next to each
    other; a Parquet file has the columns ``image`` (bytes, or a struct with ``bytes``), ``question`` and optionally
    ``id``.

    Raises:
        DataError: the shard is damaged, or a row has no photo or question; shard and row are named.
    """
    try:
        yield from _read_tar(path) if path.suffix == ".tar" else _read_parquet(path)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} can't be read: {error}. Copy the shard again.") from error


def _read_tar(path: Path) -> Iterator[ShardQuestion]:
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


def _of_tar(path: Path, key: str, parts: dict[str, bytes]) -> ShardQuestion:
    photo = next((parts[suffix] for suffix in PHOTO_ENDINGS if suffix in parts), None)
    try:
        text = parse_json(parts.get(".json", b"null"))
    except ValueError as error:
        raise DataError(f"{path}, {printable(key)}: its .json can't be read ({error}).") from error
    return _question(path, key, photo, text.get("question") if isinstance(text, dict) else None)


def _read_parquet(path: Path) -> Iterator[ShardQuestion]:
    from pyarrow import ArrowException  # imported here: it comes with the extras [stream] and [scale]

    try:
        for number, row in enumerate(parquet_rows(path)):
            key = number if row.get("id") is None else row["id"]
            yield _question(path, str(key), photo_bytes(row.get("image")), row.get("question"))
    except ArrowException as error:
        raise DataError(f"{path} can't be read: {error}. Copy the shard again.") from error


def parquet_rows(path: str | Path) -> Iterator[dict]:
    """The rows of a Parquet file by column, read in this thread: a reader with threads of its own waits forever for
    one who stops before the end.

    Raises:
        DataError: a column is there twice.
    """
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(path)
    columns = file.schema_arrow.names
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise DataError(f"{path}: the column {twice!r} is there twice; leave one.")
    for batch in file.iter_batches(batch_size=64, use_threads=False):
        yield from batch.to_pylist()


def photo_bytes(value: object) -> object:
    """What a column holds of a photo: its bytes, also where they lie in a struct with ``bytes``."""
    return value.get("bytes") if isinstance(value, dict) else value


def _question(path: Path, key: str, photo: object, question: object) -> ShardQuestion:
    if not isinstance(photo, bytes) or not isinstance(question, str):
        missing = "photo" if not isinstance(photo, bytes) else "question"
        raise DataError(
            f"{path}, {printable(key)}: there is no {missing}; a photo's file and `question`, a text, are needed."
        )
    return ShardQuestion(writable(key), photo, question)
