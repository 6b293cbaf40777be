"""The files of a batch: what is asked, what was answered before, and the rows that are written."""

import json
import os
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valm_core.checkpoints.atomic_files import write_text
from valm_core.inputs.photo import PHOTO_ENDINGS, PHOTO_PREPROCESSING, as_on_disk, photos_in
from valm_core.inputs.question import QUESTION_PREPROCESSING
from valm_core.inputs.text import LONE_SURROGATE, TwiceError, as_utf8, parse_json, printable, writable
from valm_core.model.encoders.packages import sha256_of

FORMATS = (".jsonl", ".parquet")
NOTHING: dict[str, object] = {
    "predicted": None,  # the likeliest answer
    "probability": None,  # its, calibrated, 0..1
    "predictions": [],  # the likeliest answers, each with its probability
    "blind_predicted": None,  # the likeliest without the photo
    "gate": None,  # the question's share in the answer, 0..1
    "unfamiliar": None,  # "photo", "question" or "photo question", where unlike those that the model learned from
    "model": None,  # the first 12 digits of the weights' sha256
    "top": None,  # how many answers were asked for
    "photo_sha256": None,  # the first 12 digits of the photo file's sha256
    "preprocessing": None,  # the versions of how photos and questions are read
    "error": None,  # why there is no answer
}  # the columns that an answer adds to a row; a row's own of these names are left out

ADDED_LATER = ("top", "photo_sha256", "preprocessing")  # columns that outputs of earlier versions lack
PREPROCESSING = f"{PHOTO_PREPROCESSING}.{QUESTION_PREPROCESSING}"
FIRST_PREPROCESSING = "3.2"  # of outputs that don't say it yet
Key = tuple[str, str]  # image and question as the row has them


@dataclass(frozen=True)
class Object:
    """One line of a JSON lines file, from 1: its ``values``, or None and the ``error``."""

    line: int
    values: dict[str, Any] | None
    error: str = ""


@dataclass(frozen=True)
class Source:
    """What is to be answered.

    Args:
        rows: each with ``image`` and ``question``, or with an ``error``; all their texts can be written as UTF-8.
        files: the file that a row's ``image`` stands for.
        left_out: a folder's other files, counted by ending.
    """

    rows: list[dict]
    files: dict[str, Path]
    left_out: dict[str, int] = field(default_factory=dict)


def read_source(source: Path, questions: Sequence[str] = (), ours: Sequence[Path] = ()) -> Source:
    """The rows to answer. A line of a file that is none becomes a row with an ``error``.

    Args:
        source: a file or a folder.
        questions: what to ask each photo of a folder.
        ours: files that are not listed as left out of a folder.

    Raises:
        ValueError: there is nothing to answer.
    """
    if source.is_dir():
        return _folder(source, questions, {path.resolve() for path in ours})
    if not source.is_file():
        raise ValueError(f"There is no file or folder {str(source)!r}. Check the path.")
    if questions:
        raise ValueError(f"{source} brings its own questions: leave --question out, or give a folder.")
    read = [_row(values) for values in read_objects(source)]
    rows = [writable_value(row) for row in read]
    # By the name as it was read: what JSON gives as \udce9 is a byte of a name that is no UTF-8.
    names = {row["image"]: plain["image"] for row, plain in zip(rows, read, strict=True)}
    return Source(rows, {name: as_on_disk(source.parent / plain) for name, plain in names.items() if name is not None})


def _folder(folder: Path, questions: Sequence[str], ours: set[Path]) -> Source:
    if not questions:
        raise ValueError(f"{folder} is a folder: say what to ask its photos with --question.")
    if broken := next((text for text in questions if LONE_SURROGATE.search(text)), None):
        raise ValueError(
            f"--question is {printable(broken)!r}, which is no UTF-8 text. Set the terminal to UTF-8, or write the "
            "questions into a JSON lines file."
        )
    photos, others = photos_in(folder)
    endings = Counter(writable(path.suffix.lower()) for path in others if path.resolve() not in ours)
    left_out = dict(endings.most_common())
    if not photos:
        raise ValueError(f"{folder} has no photos ({', '.join(PHOTO_ENDINGS)}).{left_out_text(left_out)}")
    files = {writable(path.relative_to(folder).as_posix()): path for path in photos}
    return Source([{"image": name, "question": text} for name in files for text in questions], files, left_out)


def left_out_text(left_out: dict[str, int]) -> str:
    """What a folder has beside photos: `` Left out: 3 .txt, 1 without an ending.``; empty where nothing was."""
    if not left_out:
        return ""
    counts = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in left_out.items())
    heif = left_out.keys() & {".heic", ".heif", ".hif"}
    return f" Left out: {counts}.{' For ' + min(heif) + ': pip install pillow-heif.' if heif else ''}"


def writable_value(value: Any) -> Any:
    """A value of JSON with each text as UTF-8 can write it, see ``writable``."""
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, list):
        return [writable_value(part) for part in value]
    if isinstance(value, dict):
        return {writable(name): writable_value(part) for name, part in value.items()}
    return value


def read_objects(source: Path) -> list[Object]:
    """The objects of a JSON lines file, or what is wrong with a line; UTF-16, as Windows may write it, is read, too.

    Raises:
        ValueError: the file is empty, or one JSON array.
    """
    content = as_utf8(source.read_bytes())
    read = [_object(line, number) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
    if not read:
        raise ValueError(f"{source} is empty. It needs one JSON object a line.")
    if content.lstrip().startswith(b"[") and all(one.values is None for one in read):
        raise ValueError(f"{source} is one JSON array. Write its objects one a line, without brackets and commas.")
    return read


def _object(line: bytes, number: int) -> Object:
    try:
        values = parse_json(line.decode())
    except UnicodeDecodeError:
        return Object(number, None, f"line {number} is no UTF-8 text")
    except TwiceError as error:
        return Object(number, None, f"line {number}: {error}")
    except ValueError:
        values = None
    if not isinstance(values, dict):
        return Object(number, None, f"line {number} is no JSON object")
    return Object(number, values)


def _row(read: Object) -> dict:
    number = read.line
    if read.values is None:
        return {"image": None, "question": None, **NOTHING, "error": read.error}
    row = {name: value for name, value in read.values.items() if name not in NOTHING}
    missing = [name for name in ("image", "question") if not isinstance(row.get(name), str)]
    if missing:
        message = f"line {number} has no text as {' and '.join(missing)}"
        return row | dict.fromkeys(missing) | NOTHING | {"error": message}
    if half := LONE_SURROGATE.search(row["question"]):  # in a photo's name it may be a byte that is no UTF-8
        message = f"line {number} has half a character, {printable(half[0])}, as a cut emoji leaves it"
        return row | NOTHING | {"error": message}
    return row


def key_of(row: dict) -> Key:
    """What tells rows apart; those of one key have one answer."""
    return row["image"], row["question"]


def read_answers(output: Path, working: Path) -> list[dict]:
    """The rows of an earlier run, the later ones last; a half-written last line is cut off its file.

    Raises:
        ValueError: the output is none of ours.
    """
    rows = []
    if output.suffix == ".parquet" and output.exists():
        rows += parquet_library().read_table(output).to_pylist()
    needed = {"image", "question", *NOTHING} - set(ADDED_LATER)
    _check_ours(rows, needed, output)
    rows = [dict.fromkeys(ADDED_LATER) | row for row in [*rows, *read_rows(working, needed)]]
    return [row for row in rows if row["image"] is not None and row["question"] is not None]


def read_rows(path: Path, needed: Collection[str]) -> list[dict]:
    """The rows of a JSON lines file that a run wrote, none where there is none; a half-written last line is cut off it.

    Raises:
        ValueError: it is none of ours, whose rows have all ``needed`` columns.
    """
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    try:
        rows = [json.loads(line) for line in whole.splitlines()]
    except ValueError:
        rows = [None]
    _check_ours(rows, needed, path)
    if len(whole) < len(content):  # only now: it is a file of ours
        os.truncate(path, len(whole))
    return rows


def _check_ours(rows: Iterable, needed: Collection[str], path: Path) -> None:
    if not all(isinstance(row, dict) and row.keys() >= set(needed) for row in rows):
        raise ValueError(f"{path} is no output of --batch for this task. Name another file.")


def write_rows(output: Path, rows: list[dict]) -> None:
    """Write the whole output, which takes the place of the former at once."""
    if output.suffix == ".jsonl":
        write_text(output, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    fresh = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        parquet_library().write_table(_table(rows), fresh, row_group_size=10_000)
        fresh.replace(output)
    finally:
        fresh.unlink(missing_ok=True)


def _table(rows: list[dict]):
    import pyarrow

    share = pyarrow.struct({"answer": pyarrow.string(), "probability": pyarrow.float64()})
    kinds = dict.fromkeys(NOTHING, pyarrow.string())
    kinds |= {
        "top": pyarrow.int64(),
        "probability": pyarrow.float64(),
        "gate": pyarrow.float64(),
        "predictions": pyarrow.list_(share),
    }

    def column(name: str):
        values = [row.get(name) for row in rows]
        try:
            return pyarrow.array(values, kinds.get(name))
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError):
            # Values of several kinds, or numbers of more than 64 bits: as JSON text.
            return pyarrow.array([None if value is None else json.dumps(value) for value in values])

    return pyarrow.table({name: column(name) for name in dict.fromkeys(name for row in rows for name in row)})


def parquet_library():
    """pyarrow.parquet. Raises ValueError where it isn't installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "Parquet needs pyarrow: pip install pyarrow, or name an --output that ends in .jsonl."
        ) from error
    return pyarrow.parquet


def photo_digest(path: Path) -> str | None:
    """What tells a photo from another of its name; None where it can't be read."""
    try:
        return sha256_of(path)[:12]
    except (OSError, ValueError):
        return None
