"""Reads data sets from end to end, opens every photo, and lists all faults with the lines they concern."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.datasets import scan_source
from training.datasets.answer_classes import answer_notes
from training.datasets.readers.jsonl import DataError, first_few
from valm_core.inputs.photo import open_photo
from valm_core.inputs.text import printable
from valm_core.outputs import InputError

THREADS = 4


def check_data(
    sources: list[str],
    photos: bool = True,
    captions: bool = False,
    scan: Callable[[str], Iterator[tuple[str, Any]]] | None = None,
) -> int:
    """Print every fault of some data sets, a line each, then the counts, and what becomes of their answers.

    Args:
        sources: what ``training.datasets.load_rows`` takes; one that is named twice is read once.
        photos: whether rows must have photos; each photo is opened.
        captions: whether rows may be captions.
        scan: what reads a source of another task, rows with an ``image`` that may be None; None reads questions.

    Returns:
        Exit status: 0 without faults, else 2.
    """
    faults = 0
    lines_of: dict[Path, list[str]] = {}  # photo -> the lines that use it
    for source in dict.fromkeys(sources):
        rows = 0
        answers: list[str] = []
        try:
            for place, row in scan(source) if scan else scan_source(source, photos, captions):
                if isinstance(row, DataError):
                    faults += 1
                    print(row)
                    continue
                rows += 1
                answers += row.answers if scan is None else ()
                if row.image:
                    lines_of.setdefault(row.image, []).append(place)
        except DataError as error:  # nothing more to read here; the other data sets still may
            faults += 1
            print(error)
        print(f"{source}: {rows} good rows")
        for note in answer_notes(answers):
            print(f"{source}: {note}")
    for photo, fault in photo_faults(list(lines_of)):
        faults += 1
        print(f"{printable(photo)}: {fault} Used by {first_few(lines_of[photo])}")
    print(f"{len(lines_of)} photos opened, {faults} fault{'s' * (faults != 1)}")
    return 2 if faults else 0


def photo_faults(photos: list[Path]) -> Iterator[tuple[Path, str]]:
    """Open photos; those that can't be read, each with what is wrong."""

    def fault(photo: Path) -> str:
        try:
            open_photo(photo)
        except (InputError, OSError) as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(THREADS) as pool:  # Pillow decodes outside the interpreter's lock
        found = pool.map(fault, photos)
        for photo, text in zip(
            photos, tqdm(found, "opening photos", len(photos), unit="photo", leave=False), strict=True
        ):
            if text:
                yield photo, text
