"""One door to all readers of training data: ``load_rows`` takes a file, a folder or ``reader:what``."""

import re
from collections.abc import Iterator
from pathlib import Path

from training.datasets.readers.csv_folder import scan_csv
from training.datasets.readers.easy_vqa import scan_easy_vqa
from training.datasets.readers.jsonl import DataError, Row, scan_rows, without_faults
from training.datasets.readers.vqa_v2 import scan_vqa_v2

READERS = {"vqa_v2": scan_vqa_v2, "easy-vqa": scan_easy_vqa}
FORMS = (
    "FILE.jsonl[.gz], FILE.csv, FOLDER with one CSV, vqa_v2:QUESTIONS.json,ANNOTATIONS.json,IMAGE_FOLDER, "
    "easy-vqa:train, easy-vqa:test"
)


def load_rows(source: str, photos: bool = True, captions: bool = False) -> list[Row]:
    """Read all rows of a data set.

    Args:
        source: one of ``FORMS``.
        photos: whether every row must have a photo. Without, rows have none.
        captions: whether a JSON lines file may hold captions, rows without answers.

    Raises:
        DataError: an unknown source, a file that is missing or empty, or a faulty row; place and fault are named.
    """
    return without_faults(scan_source(source, photos, captions))


def scan_source(source: str, photos: bool = True, captions: bool = False) -> Iterator[tuple[str, Row | DataError]]:
    """Like ``load_rows``, but faults of rows are handed out and not raised: (file:line, row or its fault), in order.

    Raises:
        DataError: nothing more can be read.
    """
    path = Path(source)
    reader = re.match(r"([A-Za-z][\w-]+):(.*)", str(source), re.DOTALL)  # one letter is a Windows drive
    if reader and not path.exists():
        if reader[1] not in READERS:
            raise DataError(f"There is no reader {reader[1]!r} for {str(source)!r}; allowed: {FORMS}.")
        return READERS[reader[1]](reader[2], photos)
    if path.is_dir() or path.suffix.lower() == ".csv":
        return scan_csv(path, photos)
    return scan_rows(path, photos, captions)
