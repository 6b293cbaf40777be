"""Sentences with a label for each word: what tagging learns from and is measured by."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.datasets.readers.jsonl import DataError, json_object, scan_files, without_faults
from training.datasets.readers.judging import photo_of_row
from valm_core.checkpoints.fingerprints import fingerprint, quick_fingerprint
from valm_core.inputs.text import clean_word
from valm_core.model.tasks.span_labels import OUTSIDE, mended, type_of

MAX_WORDS = 2000  # of a sentence


@dataclass(frozen=True)
class TaggedSentence:
    """A sentence's words with a label each in BIO form, and the photo beside it, if any."""

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    image: Path | None = None


def read_tagged(sources: str) -> list[TaggedSentence]:
    """Read JSON lines files with `tokens` (a list of words), `labels` (O, B-X or I-X, one a word) and perhaps `image`.

    An I that begins a span is read as B. Rows keep their order: sentences of a document that follow each other are each
    other's context.

    Args:
        sources: one file or several, separated by commas; one that ends in .gz is decompressed.

    Raises:
        DataError: a file is missing or empty, or a row is faulty; file, line and fault are named.
    """
    return without_faults(scan_tagged(sources))


def scan_tagged(sources: str) -> Iterator[tuple[str, TaggedSentence | DataError]]:
    """Like ``read_tagged``, but faults of rows are handed out: (file:line, row or its fault), in order.

    Raises:
        DataError: nothing more can be read.
    """
    return scan_files(sources, lambda line, folder: _parse(json_object(line), folder))


def types_of(sentences: list[TaggedSentence]) -> tuple[str, ...]:
    """The types of spans in the data, by name.

    Raises:
        DataError: there is none.
    """
    types = sorted({type_of(label) for sentence in sentences for label in sentence.labels} - {""})
    if not types:
        raise DataError(f"All labels are {OUTSIDE!r}: there is nothing to learn. Give rows with B-X labels.")
    return tuple(types)


def tagged_fingerprint(sentences: list[TaggedSentence]) -> dict:
    """Number and fingerprint of sentences with their labels and photos, in their order."""
    content = [[row.tokens, row.labels, row.image and quick_fingerprint(row.image)] for row in sentences]
    return {"sentences": len(sentences), "sha256": fingerprint(content)}


def _parse(values: dict, folder: Path) -> TaggedSentence:
    written, labels = (_texts(values.get(name), name) for name in ("tokens", "labels"))
    tokens = tuple(clean_word(word, "tokens") for word in written)
    if len(tokens) != len(labels):
        raise ValueError(f"there are {len(tokens)} `tokens` but {len(labels)} `labels`; one a word is needed")
    if len(tokens) > MAX_WORDS:
        raise ValueError(f"`tokens` has {len(tokens)} words; at most {MAX_WORDS} are allowed. Give sentences")
    for label in labels:
        type_of(label)  # raises where it isn't of BIO form
    image = photo_of_row(values, folder) if values.get("image") else None
    return TaggedSentence(tokens, mended(labels), image)


def _texts(texts: object, name: str) -> tuple[str, ...]:
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"`{name}` must be a list of texts that aren't empty, one at least")
    return tuple(texts)
