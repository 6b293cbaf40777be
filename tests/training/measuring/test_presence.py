"""Yes/no questions and statements: what is read, every figure by hand on planted answers, and the command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from toy_data import write_rows

from training.datasets.readers.jsonl import DataError
from training.datasets.readers.judging import read_yes_no
from training.measuring import presence
from training.measuring.presence import balanced_interval, main, measure, yes_no_figures
from valm_core.checkpoints.storage import save_checkpoint


@pytest.fixture
def folder(tmp_path):
    """A data folder with photos, and beside them a folder for files about them."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "judged").mkdir()
    for name in ("one", "two"):
        Image.new("RGB", (40, 30), (220, 30, 30)).save(tmp_path / "photos" / f"{name}.png")
    return tmp_path


def asked(answer: str, name: str = "one", **more) -> dict:
    return {"image": f"photos/{name}.png", "question": "is there any red?", "answer": answer} | more


@pytest.mark.parametrize("place", ["", "judged"])
def test_a_photo_lies_beside_the_file_or_in_the_folder_above(folder, place):
    (row,) = read_yes_no(write_rows(folder / place / "rows.jsonl", [asked("Yes", source="pope")]))
    assert row.image.samefile(folder / "photos" / "one.png")
    assert row.answers == ("yes",) and row.source == "pope"


def test_a_photo_beside_the_file_is_taken_first(folder):
    (folder / "judged" / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "judged" / "photos" / "one.png")
    (row,) = read_yes_no(write_rows(folder / "judged" / "rows.jsonl", [asked("no")]))
    assert row.image.samefile(folder / "judged" / "photos" / "one.png")


def test_a_file_in_the_working_folder_finds_the_folder_above_too(folder, monkeypatch):
    write_rows(folder / "judged" / "rows.jsonl", [asked("no")])
    monkeypatch.chdir(folder / "judged")
    assert read_yes_no("rows.jsonl")[0].image.samefile(folder / "photos" / "one.png")


def test_a_statement_is_asked_as_a_question(folder):
    said = {"image": "photos/one.png", "statement": "There are no people."}
    rows = read_yes_no(write_rows(folder / "rows.jsonl", [said | {"label": True}, said | {"label": False}]))
    assert [row.answers for row in rows] == [("yes",), ("no",)]
    assert {row.question for row in rows} == {"Is this true: There are no people."}


def test_only_the_split_asked_for_is_read(folder):
    file = write_rows(folder / "rows.jsonl", [asked("yes", split="train"), asked("no", split="validation")])
    assert [row.answers for row in read_yes_no(file, "validation")] == [("no",)]
    assert len(read_yes_no(file)) == 2
    with pytest.raises(DataError, match="no row whose `split` is 'test'"):
        read_yes_no(file, "test")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (asked("red"), "`answer` is 'red'; yes or no is needed"),
        ({"image": "photos/one.png"}, "give either `question` and `answer` or `statement` and `label`"),
        (asked("no", statement="x", label=True), "give either"),
        ({"image": "photos/one.png", "statement": "x", "label": "true"}, "`label` is 'true'; true or false"),
        (asked("no", name="none"), "there is no photo .*none.png; nor in .*: `image` is relative to the data file or"),
        (["x"], "a JSON object is expected, not list"),
    ],
)
def test_a_faulty_row_is_named(folder, row, message):
    file = write_rows(folder / "rows.jsonl", [asked("yes"), row])
    with pytest.raises(DataError, match=message) as raised:
        read_yes_no(file)
    assert f"{file}:2: " in str(raised.value)


def figures(truth: str, answers: str, blind: str) -> dict:
    names = {"y": "yes", "n": "no", "r": "red"}
    return yes_no_figures(*(np.array([names[letter] for letter in part]) for part in (truth, answers, blind)))


def test_always_yes_is_worth_a_coin():
    found = figures("ynnn", "yyyy", "yyyy")
    assert found["yes_rate"] == 1 and found["true_yes_rate"] == 0.25 and found["accuracy"] == 0.25
    assert found["balanced_accuracy"] == 0.5 == found["balanced_accuracy_low"] == found["balanced_accuracy_high"]
    assert found["same_as_blind"] == 1 and found["other_rate"] == 0


def test_figures_as_worked_by_hand():
    found = figures("yynnn", "yrnny", "ynnyy")  # right among yes: 1 of 2, among no: 2 of 3
    assert found["questions"] == 5 and found["accuracy"] == pytest.approx(0.6)
    assert found["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["balanced_accuracy_low"] < found["balanced_accuracy"] < found["balanced_accuracy_high"] <= 1
    assert found["yes_rate"] == pytest.approx(0.4) and found["other_rate"] == pytest.approx(0.2)
    assert found["same_as_blind"] == pytest.approx(0.6)


def test_with_one_kind_of_answer_nothing_is_balanced():
    found = figures("nn", "ny", "nn")
    assert found["accuracy"] == 0.5 and found["balanced_accuracy"] is None and found["balanced_accuracy_low"] is None


def test_the_interval_holds_the_mean_and_stays_within_bounds():
    kinds = np.repeat([1, 0], [8, 2]), np.repeat([1, 0], [300, 100])
    found = balanced_interval(*kinds)
    assert found["mean"] == pytest.approx((0.8 + 0.75) / 2)
    assert 0.6 < found["low"] < 0.72 and 0.83 < found["high"] < 0.95


def plant(monkeypatch, answer_of, blind: str) -> None:
    """Let every model answer ``answer_of(row)`` with the photo, and ``blind`` without."""

    def logits(model, dataset):
        said = [blind if dataset.blind else answer_of(row) for row in dataset.rows]
        return torch.stack([torch.eye(len(model.answers))[model.answers.index(answer)] for answer in said])

    monkeypatch.setattr(presence, "predict_logits", logits)


def test_figures_go_to_their_sources_whatever_the_order_of_photos(folder, tiny_model, monkeypatch):
    plant(monkeypatch, lambda row: "yes" if row.image.stem == "one" else "no", blind="yes")
    rows = [
        asked("no", "two", source="a"),
        asked("yes", "one", source="a"),
        asked("yes", "two", source="b"),
        asked("no", "one", source="b"),
    ]
    report = measure(tiny_model, read_yes_no(write_rows(folder / "rows.jsonl", rows)))
    assert report["accuracy"] == 0.5 and report["same_as_blind"] == 0.5
    assert report["by_source"]["a"]["accuracy"] == 1 and report["by_source"]["b"]["accuracy"] == 0


def test_the_command_ends_with_one_json_object(folder, tiny_model, tmp_path, capsys):
    save_checkpoint(tiny_model, tmp_path / "model")
    rows = [asked("yes", split="validation"), asked("no", "two", split="validation"), asked("no", split="train")]
    data, file = write_rows(folder / "judged" / "rows.jsonl", rows), tmp_path / "report.json"
    arguments = ["--checkpoint", str(tmp_path / "model"), "--data", str(data), "--device", "cpu"]
    main([*arguments, "--split", "validation", "--report", str(file)])
    printed = capsys.readouterr().out
    report = json.loads(printed.splitlines()[-1])
    assert report == json.loads(file.read_text()) and report["questions"] == 2
    assert report.keys() >= set(presence.FIGURES) and report["by_source"].keys() == {"unknown"}
    assert report["command"].endswith("--data judged/rows.jsonl --split validation")
    assert file.with_suffix(".md").read_text() in printed and "| unknown | 2 |" in printed
    with pytest.raises(SystemExit):
        main([*arguments, "--split", "nowhere"])
    assert "nowhere" in capsys.readouterr().err
