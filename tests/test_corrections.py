"""Corrections: stored whole or not at all, without EXIF, exported as training rows, and learned from."""

import io
import json
import sqlite3

import pytest
from PIL import Image
from toy_data import write_rows

from training.datasets.jsonl import read_rows
from training.feedback import export, main
from training.train import main as train
from valm_core.corrections import add_correction, read_corrections
from valm_core.outputs import InputError
from valm_core.predictor import VqaPredictor


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
        assert add_correction(database, opened, "what color?", "blue", "red", True)
        assert add_correction(database, opened, "is it red?", "no", "yes", True)
        assert not add_correction(database, opened, "is it red?", "no", "yes", True)
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


def test_sql_in_an_answer_is_only_text(database):
    text = "'); DROP TABLE corrections; --"
    add_correction(database, picture(), text + " ok?", "blue", text + " x", True)
    assert next(read_corrections(database)).right_answer == text + " x"


def test_a_locked_database_is_named_and_nothing_is_written(database, monkeypatch):
    add_correction(database, picture(), "what color?", "blue", "red", True)
    monkeypatch.setattr("valm_core.corrections.LOCK_SECONDS", 0.05)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(OSError, match="Another program is writing"):
            add_correction(database, picture("blue"), "what color?", "red", "blue", True)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert len(list(read_corrections(database))) == 1


def test_a_full_disk_leaves_neither_photo_nor_correction(database, monkeypatch):
    add_correction(database, picture(), "what color?", "blue", "red", True)
    connect = sqlite3.connect

    def small(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 1")  # sqlite takes the present size where that is more
        return connection

    noise = Image.effect_noise((400, 300), 90).convert("RGB")
    with monkeypatch.context() as patch:
        patch.setattr("valm_core.corrections.sqlite3.connect", small)
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


def test_export_says_what_is_wrong_and_keeps_other_files(database, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["export", "--database", str(database), "--output", str(tmp_path / "out")])
    assert "There is no database" in capsys.readouterr().err
    add_correction(database, picture(), "what color?", "blue", "red", True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds other files"):
        export(database, mine)
    assert (mine / "thesis.txt").read_text() == "dear"
    assert export(database, tmp_path / "out") == export(database, tmp_path / "out") == 1


def test_twenty_corrections_change_the_answer(config_file, colored_squares, database, tmp_path):
    """Orange squares are unknown to the toy model; 20 of them, with the toy's own rows beside, teach it the word."""
    run, epochs = ["--config", str(config_file), "--device", "cpu"], ["epochs=60", "early_stopping_patience=60"]
    train([*run, "--output", str(tmp_path / "start"), *epochs])
    start = VqaPredictor.from_checkpoint(tmp_path / "start" / "checkpoint", "cpu")
    question, unseen = "what color is the square?", Image.new("RGB", (40, 30), (245, 130, 5))
    wrong = start.answer(start.encode(unseen), question).answers[0].text
    assert wrong != "orange"
    for number in range(20):
        square = Image.new("RGB", (40, 30), (235 + number, 120 + number, number))
        assert add_correction(database, square, question, wrong, "orange", True)
    assert export(database, tmp_path / "corrections") == 20
    exported = tmp_path / "corrections" / "corrections.jsonl"
    assert len(read_rows(exported)) == 20

    own = [json.loads(line) | {"image": str(tmp_path / json.loads(line)["image"])} for line in colored_squares.open()]
    new = [json.loads(line) | {"image": str(exported.parent / json.loads(line)["image"])} for line in exported.open()]
    data = write_rows(tmp_path / "both.jsonl", own * 3 + new)
    validation = ["--validation", str(write_rows(tmp_path / "check.jsonl", own + new[:4]))]
    tuned = tmp_path / "tuned"
    start_from = ["--init", str(tmp_path / "start" / "checkpoint"), "--data", str(data)]
    train([*run, *start_from, *validation, "--output", str(tuned), *epochs])
    after = VqaPredictor.from_checkpoint(tuned / "checkpoint", "cpu")
    assert after.answer(after.encode(unseen), question).answers[0].text == "orange"
    rows = [(row.image, row.question, row.answers[0]) for row in read_rows(colored_squares)]

    def right(predictor) -> int:
        asked = [(predictor.answer(predictor.encode(photo), text), answer) for photo, text, answer in rows]
        return sum(prediction.answers[0].text == answer for prediction, answer in asked)

    assert right(after) >= right(start) >= 6
