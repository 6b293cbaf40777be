"""People's corrections in one SQLite file: the question, the model's answer, the right one, and the photo once."""

import hashlib
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from valm_core.outputs import InputError
from valm_core.processor import clean_question

MAX_ANSWER_CHARACTERS = 100
LOCK_SECONDS = 5  # how long to wait for another writer
TABLES = """
CREATE TABLE IF NOT EXISTS photos (sha256 TEXT PRIMARY KEY, jpeg BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS corrections (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    photo TEXT NOT NULL REFERENCES photos (sha256),
    question TEXT NOT NULL, model_answer TEXT NOT NULL, right_answer TEXT NOT NULL,
    UNIQUE (photo, question, right_answer));
"""


@dataclass(frozen=True)
class Correction:
    """One correction; ``jpeg`` is the photo re-encoded, without EXIF, ``photo`` the sha256 of these bytes."""

    photo: str
    jpeg: bytes
    question: str
    model_answer: str
    right_answer: str


def add_correction(
    database: str | Path, picture: Image.Image, question: str, model_answer: str, right_answer: str, consent: bool
) -> bool:
    """Store a correction and its photo in one transaction: both are there afterwards, or neither.

    Args:
        database: the SQLite file; it and its folder are made where missing.
        picture: the photo as RGB; only its pixels are kept.
        question, model_answer, right_answer: as asked, given and typed.
        consent: whether the person agreed that photo and texts are kept.

    Returns:
        False where the same correction was there already.

    Raises:
        InputError: no consent, or an answer that is empty, too long or the one the model gave.
        OSError: the database can't be written: locked, on a full or read-only disk, or no database.
    """
    if not consent:
        raise InputError("Nothing was stored: tick the box if you agree that the photo and your answer are kept.")
    question = clean_question(question)
    right_answer = clean_answer(right_answer)
    if right_answer.casefold() == model_answer.casefold():
        raise InputError(f"“{right_answer}” is what the model answered. Type the right answer if that one is wrong.")
    jpeg = _jpeg(picture)
    digest = hashlib.sha256(jpeg).hexdigest()
    database = Path(database)
    with _explaining(database):
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database, timeout=LOCK_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(TABLES)
            with connection:  # one transaction
                connection.execute("INSERT OR IGNORE INTO photos VALUES (?, ?)", (digest, jpeg))
                added = connection.execute(
                    "INSERT OR IGNORE INTO corrections (photo, question, model_answer, right_answer) "
                    "VALUES (?, ?, ?, ?)",
                    (digest, question, model_answer, right_answer),
                ).rowcount
    return added == 1


def read_corrections(database: str | Path) -> Iterator[Correction]:
    """All corrections, oldest first.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it can't be read, or is no database of corrections.
    """
    database = Path(database)
    if not database.is_file():
        raise FileNotFoundError(f"There is no database {database}. Check the path.")
    with _explaining(database), closing(sqlite3.connect(database, timeout=LOCK_SECONDS)) as connection:
        rows = connection.execute(
            "SELECT sha256, jpeg, question, model_answer, right_answer FROM corrections JOIN photos ON photo = sha256 "
            "ORDER BY id"
        )
        for row in rows:
            yield Correction(*row)


def clean_answer(answer: str | None) -> str:
    """A typed answer in one line, of printable characters. Raises InputError where it is empty or too long."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in answer or "").split())
    if not any(letter.isalnum() for letter in text):
        raise InputError("The right answer is empty. Type it, for example: two")
    if len(text) > MAX_ANSWER_CHARACTERS:
        raise InputError(
            f"The answer has {len(text)} characters, at most {MAX_ANSWER_CHARACTERS} are kept. Give the answer alone."
        )
    return text


def _jpeg(picture: Image.Image) -> bytes:
    plain = Image.new("RGB", picture.size)  # a new image has no EXIF, comment or profile to carry along
    plain.paste(picture.convert("RGB"))
    buffer = io.BytesIO()
    plain.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@contextmanager
def _explaining(database: Path) -> Iterator[None]:
    """Turn what sqlite and the disk raise into an OSError that names the file and the remedy."""
    try:
        yield
    except (sqlite3.Error, FileExistsError, PermissionError, NotADirectoryError) as error:
        message = str(error).lower()
        remedy = "Check that it is a file of corrections in a folder that may be written to."
        if "locked" in message or "busy" in message:
            remedy = "Another program is writing to it; try again in a moment."
        elif "full" in message:
            remedy = "The disk is full; make room."
        elif "readonly" in message or "read-only" in message:
            remedy = "The file or its disk is read-only; choose another path."
        raise OSError(f"The database {database} can't be used ({error}). Nothing was changed. {remedy}") from error
