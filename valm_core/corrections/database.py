"""People's corrections in one SQLite file: the question, the model's answer, the right one, and the photo once."""

import hashlib
import io
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from valm_core.inputs.photo import open_photo
from valm_core.inputs.question import clean_question
from valm_core.inputs.text import clean_text
from valm_core.outputs import InputError

MAX_ANSWER_CHARACTERS = 100
MIN_RECEIPT_CHARACTERS = 8  # of a photo's sha256, to name it with
LOCK_SECONDS = 5  # how long to wait for another writer
TABLES = """
CREATE TABLE IF NOT EXISTS photos (sha256 TEXT PRIMARY KEY, jpeg BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS corrections (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    photo TEXT NOT NULL REFERENCES photos (sha256),
    question TEXT NOT NULL, model_answer TEXT NOT NULL, right_answer TEXT NOT NULL,
    uploaded INTEGER NOT NULL DEFAULT 0,
    checkpoint TEXT NOT NULL DEFAULT '', answer_list TEXT NOT NULL DEFAULT '',
    UNIQUE (photo, question, right_answer));
"""
# Said again of another model, a correction is about that one from now on: it is the one that can learn from it.
ADD = """
INSERT INTO corrections (photo, question, model_answer, right_answer, checkpoint, answer_list) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (photo, question, right_answer) DO UPDATE SET
    model_answer = excluded.model_answer, checkpoint = excluded.checkpoint, answer_list = excluded.answer_list,
    time = excluded.time, uploaded = 0
WHERE (checkpoint, answer_list) IS NOT (excluded.checkpoint, excluded.answer_list)
"""
MODEL_COLUMNS = ("checkpoint", "answer_list")  # which a database of an earlier version lacks
REASONS = (  # what sqlite says, why that is, and what to do
    (("locked", "busy"), "another program is writing to the database", "Try again in a moment."),
    (("full",), "the disk is full", "Make room."),
    (("readonly", "read-only"), "the database is read-only", "Choose another path, or make it writable."),
)
OTHER_REASON = ("the database can't be opened", "Check that it is a file of corrections in a folder to write to.")


class CorrectionsError(OSError):
    """The database can't be used. ``reason`` says why to a visitor, who must not read where it lies."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Correction:
    """One correction; ``jpeg`` is the photo re-encoded, without EXIF, ``photo`` the sha256 of these bytes.

    ``checkpoint`` is the sha256 of the weights that answered, ``answer_list`` the fingerprint of the answers that they
    chose from; both are empty in corrections that an earlier version stored.
    """

    number: int
    time: str  # YYYY-MM-DD HH:MM:SS, UTC
    photo: str
    jpeg: bytes
    question: str
    model_answer: str
    right_answer: str
    checkpoint: str = ""
    answer_list: str = ""


@dataclass(frozen=True)
class MadeWith:
    """Which model a correction is about: the sha256 of its weights, and the fingerprint of its answer list."""

    checkpoint: str = ""
    answer_list: str = ""


UNKNOWN_MODEL = MadeWith()


@dataclass(frozen=True)
class Receipt:
    """What a person is told: the stored photo's sha256, and whether the correction was ``new``."""

    photo: str
    new: bool


def add_correction(
    database: str | Path,
    picture: Image.Image,
    question: str,
    model_answer: str,
    right_answer: str,
    consent: bool,
    most_bytes: int = 0,
    made_with: MadeWith = MadeWith(),
) -> Receipt:
    """Store a correction and its photo in one transaction: both are there afterwards, or neither.

    Args:
        database: the SQLite file; it and its folder are made where missing.
        picture: the photo; only its pixels are kept, upright.
        question, model_answer, right_answer: as asked, given and typed.
        consent: whether the person agreed that photo and texts are kept.
        most_bytes: how large the database may become; 0 sets no bound.
        made_with: the model that answered.

    Raises:
        InputError: no consent, or an answer that is empty, too long or the one the model gave.
        CorrectionsError: the database can't be written: locked, on a full or read-only disk, at its bound, or no
            database.
    """
    if not consent:
        raise InputError("Nothing was stored: tick the box if you agree that the photo and your answer are kept.")
    question = clean_question(question)
    right_answer = clean_answer(right_answer)
    if right_answer.casefold() == model_answer.casefold():
        raise InputError(
            "“{answer}” is what the model answered. Type the right answer if that one is wrong.", answer=right_answer
        )
    jpeg = _jpeg(picture)
    digest = hashlib.sha256(jpeg).hexdigest()
    with _explaining(Path(database)):
        Path(database).parent.mkdir(parents=True, exist_ok=True)
        with _writing(database) as connection:
            connection.execute("INSERT OR IGNORE INTO photos VALUES (?, ?)", (digest, jpeg))
            new = connection.execute(
                ADD, (digest, question, model_answer, right_answer, made_with.checkpoint, made_with.answer_list)
            ).rowcount
            if new and most_bytes and _used_bytes(connection) > most_bytes:
                raise CorrectionsError(
                    f"The database {database} is full: {most_bytes} bytes at most. Export and delete corrections, or "
                    "allow more.",
                    "the store of corrections is full",
                )
    return Receipt(digest, new == 1)


def may_hold_corrections(database: str | Path) -> bool:
    """Whether a file is empty or a database of corrections, not one of another program. One in use may be either."""
    try:
        with closing(sqlite3.connect(database, timeout=LOCK_SECONDS)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            ours = {"photo", "question", "right_answer"} <= _columns(connection)
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError:
        return False
    return ours or not tables


def read_corrections(database: str | Path, uploaded: bool = True) -> Iterator[Correction]:
    """All corrections, oldest first; without ``uploaded`` those that ``mark_uploaded`` was not told of.

    Raises:
        FileNotFoundError: there is no such file.
        CorrectionsError: it can't be read, or is no database of corrections.
    """
    with _reading(database) as connection:
        known = _columns(connection)
        models = ", ".join(name if name in known else "''" for name in MODEL_COLUMNS)
        rows = connection.execute(
            f"SELECT id, time, sha256, jpeg, question, model_answer, right_answer, {models} FROM corrections "  # noqa: S608
            "JOIN photos ON photo = sha256 WHERE uploaded <= ? ORDER BY id",
            (int(uploaded),),
        )
        for row in rows:
            yield Correction(*row)


def mark_uploaded(database: str | Path, numbers: list[int]) -> None:
    """Remember that these corrections lie in the repository too. Raises what ``add_correction`` does."""
    with _explaining(Path(database)), _writing(database) as connection:
        connection.executemany("UPDATE corrections SET uploaded = 1 WHERE id = ?", [(number,) for number in numbers])


def delete_corrections(
    database: str | Path, photo: str = "", number: int | None = None, older_than_days: int | None = None
) -> int:
    """Delete corrections and what then is no one's photo, so that nothing of them stays in the file.

    Args:
        database: the SQLite file.
        photo: the photo's sha256 or its beginning, as the page's receipt has it: all corrections of that photo.
        number: the ``number`` of one correction.
        older_than_days: all that were stored more days ago.

    Returns:
        How many corrections were deleted.

    Raises:
        ValueError: nothing to delete by, days below 0, no beginning of a sha256, or one that several photos share.
        FileNotFoundError, CorrectionsError: as in ``read_corrections``; also where another program reads the file, so
            that the text of what was deleted stays in it.
    """
    if older_than_days is not None and older_than_days < 0:
        raise ValueError(f"older_than_days is {older_than_days}; a number of at least 0 is needed.")
    with _reading(database) as connection:
        value: str | int
        if photo:
            digests = connection.execute("SELECT sha256 FROM photos").fetchall()
            condition, value = "photo = ?", the_photo(photo, [digest for (digest,) in digests])
        elif number is not None:
            condition, value = "id = ?", number
        elif older_than_days is not None:
            condition, value = "time < datetime('now', ?)", f"-{older_than_days} days"
        else:
            raise ValueError("Say which corrections to delete: by photo, number or age.")
        connection.execute("PRAGMA secure_delete = ON")  # zeros in place of what was there
        with connection:
            deleted = connection.execute(f"DELETE FROM corrections WHERE {condition}", (value,)).rowcount  # noqa: S608
            connection.execute("DELETE FROM photos WHERE sha256 NOT IN (SELECT photo FROM corrections)")
        if deleted:
            connection.execute("VACUUM")
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # the log had it too
            if busy:
                raise CorrectionsError(
                    f"{deleted} corrections are deleted, but another program reads {database}, so what they said is "
                    "still in the file. Delete any correction once that program is done, or run VACUUM.",
                    "it is deleted, but its text leaves the file only when no one else reads it",
                )
    return deleted


def the_photo(beginning: str, digests: list[str]) -> str:
    """The one of the sha256 ``digests`` that begins so, or ``beginning`` itself where none does.

    Raises:
        ValueError: too short or no hexadecimal number, or several photos begin so.
    """
    beginning = beginning.strip().lower()
    if len(beginning) < MIN_RECEIPT_CHARACTERS or set(beginning) - set("0123456789abcdef"):
        raise ValueError(
            f"photo is {beginning!r}; at least {MIN_RECEIPT_CHARACTERS} digits (0-9, a-f) of its sha256 are needed."
        )
    found = [digest for digest in digests if digest.startswith(beginning)]
    if len(found) > 1:
        raise ValueError(f"photo is {beginning!r}, with which {len(found)} photos begin; give more digits.")
    return found[0] if found else beginning


def clean_answer(answer: str | None) -> str:
    """A typed answer in its normal form, see ``valm_core.inputs.text.clean_text``; its case stays.

    Raises:
        InputError: it is empty, nothing but punctuation (``+``, ``-`` and ``<`` do answer), too long, or holds half a
            character.
    """
    text = clean_text(answer or "", "answer")
    if not any(letter.isalnum() or letter == "-" or unicodedata.category(letter)[0] == "S" for letter in text):
        raise InputError("The right answer is empty. Type it, for example: two")
    if len(text) > MAX_ANSWER_CHARACTERS:
        raise InputError(
            "The answer has {count} characters, at most {most} are kept. Give the answer alone.",
            count=len(text),
            most=MAX_ANSWER_CHARACTERS,
        )
    return text


def _jpeg(picture: Image.Image) -> bytes:
    upright = open_photo(picture)
    plain = Image.new("RGB", upright.size)  # a new image has no EXIF, comment or profile to carry along
    plain.paste(upright)
    buffer = io.BytesIO()
    plain.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


@contextmanager
def _writing(database: str | Path) -> Iterator[sqlite3.Connection]:
    """A connection within one transaction, which an error undoes; the tables are there."""
    with closing(sqlite3.connect(database, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(TABLES)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            known = _columns(connection)
            for name in MODEL_COLUMNS:  # a database of an earlier version gains them, and keeps all it has
                if name not in known:
                    connection.execute(f"ALTER TABLE corrections ADD COLUMN {name} TEXT NOT NULL DEFAULT ''")
            yield connection


def _columns(connection: sqlite3.Connection) -> set[str]:
    return {row[1] for row in connection.execute("PRAGMA table_info (corrections)")}


@contextmanager
def _reading(database: str | Path) -> Iterator[sqlite3.Connection]:
    """A connection to a database that must be there."""
    if not Path(database).is_file():
        raise FileNotFoundError(f"There is no database {database}. Check the path.")
    with _explaining(Path(database)), closing(sqlite3.connect(database, timeout=LOCK_SECONDS)) as connection:
        yield connection


@contextmanager
def _explaining(database: Path) -> Iterator[None]:
    """Turn what sqlite and the disk raise into an error that names the file and the remedy."""
    try:
        yield
    except (sqlite3.Error, FileExistsError, PermissionError, NotADirectoryError) as error:
        message = str(error).lower()
        known = (reason for words, *reason in REASONS if any(word in message for word in words))
        reason, remedy = next(known, OTHER_REASON)
        raise CorrectionsError(
            f"The database {database} can't be used: {reason} ({error}). Nothing was changed. {remedy}", reason
        ) from error
