"""Data that only judge a model: yes/no questions, statements that are true or false, boxes of persons."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.datasets.readers.jsonl import (
    DataError,
    Parsed,
    Row,
    existing_photo,
    json_object,
    needed_string,
    scan_lines,
    text_of,
    without_faults,
)
from training.metrics.vqa_accuracy import normalize_answer

STATEMENT_QUESTION = "Is this true: {}"  # asked first, so that a statement too long for the model is cut at its end
BOXES = "persons_cx_cy_w_h_keypoints"

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class PersonPhoto:
    """A photo and its persons' boxes, each (x0, y0, x1, y1) in 0..1; one at least."""

    image: Path
    boxes: tuple[Box, ...]


def read_yes_no(path: str | Path, split: str | None = None) -> list[Row]:
    """Read a JSON lines file of yes/no questions or of statements.

    A row has `image` and either `question` and `answer` ("yes" or "no") or `statement` and `label` (true or false),
    and optionally `source` and `split`. A statement is asked as a question, see ``STATEMENT_QUESTION``. A photo's path
    is relative to the file's folder; where there is no such photo, to the folder above it.

    Args:
        path: the file; one that ends in .gz is decompressed.
        split: keep the rows of this `split` alone; None keeps all.

    Raises:
        DataError: the file is missing or empty, a row is faulty, or none is of the split.
    """
    return rows_of_split(path, split, _yes_no_row)


def read_person_photos(path: str | Path, split: str | None = None) -> list[PersonPhoto]:
    """Read a JSON lines file of photos with persons' boxes.

    A row has `image` and `persons_cx_cy_w_h_keypoints`: for each person the box's centre, width and height in 0..1,
    and anything after them; optionally `split`. Photos without a person are left out. Paths, arguments and errors are
    those of ``read_yes_no``.
    """
    photos = [photo for photo in rows_of_split(path, split, _person_photo) if photo.boxes]
    if not photos:
        raise DataError(f"{path} has no photo with a person.")
    return photos


def rows_of_split(path: str | Path, split: str | None, parse: Callable[[dict, Path], Parsed]) -> list[Parsed]:
    """The rows of the split, as ``parse(values, folder)`` makes them of a row's values."""

    def parsed(line: str) -> Parsed | None:
        values = json_object(line)
        kept = split is None or values.get("split") == split
        return parse(values, Path(path).parent) if kept else None

    rows = [row for row in without_faults(scan_lines(path, parsed)) if row is not None]
    if not rows:
        raise DataError(f"{path} has no row whose `split` is {split!r}. Leave --split out to take all rows.")
    return rows


def _yes_no_row(values: dict, folder: Path) -> Row:
    if ("question" in values) == ("statement" in values):
        raise ValueError("give either `question` and `answer` or `statement` and `label`")
    if "statement" in values:
        label = values.get("label")
        if not isinstance(label, bool):
            raise ValueError(f"`label` is {label!r}; true or false is needed")
        question = STATEMENT_QUESTION.format(text_of(values, "statement"))
        answer = "yes" if label else "no"
    else:
        question = text_of(values, "question")
        answer = normalize_answer(needed_string(values, "answer"))
        if answer not in ("yes", "no"):
            raise ValueError(f"`answer` is {values['answer']!r}; yes or no is needed")
    source = text_of(values, "source") if "source" in values else "unknown"
    return Row(photo_of_row(values, folder), question, (answer,), source=source)


def _person_photo(values: dict, folder: Path) -> PersonPhoto:
    persons = values.get(BOXES)
    if not isinstance(persons, list):
        raise ValueError(f"`{BOXES}` is {persons!r}; a list with a list for each person is needed")
    return PersonPhoto(photo_of_row(values, folder), tuple(map(_box, persons)))


def _box(person: Any) -> Box:
    numbers = isinstance(person, list) and len(person) >= 4 and all(type(part) in (int, float) for part in person[:4])
    if not numbers or not all(0 <= part <= 1 for part in person[:4]) or 0 in person[2:4]:
        raise ValueError(
            f"a person of `{BOXES}` is {person!r}; [centre x, centre y, width, height] in 0..1, width and height above "
            "0, is needed"
        )
    x, y, width, height = person[:4]
    return max(x - width / 2, 0.0), max(y - height / 2, 0.0), min(x + width / 2, 1.0), min(y + height / 2, 1.0)


def photo_of_row(values: dict, folder: Path) -> Path:
    """The row's photo, beside the file or else in the folder above it. Raises ValueError where it is in neither."""
    name = needed_string(values, "image")
    try:
        return existing_photo(folder / name)
    except ValueError:
        return existing_photo(
            folder.resolve().parent / name, f"nor in {folder}: `image` is relative to the data file or the folder above"
        )
