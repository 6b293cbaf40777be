"""Questions about documents: pages as lines of text with their places, given or read by OCR."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.datasets.readers.jsonl import DataError, json_object, needed_text, scan_lines, without_faults
from training.datasets.readers.judging import photo_of_row
from valm_core.checkpoints.fingerprints import fingerprint, quick_fingerprint
from valm_core.inputs.page import Line, checked_line

OCR = "ocr:"  # before a source: read the pages, whatever words are given
WORDS_PREFIX = "words_"  # of the file with the pages' words, beside that with the questions
ANY_FIELD = "all"


@dataclass(frozen=True)
class DocumentQuestion:
    """A question about a page.

    ``lines`` are the page's, None where they are to be read from ``image``; ``answers`` are texts that stand on it, one
    at least; ``field`` is what kind of answer it is, for figures.
    """

    image: Path | None
    question: str
    answers: tuple[str, ...]
    field: str = ANY_FIELD
    lines: tuple[Line, ...] | None = None


def read_documents(source: str) -> list[DocumentQuestion]:
    """Read a JSON lines file of questions about documents.

    A row has `image`, `question`, `answer` (or `answers`) and perhaps `field`. The words of its page stand in the row
    as `words`, a list of lines [x0, y0, x1, y1, text] with places in 0..1, or in the file ``words_NAME`` beside NAME,
    rows with `image` and `lines`. Where they stand in neither, or the source begins with ``ocr:``, OCR reads the image.

    Raises:
        DataError: a file is missing or empty, or a row is faulty; file, line and fault are named.
    """
    return without_faults(scan_documents(source))


def scan_documents(source: str) -> Iterator[tuple[str, DocumentQuestion | DataError]]:
    """Like ``read_documents``, but faults of rows are handed out: (file:line, row or its fault), in order.

    Raises:
        DataError: nothing more can be read.
    """
    given = not source.startswith(OCR)
    path = Path(source.removeprefix(OCR).strip())
    words = path.with_name(WORDS_PREFIX + path.name)
    pages: dict[str, tuple[Line, ...]] = {}
    if given and words.is_file():
        for place, row in scan_lines(words, lambda line: _page(json_object(line))):
            if isinstance(row, DataError):
                yield place, row
            else:
                pages[row[0]] = row[1]
    yield from scan_lines(path, lambda line: _parse(json_object(line), path.parent, pages, given))


def documents_fingerprint(rows: list[DocumentQuestion]) -> dict:
    """Number and fingerprint of questions with their pages, in their order: given lines, or what OCR will read."""
    content: list[Any] = []
    for row in rows:
        lines = [[*line.box, line.text] for line in row.lines or ()]
        page = quick_fingerprint(row.image) if row.image and row.lines is None else row.image and row.image.name
        content.append([page, row.question, row.answers, row.field, lines])
    return {"questions": len(rows), "sha256": fingerprint(content)}


def _parse(values: dict, folder: Path, pages: dict[str, tuple[Line, ...]], given: bool) -> DocumentQuestion:
    texts = values.get("answers", [values.get("answer")])
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"`answer` is {texts!r}; a text is needed, or a list of them as `answers`")
    question, field = values.get("question"), values.get("field", ANY_FIELD)
    if not isinstance(question, str) or not isinstance(field, str) or not field.strip():
        raise ValueError("`question` must be a text, and so must `field` where there is one")
    answers = tuple(needed_text(text, "answer") for text in texts)
    lines = None
    if given:
        lines = _lines(values["words"], "words") if "words" in values else pages.get(str(values.get("image")))
    image = photo_of_row(values, folder) if lines is None or "image" in values else None
    return DocumentQuestion(image, needed_text(question, "question"), answers, field, lines)


def _page(values: dict) -> tuple[str, tuple[Line, ...]]:
    if not isinstance(values.get("image"), str):
        raise ValueError(f"`image` is {values.get('image')!r}; the name is needed by which the questions call the page")
    return values["image"], _lines(values.get("lines"), "lines")


def _lines(values: object, name: str) -> tuple[Line, ...]:
    if not isinstance(values, list):
        raise ValueError(f"`{name}` must be a list of lines, each [x0, y0, x1, y1, text]")
    return tuple(checked_line(value) for value in values)
