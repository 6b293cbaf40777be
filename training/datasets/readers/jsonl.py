"""The native data format: one JSON object a line, photos beside the file."""

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeVar

import numpy as np

from valm_core.checkpoints.atomic_files import write_text
from valm_core.inputs.photo import as_on_disk
from valm_core.inputs.text import LONE_SURROGATE, TwiceError, clean_text, parse_json, printable

SHOWN = 5  # examples in a message
Parsed = TypeVar("Parsed")


class DataError(ValueError):
    """A fault in a data file. The message names the file, the line and the remedy."""


@dataclass(frozen=True)
class Row:
    """One question about one photo, or one caption of it.

    Args:
        image: path of the photo; None in a file of questions alone.
        question: as a person asked it, or the caption.
        answers: one reference answer, or several people's; empty for a caption.
        choices: candidate answers of a multiple-choice question, the right one first; empty otherwise.
        source: name of the data set that the row comes from.
        region: (x0, y0, x1, y1) in 0..1 where the evidence lies, or None.
    """

    image: Path | None
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    source: str = "unknown"
    region: tuple[float, float, float, float] | None = None

    @property
    def photo(self) -> Path:
        """The path of the photo, for what needs one. Raises DataError where there is none."""
        if self.image is None:
            raise DataError(f"The question {self.question!r} has no photo; one is needed here.")
        return self.image


def read_rows(path: str | Path, photos: bool = True) -> list[Row]:
    """Read a JSON lines file with `image` (path relative to the file), `question`, `answer` or `answers` (strings), and
    optionally `choices`, `source`, `region` ([x0, y0, x1, y1] in 0..1). Empty lines are passed over.

    Args:
        path: the file; one that ends in .gz is decompressed.
        photos: whether every row must have a photo. Without, `image` is ignored.

    Raises:
        DataError: the file is missing or empty, or a row is faulty; file, line and fault are named.
    """
    return without_faults(scan_rows(path, photos))


def scan_rows(path: str | Path, photos: bool = True, captions: bool = False) -> Iterator[tuple[str, Row | DataError]]:
    """Like ``read_rows``, but faults of rows are handed out and not raised: (file:line, row or its fault), in order.

    With ``captions`` rows may have a `caption` instead of question and answer.

    Raises:
        DataError: nothing more can be read: the file is missing, empty, damaged or no text.
    """
    path = Path(path)
    return scan_lines(path, _parse_row, path.parent if photos else None, captions)


def scan_lines(
    path: str | Path, parse: Callable[..., Parsed], *arguments: Any
) -> Iterator[tuple[str, Parsed | DataError]]:
    """What ``parse(line, *arguments)`` makes of every line that isn't empty, as ``scan_rows`` hands it out.

    Args:
        path: the file; one that ends in .gz is decompressed.
        parse: makes something of a line, or raises ValueError for a faulty one.

    Raises:
        DataError: as for ``scan_rows``.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no data file {path}. Check the path.")
    empty = True
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    empty = False
                    yield located(f"{path}:{number}", parse, line, *arguments)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text ({error}). Save it as UTF-8.") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}). Copy it again.") from error
    if empty:
        raise DataError(f"{path} has no row. One JSON object a line is expected, e.g. {_EXAMPLE}")


def scan_files(sources: str, parse: Callable[..., Parsed], *arguments: Any) -> Iterator[tuple[str, Parsed | DataError]]:
    """``scan_lines`` of one file or several, separated by commas: ``parse(line, folder of the file, *arguments)``."""
    for source in sources.split(","):
        path = Path(source.strip())
        yield from scan_lines(path, parse, path.parent, *arguments)


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Write rows with photos as ``read_rows`` reads them, with absolute paths of the photos; regions and choices are
    left out."""
    lines = [
        {"image": str(row.photo.resolve()), "question": row.question, "answers": row.answers, "source": row.source}
        for row in rows
    ]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _opened(path: Path) -> TextIO:
    """-sig: Notepad and PowerShell put a byte order mark at the beginning."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def located(place: str, parse: Callable[..., Parsed], *arguments: Any) -> tuple[str, Parsed | DataError]:
    """The place with what ``parse(*arguments)`` returns, or with its ValueError as a DataError that names the place."""
    try:
        return place, parse(*arguments)
    except ValueError as error:
        return place, DataError(f"{place}: {error}")


def without_faults(entries: Iterable[tuple[str, Parsed | DataError]]) -> list[Parsed]:
    """The rows of a scan; its first fault is raised."""
    rows = []
    for _, row in entries:
        if isinstance(row, DataError):
            raise row
        rows.append(row)
    return rows


def some_rows(rows: list[Parsed], limit: int) -> list[Parsed]:
    """At most ``limit`` of the rows (0: all), the same ones every time."""
    return random.Random(0).sample(rows, limit) if 0 < limit < len(rows) else rows


def first_few(examples: Sequence[str]) -> str:
    """The first five of many, for a message, and how many more there are."""
    more = len(examples) - SHOWN
    return ", ".join(examples[:SHOWN]) + (f" and {more} more" if more > 0 else "")


_EXAMPLE = '{"image": "photos/1.jpg", "question": "What color is the bus?", "answer": "red"}'


def json_object(line: str) -> dict:
    """The object that a line of JSON holds. Raises ValueError where it holds none, or a name twice."""
    try:
        values = parse_json(line)
    except TwiceError:
        raise
    except ValueError as error:
        raise ValueError(f"not valid JSON ({error}); expected e.g. {_EXAMPLE}") from error
    if not isinstance(values, dict):
        raise ValueError(f"a JSON object is expected, not {type(values).__name__}; e.g. {_EXAMPLE}")
    return values


def _parse_row(line: str, folder: Path | None, captions: bool) -> Row:
    values = json_object(line)
    image = existing_photo(folder / needed_string(values, "image")) if folder else None
    if "caption" in values:
        return _caption_row(values, image, captions)
    if ("answer" in values) == ("answers" in values):
        raise ValueError("give either `answer` (a string) or `answers` (a list of strings)")
    answers = (text_of(values, "answer"),) if "answer" in values else _texts(values, "answers")
    if not answers:
        raise ValueError("`answers` is empty; give at least one")
    return Row(
        image=image,
        question=text_of(values, "question"),
        answers=answers,
        choices=_texts(values, "choices") if "choices" in values else (),
        source=text_of(values, "source") if "source" in values else "unknown",
        region=_region(values["region"]) if values.get("region") is not None else None,
    )


def _caption_row(values: dict, image: Path | None, captions: bool) -> Row:
    if not captions:
        raise ValueError(
            "a `caption` has no answer to learn or to measure; captions serve pretraining alone "
            "(objective: pretraining). Give `question` and `answer` instead"
        )
    if both := values.keys() & {"question", "answer", "answers", "choices"}:
        raise ValueError(f"`caption` stands beside `{min(both)}`; give either a caption or a question with its answer")
    source = text_of(values, "source") if "source" in values else "unknown"
    return Row(image=image, question=text_of(values, "caption"), answers=(), source=source)


def existing_photo(path: Path, remedy: str = "`image` is relative to the data file") -> Path:
    """The path from the root on, so that one photo has one path, however data files spell it; a link keeps its name.

    Raises:
        ValueError: there is no such file, or its name is no UTF-8, which no cache or report could write down.
    """
    shown = printable(str(path)[:300])
    if LONE_SURROGATE.search(str(path)):
        raise ValueError(f"the name of the photo {shown} is no UTF-8 text; rename the file, and name it anew here")
    path = as_on_disk(path)
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a name that no file can have: too long, or with a null character
        there = False
    if not there:
        raise ValueError(f"there is no photo {shown}; {remedy}")
    return path.parent.resolve() / path.name


def needed_string(values: object, name: str) -> str:
    """What a row has under a name. Raises ValueError where that is no string, or an empty one."""
    value = values.get(name) if isinstance(values, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"`{name}` is {value!r}; a string that isn't empty is needed")
    return value


def text_of(values: object, name: str) -> str:
    """The same in its normal form, see ``needed_text``."""
    return needed_text(needed_string(values, name), name)


def needed_text(text: str, name: str) -> str:
    """The text in its normal form, see ``inputs.text``. Raises ValueError where nothing or half a letter is left."""
    cleaned = clean_text(text, name)
    if not cleaned:
        raise ValueError(f"`{name}` is {text!r}; a text is needed")
    return cleaned


def _texts(values: dict, name: str) -> tuple[str, ...]:
    value = values[name]
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise ValueError(f"`{name}` is {value!r}; a list of strings is needed")
    return tuple(needed_text(text, name) for text in value)


def _region(value: Any) -> tuple[float, float, float, float]:
    numbers = isinstance(value, list) and len(value) == 4 and all(type(part) in (int, float) for part in value)
    if not numbers or not (0 <= value[0] < value[2] <= 1 and 0 <= value[1] < value[3] <= 1):
        raise ValueError(
            f"`region` is {value!r}; [x0, y0, x1, y1] with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 is needed"
        )
    x0, y0, x1, y1 = map(float, value)
    return x0, y0, x1, y1


class RowWithPhoto(Protocol):
    """A row of any data set."""

    @property
    def image(self) -> Path | None:
        """Its photo, if it has one."""


def photos_in_both(rows: Iterable[RowWithPhoto], others: Iterable[RowWithPhoto]) -> set[Path]:
    """The photos that rows of both have."""
    photos, other_photos = ({row.image for row in part if row.image} for part in (rows, others))
    return photos & other_photos


def check_apart(rows: Iterable[RowWithPhoto], validation: Iterable[RowWithPhoto]) -> None:
    """Refuse a photo among the rows to learn from and those to validate on. Raises ValueError."""
    if both := photos_in_both(rows, validation):
        raise ValueError(f"{min(both)} is among the photos to learn from and those to validate on; take it out.")


def photos_of(rows: list[Row]) -> np.ndarray:
    """The photo of every row, [R]; rows without one count as a photo each."""
    return np.array([str(row.image or place) for place, row in enumerate(rows)])
