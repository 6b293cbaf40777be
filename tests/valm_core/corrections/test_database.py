"""Corrections: stored whole or not at all, without EXIF, and deleted for good."""

import io
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from toy_data import age_corrections

from valm_core.corrections.database import (
    CorrectionsError,
    MadeWith,
    add_correction,
    delete_corrections,
    read_corrections,
    the_photo,
)
from valm_core.outputs import InputError


@pytest.fixture
def database(tmp_path):
    return tmp_path / "feedback" / "corrections.db"


def picture(color="red") -> Image.Image:
    return Image.new("RGB", (40, 30), color)


def test_a_photo_is_stored_once_and_without_exif(database):
    photo = picture()
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", exif=exif)
    assert b"SecretCamera" in buffer.getvalue()
    with Image.open(io.BytesIO(buffer.getvalue())) as opened:
        first = add_correction(database, opened, "what color?", "blue", "red", True)
        second = add_correction(database, opened, "is it red?", "no", "yes", True)
        assert first == second and first.new
        again = add_correction(database, opened, "is it red?", "no", "yes", True)
        assert again.photo == first.photo and not again.new
    stored = list(read_corrections(database))
    assert [(row.question, row.model_answer, row.right_answer) for row in stored] == [
        ("what color?", "blue", "red"),
        ("is it red?", "no", "yes"),
    ]
    connection = sqlite3.connect(database)
    assert connection.execute("SELECT count(*) FROM photos").fetchone() == (1,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert b"SecretCamera" not in stored[0].jpeg
    assert not Image.open(io.BytesIO(stored[0].jpeg)).getexif()


@pytest.mark.parametrize(
    ("answer", "consent", "message"),
    [
        ("red", False, "tick the box"),
        ("  \n", True, "is empty"),
        ("x" * 101, True, "101 characters"),
        ("Blue", True, "what the model answered"),
    ],
)
def test_what_cannot_be_stored_is_said_and_leaves_no_file(database, answer, consent, message):
    with pytest.raises(InputError, match=message):
        add_correction(database, picture(), "what color?", "blue", answer, consent)
    assert not database.exists()


def test_what_a_reader_keeps_in_the_file_is_told_and_goes_with_the_next_deletion(database, monkeypatch):
    monkeypatch.setattr("valm_core.corrections.database.LOCK_SECONDS", 0.1)
    add_correction(database, picture(), "what color?", "blue", "SecretRed", True)
    reader = sqlite3.connect(database)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM corrections").fetchone()
    with pytest.raises(CorrectionsError, match=r"1 corrections are deleted, but another program reads"):
        delete_corrections(database, number=1)
    reader.close()
    add_correction(database, picture(), "what color?", "blue", "green", True)
    assert delete_corrections(database, number=2) == 1
    files = [path for path in database.parent.iterdir() if path.name.startswith(database.name)]
    assert not any(b"SecretRed" in path.read_bytes() for path in files)


def test_sql_in_an_answer_is_only_text(database):
    text = "'); DROP TABLE corrections; --"
    add_correction(database, picture(), text + " ok?", "blue", text + " x", True)
    assert next(read_corrections(database)).right_answer == text + " x"


def test_a_locked_database_is_named_and_nothing_is_written(database, monkeypatch):
    add_correction(database, picture(), "what color?", "blue", "red", True)
    monkeypatch.setattr("valm_core.corrections.database.LOCK_SECONDS", 0.05)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(OSError, match="another program is writing"):
            add_correction(database, picture("blue"), "what color?", "red", "blue", True)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert len(list(read_corrections(database))) == 1


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("it’s “two”", 'it\'s "two"'),
        ("cafe\u0301\u200b", "caf\u00e9"),
        ("+", "+"),
        (" < 5", "< 5"),
        ("-", "-"),
        ("A", "A"),
    ],
)
def test_texts_are_kept_in_their_normal_form(database, typed, kept):
    add_correction(database, picture(), "what’s\u00a0that?", "blue", typed, True)
    assert [(row.question, row.right_answer) for row in read_corrections(database)] == [("what's that?", kept)]


@pytest.mark.parametrize(("typed", "message"), [("?!", "is empty"), ("cat \ud83d", "half a character at place 5")])
def test_what_is_no_answer_is_refused(database, typed, message):
    with pytest.raises(InputError, match=message):
        add_correction(database, picture(), "what color?", "blue", typed, True)
    assert not database.exists()


def test_a_full_disk_leaves_neither_photo_nor_correction(database, monkeypatch):
    add_correction(database, picture(), "what color?", "blue", "red", True)
    connect = sqlite3.connect

    def small(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 1")  # sqlite takes the present size where that is more
        return connection

    noise = Image.effect_noise((400, 300), 90).convert("RGB")
    with monkeypatch.context() as patch:
        patch.setattr("valm_core.corrections.database.sqlite3.connect", small)
        with pytest.raises(OSError, match="disk is full"):
            add_correction(database, noise, "what color?", "red", "grey", True)
    connection = connect(database)
    assert connection.execute("SELECT count(*) FROM photos").fetchone() == (1,)
    connection.close()


def test_a_folder_or_another_file_in_the_way_is_said(tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("no database at all, " * 99)
    for path in (other, other / "corrections.db", tmp_path):
        with pytest.raises(OSError, match="can't be used"):
            add_correction(path, picture(), "what color?", "blue", "red", True)
    assert other.read_text().startswith("no database")


def test_two_threads_write_at_once_and_nothing_is_lost(database):
    """On a new database too, whose first users all want to make its tables."""
    start = threading.Barrier(2)

    def write(thread: int) -> None:
        start.wait()
        for number in range(10):
            add_correction(
                database, picture((thread, number, 0)), "what color?", "blue", f"red {thread} {number}", True
            )

    with ThreadPoolExecutor(2) as pool:
        for outcome in [pool.submit(write, thread) for thread in range(2)]:
            outcome.result()
    stored = list(read_corrections(database))
    assert len({row.right_answer for row in stored}) == len(stored) == 20


def test_a_read_only_database_is_named_to_the_visitor_without_its_path(database, monkeypatch):
    add_correction(database, picture(), "what color?", "blue", "red", True)
    connect = sqlite3.connect

    def read_only(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA query_only = ON")
        return connection

    monkeypatch.setattr("valm_core.corrections.database.sqlite3.connect", read_only)
    with pytest.raises(CorrectionsError, match="Choose another path") as caught:
        add_correction(database, picture("blue"), "what color?", "red", "blue", True)
    assert caught.value.reason == "the database is read-only" and str(database) in str(caught.value)


def test_the_bound_holds_and_what_fits_is_kept(database):
    def noise() -> Image.Image:
        return Image.effect_noise((300, 200), 90).convert("RGB")

    bound = 200_000
    with pytest.raises(CorrectionsError, match="200000 bytes at most") as caught:
        for number in range(99):
            add_correction(database, noise(), "what is it?", "a cat", f"noise {number}", True, bound)
    assert caught.value.reason == "the store of corrections is full"
    kept = len(list(read_corrections(database)))
    assert 2 <= kept < 20 and database.stat().st_size <= bound
    delete_corrections(database, number=1)
    assert add_correction(database, noise(), "what is it?", "a cat", "one more", True, bound).new  # there is room again


def test_deleting_leaves_nothing_of_a_photo_in_the_file(database):
    add_correction(database, picture(), "what color?", "blue", "red", True)
    receipt = add_correction(database, Image.effect_noise((90, 90), 90).convert("RGB"), "secret?", "no", "yes", True)
    add_correction(database, Image.effect_noise((90, 90), 50).convert("RGB"), "other?", "no", "yes", True)
    secret = next(row.jpeg for row in read_corrections(database) if row.question == "secret?")

    def everything() -> bytes:
        return b"".join(path.read_bytes() for path in database.parent.iterdir())

    assert secret[-60:] in everything() and b"secret?" in everything()
    with pytest.raises(ValueError, match="at least 8 digits"):
        delete_corrections(database, photo=receipt.photo[:7])
    assert delete_corrections(database, photo="0" * 12) == 0
    assert delete_corrections(database, photo=receipt.photo[:12].upper()) == 1
    assert secret[-60:] not in everything() and b"secret?" not in everything()
    assert [row.question for row in read_corrections(database)] == ["what color?", "other?"]


def test_a_photo_stays_while_another_correction_needs_it_and_old_ones_go(database):
    add_correction(database, picture(), "what color?", "blue", "red", True)
    add_correction(database, picture(), "is it red?", "no", "yes", True)
    assert delete_corrections(database, number=1) == 1
    assert [row.number for row in read_corrections(database)] == [2]
    age_corrections(database, 31)
    with pytest.raises(ValueError, match="older_than_days is -1"):
        delete_corrections(database, older_than_days=-1)
    assert delete_corrections(database, older_than_days=31) == 0
    assert delete_corrections(database, older_than_days=30) == 1
    add_correction(database, picture(), "what color?", "blue", "red", True)
    assert [row.number for row in read_corrections(database)] == [3]  # a number is never given twice


def test_several_photos_that_begin_alike_are_not_guessed_among():
    digests = ["abcdef0011", "abcdef0022"]
    with pytest.raises(ValueError, match="2 photos begin"):
        the_photo("abcdef00", digests)
    assert the_photo("abcdef002", digests) == "abcdef0022"


def test_a_database_of_an_earlier_version_opens_gains_the_model_and_loses_nothing(database):
    database.parent.mkdir()
    connection = sqlite3.connect(database)
    with connection:
        connection.executescript(
            """CREATE TABLE photos (sha256 TEXT PRIMARY KEY, jpeg BLOB NOT NULL);
            CREATE TABLE corrections (id INTEGER PRIMARY KEY AUTOINCREMENT,
            time TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
            photo TEXT NOT NULL REFERENCES photos (sha256), question TEXT NOT NULL, model_answer TEXT NOT NULL,
            right_answer TEXT NOT NULL, uploaded INTEGER NOT NULL DEFAULT 0, UNIQUE (photo, question, right_answer));
            INSERT INTO photos VALUES ('00112233', x'ffd8');
            INSERT INTO corrections (photo, question, model_answer, right_answer)
            VALUES ('00112233', 'what color?', 'blue', 'red');"""
        )
    connection.close()
    before = database.read_bytes()
    (old,) = read_corrections(database)
    assert (old.right_answer, old.jpeg, old.checkpoint, old.answer_list) == ("red", b"\xff\xd8", "", "")
    assert database.read_bytes() == before  # reading changes nothing
    model = MadeWith("c" * 64, "a" * 64)
    assert add_correction(database, picture(), "is it red?", "no", "yes", True, made_with=model).new
    first, second = read_corrections(database)
    assert first == old and (second.checkpoint, second.answer_list) == ("c" * 64, "a" * 64)
    assert delete_corrections(database, number=old.number) == 1


def test_what_is_said_again_of_another_model_is_about_that_one(tmp_path):
    database = tmp_path / "corrections.db"
    former, latter = MadeWith("c" * 64, "a" * 64), MadeWith("d" * 64, "b" * 64)
    for given, model, new in (("dog", former, True), ("dog", former, False), ("bird", latter, True)):
        assert add_correction(database, picture(), "what is it?", given, "cat", True, made_with=model).new == new
    (kept,) = read_corrections(database)
    assert (kept.model_answer, kept.checkpoint, kept.answer_list) == ("bird", "d" * 64, "b" * 64)
