"""Rows from a CSV file, as spreadsheets write it, with the photos beside it."""

import csv
from collections.abc import Iterator
from pathlib import Path

from training.datasets.readers.jsonl import DataError, Row, existing_photo, located, needed_text
from valm_core.inputs.photo import is_companion
from valm_core.inputs.text import clean_text

SEPARATOR = "|"  # between several answers or choices
NEEDED, OPTIONAL = ("image", "question", "answer"), ("choices", "source")
_EXAMPLE = "image,question,answer and below it photos/1.jpg,What color is the bus?,red"


def scan_csv(path: str | Path, photos: bool = True) -> Iterator[tuple[str, Row | DataError]]:
    """Read a comma-separated UTF-8 file with a header line: columns image (path relative to the file), question,
    answer, and optionally choices (the right one first) and source; several answers or choices are separated by ``|``.
    Other columns are ignored.

    Args:
        path: a .csv file, or a folder that holds exactly one.
        photos: whether every row must have a photo. Without, the column image may be missing.

    Yields:
        (file:line, row or its fault), in order.

    Raises:
        DataError: nothing more can be read: no such file, no text, a wrong header, or no row.
    """
    path = _find_csv(Path(path))
    needed = [name for name in NEEDED if photos or name != "image"]
    empty = True
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # -sig: Excel puts a mark at the beginning
            lines = csv.DictReader(file, strict=True)
            found = lines.fieldnames or []
            if missing := [name for name in needed if name not in found]:
                raise DataError(
                    f"{path}:1: there is no column {missing[0]!r} but {', '.join(map(repr, found)) or 'none'}; needed: "
                    f"{', '.join(needed)}; allowed besides: {', '.join(OPTIONAL)}; separated by commas, e.g. {_EXAMPLE}"
                )
            if twice := next((name for name in (*needed, *OPTIONAL) if list(found).count(name) > 1), None):
                raise DataError(f"{path}:1: the column {twice!r} is there twice; leave one, or rename the other.")
            number = lines.line_num + 1
            for values in lines:
                if None in values or any((text or "").strip() for text in values.values()):  # Excel leaves empty rows
                    empty = False
                    yield located(f"{path}:{number}", _parse_row, values, path.parent if photos else None)
                number = lines.line_num + 1  # a quoted text may span lines
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text ({error}). Save it as CSV UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path}:{lines.line_num}: not valid CSV ({error}). Check the quotes in this line.") from error
    if empty:
        raise DataError(f"{path} has no row. A header and lines are expected, e.g. {_EXAMPLE}")


def _find_csv(path: Path) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise DataError(f"There is no data file {path}. Check the path.")
        return path
    own = (file for file in path.iterdir() if not is_companion(Path(file.name)))
    files = sorted(file for file in own if file.suffix.lower() == ".csv")
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise DataError(f"The folder {path} needs exactly one .csv file; found: {found}. Name the file itself.")
    return files[0]


def _parse_row(values: dict, folder: Path | None) -> Row:
    if None in values:
        raise ValueError(
            f"there are more fields than columns (from {values[None][0]!r} on); put texts with commas into quotes"
        )
    image = existing_photo(folder / _string(values, "image")) if folder else None
    source = clean_text(values.get("source") or "", "source")
    return Row(
        image=image,
        question=needed_text(_string(values, "question"), "question"),
        answers=_texts(values, "answer"),
        choices=_texts(values, "choices") if (values.get("choices") or "").strip() else (),
        source=source or "unknown",
    )


def _string(values: dict, name: str) -> str:
    text = (values[name] or "").strip()
    if not text:
        raise ValueError(f"`{name}` is empty; a text is needed")
    return text


def _texts(values: dict, name: str) -> tuple[str, ...]:
    texts = tuple(text.strip() for text in _string(values, name).split(SEPARATOR))
    if not all(texts):
        raise ValueError(f"`{name}` is {values[name]!r}; between two {SEPARATOR!r} a text is needed")
    return tuple(needed_text(text, name) for text in texts)
