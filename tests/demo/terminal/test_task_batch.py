"""valm-ask --batch with checkpoints for other tasks: one JSON object a row, faults told, goes on where it stopped."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from demo.terminal.ask import main as ask
from demo.terminal.batch_files import ADDED_LATER
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.inputs.page import Line
from valm_core.model.build import build_task_model
from valm_core.tasks.labeller import Labeller
from valm_core.tasks.reader import Reader


@pytest.fixture(scope="module")
def checkpoints(tiny_config, tmp_path_factory):
    """Checkpoints with random weights for four tasks."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    labels = {"relate": ["one", "another"], "feel": ["one", "another", "third"], "tag": ["O", "B-X", "I-X"], "read": []}
    for task, own in labels.items():
        config = dataclasses.replace(tiny_config, task=task, fusion="bi_attention" if task == "feel" else "text")
        save_checkpoint(build_task_model(config, own), folder / task)
    return folder


def run(checkpoint, source, output) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as left:
        given = ["--checkpoint", str(checkpoint), "--batch", str(source), "--output", str(output)]
        ask([*given, "--device", "cpu", "--top", "2"])
    return left.value.code


def rows_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_row_comes_back_with_what_is_said_or_why_not(checkpoints, tmp_path, capsys):
    Image.new("RGB", (40, 30), (220, 30, 30)).save(tmp_path / "red.png")
    lines = ['{"text": "is there red?", "label": "kept"}', "no JSON", '{"image": "red.png", "tokens": ["any", "red"]}']
    lines += ['{"image": "none.png", "text": "red?"}', '{"label": "one"}', '{"text": " ", "said": "not ours"}']
    source, output = tmp_path / "posts.jsonl", tmp_path / "moods.jsonl"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert run(checkpoints / "feel", source, output) == 1
    assert "6 rows, 4 of them with an error; 2 answered now" in capsys.readouterr().err
    first, broken, photo, missing, textless, empty = rows_of(output)
    assert first["label"] == "kept" and first["error"] is None and len(first["model"]) == 12
    alone = Labeller.from_checkpoint(checkpoints / "feel", "cpu").label("is there red?")
    assert first["said"]["label"] == alone.labels[0].text and len(first["said"]["labels"]) == 2
    assert first["said"]["probability"] == pytest.approx(alone.labels[0].probability, abs=1e-4)
    seen = Labeller.from_checkpoint(checkpoints / "feel", "cpu").label("any red", tmp_path / "red.png")
    assert photo["said"]["probability"] == pytest.approx(seen.labels[0].probability, abs=1e-4)
    assert (
        "line 2 is no JSON object" in broken["error"]
        and "There is no file" in missing["error"]
        and missing["said"] is None
    )
    assert "no text or statement or tokens" in textless["error"] and "The text is empty" in empty["error"]


def test_it_goes_on_where_it_stopped_and_with_this_model_alone(checkpoints, tmp_path, capsys):
    source, output = tmp_path / "posts.jsonl", tmp_path / "moods.jsonl"
    source.write_text('{"text": "is there red?"}\n{"text": "is there blue?"}\n', encoding="utf-8")
    assert run(checkpoints / "feel", source, output) == 0
    whole = rows_of(output)
    planted = whole[0] | {"said": {"label": "planted"}}
    output.write_text(json.dumps(planted) + "\n" + json.dumps(whole[1])[:40], encoding="utf-8")
    capsys.readouterr()
    assert run(checkpoints / "feel", source, output) == 0
    assert "1 answered now" in capsys.readouterr().err
    assert rows_of(output) == [planted, whole[1]]
    assert run(checkpoints / "relate", source, output) == 2
    assert "Name another file" in capsys.readouterr().err
    output.write_text('{"mine": 1}\n', encoding="utf-8")
    assert run(checkpoints / "feel", source, output) == 2 and rows_of(output) == [{"mine": 1}]


def test_rows_of_an_earlier_input_stay_and_a_folder_is_made(checkpoints, tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    output = tmp_path / "new" / "folder" / "moods.jsonl"
    first.write_text('{"text": "is there red?"}\n', encoding="utf-8")
    second.write_text('{"text": "is there blue?"}\n', encoding="utf-8")
    assert run(checkpoints / "feel", first, output) == 0
    (red,) = rows_of(output)
    assert run(checkpoints / "feel", second, output) == 0
    blue, kept = rows_of(output)
    assert blue["text"] == "is there blue?" and kept == red


def test_what_was_said_of_another_photo_or_with_another_top_is_not_gone_on_with(checkpoints, tmp_path, capsys):
    Image.new("RGB", (40, 30), (220, 30, 30)).save(tmp_path / "a.png")
    source, output = tmp_path / "posts.jsonl", tmp_path / "moods.jsonl"
    source.write_text('{"text": "is there red?", "image": "a.png"}\n', encoding="utf-8")
    assert run(checkpoints / "feel", source, output) == 0
    said = output.read_text(encoding="utf-8")
    output.write_text(said.replace('"top": 2', '"top": 3'), encoding="utf-8")
    assert run(checkpoints / "feel", source, output) == 2 and "--top is 2" in capsys.readouterr().err
    output.write_text(said, encoding="utf-8")
    Image.new("RGB", (40, 30), (30, 30, 220)).save(tmp_path / "a.png")
    assert run(checkpoints / "feel", source, output) == 2 and "another a.png" in capsys.readouterr().err
    earlier = {name: value for name, value in json.loads(said).items() if name not in ADDED_LATER}
    output.write_text(json.dumps(earlier) + "\n", encoding="utf-8")  # as versions wrote it that didn't note them
    assert run(checkpoints / "feel", source, output) == 0 and rows_of(output)[0]["said"] == earlier["said"]


def test_rows_that_no_file_could_hold_come_back_with_their_error(checkpoints, tmp_path):
    """Half a character, also in a column of the row's own, and a name that no file can have."""
    rows = [
        {"text": "is \ud83d red?"},
        {"text": "is there red?", "note": "\ud83d"},
        {"text": "red?", "image": "x" * 999},
    ]
    source, output = tmp_path / "posts.jsonl", tmp_path / "moods.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run(checkpoints / "feel", source, output) == 1
    half, kept, nameless = rows_of(output)
    assert "half a character" in half["error"] and kept["error"] is None and kept["note"] == "\\ud83d"
    assert "There is no file" in nameless["error"]
    assert run(checkpoints / "feel", source, output) == 1 and rows_of(output)[1] == kept


def test_an_empty_file_is_refused_and_a_doubled_name_told_with_its_line(checkpoints, tmp_path, capsys):
    source, output = tmp_path / "posts.jsonl", tmp_path / "moods.jsonl"
    source.touch()
    assert run(checkpoints / "feel", source, output) == 2
    assert "is empty" in capsys.readouterr().err and not output.exists()
    source.write_text('{"text": "a"}\n{"text": "a", "text": "b"}\n', encoding="utf-8")
    assert run(checkpoints / "feel", source, output) == 1
    assert rows_of(output)[1]["error"].startswith("line 2: `text` is given twice")


def test_marked_parts_may_be_brackets_or_numbers(checkpoints, tmp_path):
    rows = [
        {"tokens": ["what", "is", "the", "red", "square"], "first": [0, 1], "second": [3, 5]},
        {"text": "[what] is the [red square]"},
        {"tokens": ["what", "is"], "first": [0, 1], "second": [1, 3]},
    ]
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run(checkpoints / "relate", source, output) == 1
    numbers, brackets, outside = rows_of(output)
    assert numbers["said"] == brackets["said"] and "[1, 3], of 2 words" in outside["error"]


def test_words_are_tagged_one_label_each(checkpoints, tmp_path):
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"tokens": ["red", "U.N.", "square"], "labels": ["O", "O", "O"]}\n', encoding="utf-8")
    assert run(checkpoints / "tag", source, output) == 0
    (row,) = rows_of(output)
    assert row["said"]["words"] == ["red", "U.N.", "square"] and len(row["said"]["labels"]) == 3
    assert row["labels"] == ["O", "O", "O"]


def test_a_page_is_read_once_for_questions_that_stand_together(checkpoints, tmp_path, monkeypatch):
    Image.new("RGB", (60, 40), "white").save(tmp_path / "page.png")
    seen = []

    def lines(picture):
        seen.append(picture.size)
        return (Line((0.1, 0.1, 0.9, 0.2), "the red square"), Line((0.1, 0.5, 0.9, 0.6), "is 12.50")), 0

    monkeypatch.setattr("valm_core.tasks.reader.read_lines", lines)
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows = [{"image": "page.png", "question": text} for text in ("what is red", "what is the square")]
    source.write_text("".join(json.dumps(row) + "\n" for row in (*rows, {"question": "?"})), encoding="utf-8")
    assert run(checkpoints / "read", source, output) == 1
    first, second, faulty = rows_of(output)
    assert seen == [(60, 40)] and "no `image`" in faulty["error"]
    for row in (first, second):
        assert row["said"]["answer"] in "the red square is 12.50" and 0 < row["said"]["probability"] <= 1
        assert all(len(box) == 4 for box in row["said"]["boxes"])


def test_what_is_read_on_a_turned_page_lies_on_the_page_turned_back(checkpoints, monkeypatch):
    page = Image.new("RGB", (60, 40), "white")
    page.paste((220, 30, 30), (0, 0, 10, 10))
    told = (Line((0.1, 0.1, 0.9, 0.2), "the red square"),), 270
    monkeypatch.setattr("valm_core.tasks.reader.read_lines", lambda picture: told)
    read = Reader.from_checkpoint(checkpoints / "read", "cpu").open(page.rotate(90, expand=True))
    assert read.picture.size == (60, 40) and read.picture.getpixel((5, 5)) == (220, 30, 30)


def test_what_has_no_batch_is_told(checkpoints, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text("{}\n", encoding="utf-8")
    assert run(checkpoints / "feel", tmp_path / "rows.jsonl", tmp_path / "out.parquet") == 2
    assert "a name with .jsonl" in capsys.readouterr().err
    assert run(checkpoints / "feel", tmp_path, tmp_path / "out.jsonl") == 2
