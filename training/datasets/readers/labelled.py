"""Texts with a label each, with or without a photo: what relating, judging and feeling learn from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.datasets.readers.jsonl import DataError, json_object, needed_text, scan_files, without_faults
from training.datasets.readers.judging import photo_of_row
from valm_core.checkpoints.fingerprints import fingerprint, quick_fingerprint
from valm_core.inputs.text import clean_word

TEXTS = ("text", "statement", "tokens")  # what a row's text may be called
LABELS = ("label", "relation")  # the first that a row has
PARTS = ("first", "second")  # the marked parts of a row for `relate`

Span = tuple[int, int]  # first word, and one past the last


@dataclass(frozen=True)
class LabelledText:
    """A text as people wrote it, and what it is.

    Args:
        words: the text, split at white space.
        label: one of the labels.
        image: its photo, or None.
        spans: of ``relate`` the two marked parts, in words; empty else.
        source: name of the data set that the row comes from.
        pair: the same for rows that differ in what makes one true and the other false; empty for none.
        split: of a published benchmark's photo, "train" or "validation"; empty where the row doesn't say.
    """

    words: tuple[str, ...]
    label: str
    image: Path | None = None
    spans: tuple[Span, ...] = ()
    source: str = "unknown"
    pair: str = ""
    split: str = ""


def read_labelled_texts(sources: str, task: str) -> list[LabelledText]:
    """Read JSON lines files of labelled texts.

    A row has `text` or `statement` (a text) or `tokens` (a list of words), `label` or `relation` (a text, or true or
    false), optionally `image`, and for ``relate`` `first` and `second`: the first word of a marked part and one past
    its last. A photo's path is relative to the file's folder; where there is no such photo, to the folder above.

    Args:
        sources: one file or several, separated by commas; one that ends in .gz is decompressed.
        task: the rows of ``relate`` need marked parts.

    Raises:
        DataError: a file is missing or empty, or a row is faulty; file, line and fault are named.
    """
    return without_faults(scan_labelled_texts(sources, task))


def scan_labelled_texts(sources: str, task: str) -> Iterator[tuple[str, LabelledText | DataError]]:
    """Like ``read_labelled_texts``, but faults of rows are handed out: (file:line, row or its fault).

    Raises:
        DataError: nothing more can be read.
    """
    return scan_files(sources, _parse, task == "relate")


def labelled_fingerprint(rows: list[LabelledText]) -> dict:
    """Number and fingerprint of rows in their order; in which folder photos lie doesn't count."""
    photos = {row.image: quick_fingerprint(row.image) for row in rows if row.image}
    content = [[row.image and photos[row.image], row.words, row.label, row.spans] for row in rows]
    return {"rows": len(rows), "sha256": fingerprint(content)}


def _parse(line: str, folder: Path, with_spans: bool) -> LabelledText:
    values = json_object(line)
    words = _words(values)
    return LabelledText(
        words,
        _label(values),
        photo_of_row(values, folder) if values.get("image") is not None else None,
        tuple(_span(values, name, len(words)) for name in PARTS) if with_spans else (),
        *(str(values.get(name, default)) for name, default in (("source", "unknown"), ("pair", ""), ("split", ""))),
    )


def _words(values: dict) -> tuple[str, ...]:
    names = [name for name in TEXTS if name in values]
    if len(names) != 1:
        raise ValueError(f"one of {', '.join(f'`{name}`' for name in TEXTS)} is needed, not {len(names)} of them")
    text = values[names[0]]
    if names[0] != "tokens":
        if not isinstance(text, str):
            raise ValueError(f"`{names[0]}` is {text!r}; a text is needed")
        return tuple(needed_text(text, names[0]).split())
    if not isinstance(text, list) or not text or not all(isinstance(word, str) for word in text):
        raise ValueError(f"`tokens` is {text!r}; a list of words is needed, one at least")
    return tuple(clean_word(word, "tokens") for word in text)


def _label(values: dict) -> str:
    name = next((name for name in LABELS if name in values), "label")
    label: Any = values.get(name)
    if not isinstance(label, str | bool):
        raise ValueError(f"`{name}` is {label!r}; a text is needed, or true or false")
    return str(label).lower() if isinstance(label, bool) else needed_text(label, name)


def _span(values: dict, name: str, words: int) -> Span:
    span = values.get(name)
    whole = isinstance(span, list) and len(span) == 2 and all(type(place) is int for place in span)
    if not whole or not 0 <= span[0] < span[1] <= words:  # type: ignore[index]  # a list by now
        raise ValueError(
            f"`{name}` is {span!r}; [first word, one past the last] is needed, within the text's {words} words"
        )
    return (span[0], span[1])  # type: ignore[index]
