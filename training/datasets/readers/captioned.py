"""Photos with their captions: what finding photos learns from and is measured by."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.datasets.readers.jsonl import DataError, check_apart, json_object, needed_text, scan_files
from training.datasets.readers.judging import photo_of_row, rows_of_split
from valm_core.checkpoints.fingerprints import fingerprint, quick_fingerprint


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo and what people say of it, at least one caption."""

    image: Path
    captions: tuple[str, ...]


def read_captioned_photos(sources: str, split: str | None = None) -> list[CaptionedPhoto]:
    """Read JSON lines files with `image` and `captions` (a list of texts), and optionally `split`.

    A photo that stands in several rows or files is one, with all its captions.

    Args:
        sources: one file or several, separated by commas; one that ends in .gz is decompressed.
        split: where rows have a `split`, keep those of this one; rows without stay.

    Raises:
        DataError: a file is missing or empty, or a row is faulty; file, line and fault are named.
    """
    captions: dict[Path, list[str]] = {}
    for source in sources.split(","):
        for photo, kept in rows_of_split(source.strip(), None, lambda values, folder: _parse(values, folder, split)):
            if kept:
                captions.setdefault(photo.image, []).extend(photo.captions)
    if not captions:
        raise DataError(f"{sources} has no row whose `split` is {split!r}.")
    return [CaptionedPhoto(image, tuple(dict.fromkeys(texts))) for image, texts in captions.items()]


def scan_captioned_photos(sources: str) -> Iterator[tuple[str, CaptionedPhoto | DataError]]:
    """The rows of the files one by one, faults handed out and not raised: (file:line, row or its fault).

    Raises:
        DataError: nothing more can be read.
    """
    return scan_files(sources, lambda line, folder: _parse(json_object(line), folder, None)[0])


def read_train_and_validation(data: str, validation: str) -> tuple[list[CaptionedPhoto], list[CaptionedPhoto]]:
    """The photos to learn from and those to validate on, each of its split, see ``read_captioned_photos``.

    Raises:
        DataError: as there.
        ValueError: a photo is among both.
    """
    photos, held_back = read_captioned_photos(data, "train"), read_captioned_photos(validation, "validation")
    check_apart(photos, held_back)
    return photos, held_back


def captions_fingerprint(photos: list[CaptionedPhoto]) -> dict:
    """Number and fingerprint of photos with their captions, in their order."""
    content = [[quick_fingerprint(photo.image), photo.captions] for photo in photos]
    return {"photos": len(photos), "sha256": fingerprint(content)}


def _parse(values: dict, folder: Path, split: str | None) -> tuple[CaptionedPhoto, bool]:
    texts = values.get("captions")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"`captions` is {texts!r}; a list of texts is needed, one at least")
    captions = tuple(needed_text(text, "captions") for text in texts)
    kept = split is None or values.get("split", split) == split
    return CaptionedPhoto(photo_of_row(values, folder), captions), kept
