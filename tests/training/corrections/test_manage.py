"""The command for corrections: export, list, delete; and runs that learn from twenty of them."""

import json
import sqlite3
from pathlib import Path

import pytest
from PIL import Image
from toy_data import write_rows

from training.corrections.manage import main
from training.datasets.readers.jsonl import read_rows
from training.train import main as train
from valm_core.checkpoints.fingerprints import answer_list_fingerprint
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.corrections.database import MadeWith, add_correction, read_corrections
from valm_core.predictor import VqaPredictor

CONFIG = Path(__file__).parents[3] / "training" / "configs" / "feedback.yaml"
QUESTION = "what color is the square?"
COLORS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (40, 60, 220), "yellow": (230, 220, 40)}


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "feedback" / "corrections.db"
    add_correction(path, Image.new("RGB", (40, 30), "red"), "what color?", "blue", "red", True)
    add_correction(path, Image.new("RGB", (40, 30), "red"), "is it red?", "no", "yes", True)
    return path


def feedback(*words) -> None:
    main([str(word) for word in words])


def refusal(capsys, *words) -> str:
    """What the command says as it refuses."""
    with pytest.raises(SystemExit) as caught:
        feedback(*words)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_export_writes_rows_that_training_reads(database, tmp_path, capsys):
    for _ in range(2):  # an earlier export is replaced
        feedback("export", "--database", database, "--output", tmp_path / "out")
    assert "2 rows are in" in capsys.readouterr().out
    rows = read_rows(tmp_path / "out" / "corrections.jsonl")
    assert [(row.question, row.answers, row.source) for row in rows] == [
        ("what color?", ("red",), "feedback"),
        ("is it red?", ("yes",), "feedback"),
    ]
    assert rows[0].image == rows[1].image and len(list((tmp_path / "out" / "photos").iterdir())) == 1


def test_what_earlier_versions_stored_as_typed_is_exported_in_its_normal_form(database, tmp_path, capsys):
    connection = sqlite3.connect(database)
    with connection:
        connection.execute(
            "UPDATE corrections SET right_answer = 'it’s\u200b red', question = 'what\u00a0color?' WHERE id = 1"
        )
    connection.close()
    feedback("export", "--database", database, "--output", tmp_path / "out")
    line = json.loads((tmp_path / "out" / "corrections.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (line["question"], line["answer"]) == ("what color?", "it's red")
    feedback("list", "--database", database)
    assert r"it’s\u200b red" in capsys.readouterr().out


def test_export_says_what_is_wrong_and_keeps_other_files(database, tmp_path, capsys):
    assert "There is no database" in refusal(
        capsys, "export", "--database", tmp_path / "none.db", "--output", tmp_path / "out"
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    assert "holds other files" in refusal(capsys, "export", "--database", database, "--output", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"
    feedback("delete", "--database", database, "--number", 1)
    feedback("delete", "--database", database, "--number", 2)
    assert "no correction yet" in refusal(capsys, "export", "--database", database, "--output", tmp_path / "out")


def test_what_a_person_wants_deleted_is_found_in_the_list(database, capsys):
    feedback("list", "--database", database)
    line = capsys.readouterr().out.splitlines()[2].split("\t")
    assert line[0] == "2" and line[3:] == ["is it red?", "no", "yes"]
    feedback("delete", "--database", database, "--photo", line[2])
    assert "2 corrections were deleted" in capsys.readouterr().out
    assert list(read_corrections(database)) == []
    assert "no such correction" in refusal(capsys, "delete", "--database", database, "--photo", line[2])


def squares(folder: Path, shades: range) -> Path:
    """A data file about squares of every color in some shades: what color, and is there any red."""
    folder.mkdir()
    rows = []
    for name, color in COLORS.items():
        for shade in shades:
            picture = f"{name}{shade}.png"
            Image.new("RGB", (40, 30), tuple(part - shade for part in color)).save(folder / picture)
            rows.append({"image": picture, "question": QUESTION, "answer": name})
            rows.append({"image": picture, "question": "is there any red?", "answer": "yes" if name == "red" else "no"})
    return write_rows(folder / "rows.jsonl", rows)


def orange(number: int) -> Image.Image:
    return Image.new("RGB", (40, 30), (235 + number, 120 + number, number))


def share_right(checkpoint: Path, data: Path) -> float:
    predictor = VqaPredictor.from_checkpoint(checkpoint, "cpu")
    rows = read_rows(data)
    given = [predictor.answer(predictor.encode(row.image), row.question).answers[0].text for row in rows]
    return sum(answer == row.answers[0] for answer, row in zip(given, rows, strict=True)) / len(rows)


def test_twenty_corrections_change_the_answer_and_nothing_is_forgotten(config_file, tmp_path):
    """Orange is unknown to the toy model. Corrections, checks of them and validation have no photo in common."""
    old, validation = squares(tmp_path / "old", range(0, 24, 4)), squares(tmp_path / "validation", range(2, 24, 4))
    files = ["--data", old, "--validation", validation, "--output", tmp_path / "start"]
    settings = ["epochs=6", "repeat=5", "batch_size=16"]
    train([str(word) for word in ["--config", config_file, "--device", "cpu", *files, *settings]])
    start = tmp_path / "start" / "checkpoint"
    predictor = VqaPredictor.from_checkpoint(start, "cpu")
    unseen = [orange(number) for number in (3, 9, 15)]
    wrong = [predictor.answer(predictor.encode(photo), QUESTION).answers[0].text for photo in unseen]
    assert "orange" not in wrong
    database = tmp_path / "corrections.db"
    for number in [number for number in range(23) if number not in (3, 9, 15)]:
        add_correction(database, orange(number), QUESTION, wrong[0], "orange", True)
    feedback("export", "--database", database, "--output", tmp_path / "corrections")

    words = ["--config", CONFIG, "--data", tmp_path / "corrections" / "corrections.jsonl", "--validation", validation]
    words += ["--init", start, "--output", tmp_path / "corrected", "--device", "cpu", f"cache={tmp_path / 'cache'}"]
    words += ["precision=no"]  # as the start was trained: accelerate allows one precision a process
    train([str(word) for word in [*words, f"rehearsal={old}", "learning_rate=0.003", "dropout=0.0", "epochs=15"]])
    after = VqaPredictor.from_checkpoint(tmp_path / "corrected" / "checkpoint", "cpu")
    assert [after.answer(after.encode(photo), QUESTION).answers[0].text for photo in unseen] == ["orange"] * 3
    before = share_right(start, validation)
    assert before > 0.9 and share_right(tmp_path / "corrected" / "checkpoint", validation) > before - 0.01


def test_a_run_that_would_forget_too_much_is_refused(config_file, tmp_path, capsys):
    """Every row says "blue" now: with big steps and no rehearsal the model would soon say nothing else."""
    old = squares(tmp_path / "old", range(0, 8, 4))
    words = ["--config", config_file, "--device", "cpu", "--validation", old, "batch_size=8"]
    train([str(word) for word in [*words, "--data", old, "--output", tmp_path / "start", "epochs=4", "repeat=5"]])
    rows = [json.loads(line) | {"answer": "blue"} for line in old.read_text().splitlines()]
    data = write_rows(old.with_name("blue.jsonl"), rows)
    words += ["--data", data, "--init", tmp_path / "start" / "checkpoint", "--output", tmp_path / "lost"]
    with pytest.raises(SystemExit):
        train([str(word) for word in [*words, "epochs=3", "learning_rate=0.05", "accuracy_to_spare=0.01"]])
    error = capsys.readouterr().err
    assert "Every epoch lost more than accuracy_to_spare, 0.01" in error and "mix in `rehearsal`" in error
    assert not (tmp_path / "lost" / "checkpoint").exists()


def test_measure_reports_what_was_learned_and_what_was_lost(config_file, tmp_path):
    """The start has learned the colors a little; four squares are corrected, and parts share no photo."""
    data, validation = squares(tmp_path / "old", range(0, 24, 4)), squares(tmp_path / "validation", range(2, 24, 4))
    words = ["--config", config_file, "--device", "cpu", "--data", data, "--validation", validation]
    train([str(word) for word in [*words, "--output", tmp_path / "start", "epochs=1", "learning_rate=0.0001"]])
    report = tmp_path / "report.json"
    measuring = [
        "measure",
        "--checkpoint",
        tmp_path / "start" / "checkpoint",
        "--data",
        data,
        "--validation",
        validation,
    ]
    measuring += ["--corrections", 4, "--config", config_file, "--output", tmp_path / "work", "--report", report]
    feedback(*measuring, "--validation-rows", 6, "--cache", tmp_path / "cache", "--device", "cpu")
    runs = json.loads(report.read_text())["runs"]
    assert [run["rehearsal_rows"] > 0 for run in runs] == [False, False]  # 0 stands for all of them
    corrected = runs[0]["parts"]["corrected"]
    assert corrected["questions"] == 4 and corrected["before"] == 0
    assert corrected["after"] == corrected["mended"] / 4
    parts = [runs[0]["parts"][part]["questions"] for part in ("similar", "same_question", "validation")]
    assert min(parts[::2]) > 0
    rehearsal = {row.image for row in read_rows(tmp_path / "work" / "any" / "rehearsal.jsonl")}
    guard = {row.image for row in read_rows(tmp_path / "work" / "guard.jsonl")}
    assert len(guard) > 2 and not rehearsal & guard
    assert "| the corrected questions | 4 | 0.0 % |" in report.with_suffix(".md").read_text()


def test_corrections_of_a_model_with_another_answer_list_are_refused_left_out_or_kept(tiny_model, tmp_path, capsys):
    save_checkpoint(tiny_model, tmp_path / "checkpoint")
    path = tmp_path / "corrections.db"
    ours = MadeWith("c" * 64, answer_list_fingerprint(tiny_model.answers))
    for answer, model in (("teal", ours), ("red", MadeWith("d" * 64, "other")), ("blue", MadeWith())):
        add_correction(path, Image.new("RGB", (40, 30), "red"), "what color?", "pink", answer, True, made_with=model)
    words = ["export", "--database", path, "--output", tmp_path / "out", "--checkpoint", tmp_path / "checkpoint"]
    told = refusal(capsys, *words)
    assert "1 of 3 corrections were made with a model of another answer list" in told and "\n" not in told.strip()
    assert "--other-models leave-out" in told and not (tmp_path / "out").exists()

    def exported(*more) -> list[dict]:
        feedback(*words, *more)
        return [json.loads(line) for line in (tmp_path / "out" / "corrections.jsonl").read_text().splitlines()]

    assert [row["answer"] for row in exported("--other-models", "leave-out")] == ["teal", "blue"]
    told = capsys.readouterr().out
    assert "1 corrections were made with another answer list and are left out." in told
    assert "1 don't say which model" in told and "1 right answers are not in the list" in told and "teal" in told
    rows = exported("--other-models", "keep")
    assert [row.get("answer_list") for row in rows] == [ours.answer_list, "other", None]
    assert [row.answers for row in read_rows(tmp_path / "out" / "corrections.jsonl")] == [
        ("teal",),
        ("red",),
        ("blue",),
    ]
    feedback(*words[:5])
    assert "of models with 3 answer lists" in capsys.readouterr().out
