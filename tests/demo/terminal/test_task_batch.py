"""valm-ask --batch with checkpoints for other tasks: one JSON object a row, faults told, goes on where it stopped."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from demo.terminal.ask import main as ask
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.model.build import build_task_model
from valm_core.tasks.labeller import Labeller


@pytest.fixture(scope="module")
def checkpoints(tiny_config, tmp_path_factory):
    """A checkpoint with random weights for relating and feeling."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for task, fusion in (("relate", "text"), ("feel", "bi_attention")):
        config = dataclasses.replace(tiny_config, task=task, fusion=fusion)
        save_checkpoint(build_task_model(config, ["one", "another", "third"]), folder / task)
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
    assert "no JSON" in broken["error"] and "There is no file" in missing["error"] and missing["said"] is None
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


def test_what_has_no_batch_is_told(checkpoints, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text("{}\n", encoding="utf-8")
    assert run(checkpoints / "feel", tmp_path / "rows.jsonl", tmp_path / "out.parquet") == 2
    assert "a name with .jsonl" in capsys.readouterr().err
    assert run(checkpoints / "feel", tmp_path, tmp_path / "out.jsonl") == 2
