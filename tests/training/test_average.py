"""The mean of checkpoints: its numbers, what its card says, and what is refused."""

import json
import shutil

import pytest
import torch
from task_runs import train_run, write_captioned

from training.average import main as average
from valm_core.checkpoints.storage import load_retrieval_checkpoint, save_checkpoint, stored_state


@pytest.fixture(scope="module")
def runs(tiny_config, tmp_path_factory):
    """A run, two that learned on from it with other seeds, and their data."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "data"
    data.mkdir()
    write_captioned(data, lambda name: [f"the {name} square", f"there is {name}"])
    for name in ("start", "one", "two"):
        (folder / name).mkdir()
    train_run(folder / "start", tiny_config, data, {"task": "retrieval"}, {"epochs": 1})
    for seed, name in enumerate(("one", "two")):
        settings = {"epochs": 1, "seed": seed}
        train_run(folder / name, tiny_config, data, {"task": "retrieval"}, settings, init=folder / "start")
    return folder


def command(runs, *names, output):
    """The arguments to average some of the runs."""
    checkpoints = [str(runs / name / "checkpoint") for name in names]
    data = str(runs / "data/validation.jsonl")
    return ["--checkpoint", *checkpoints, "--data", data, "--output", str(output), "--device", "cpu"]


def test_the_mean_lies_between_and_is_measured(runs, tmp_path, capsys):
    average(command(runs, "one", "two", output=tmp_path / "mean"))
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    one, two, mean = (
        stored_state(load_retrieval_checkpoint(folder))
        for folder in (runs / "one/checkpoint", runs / "two/checkpoint", tmp_path / "mean")
    )
    moved = 0
    for name, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (one[name] + two[name]) / 2)
            moved += not torch.equal(one[name], two[name])
        else:
            assert torch.equal(value, one[name]), name
    assert moved > 5  # the runs did differ
    metrics = json.loads((tmp_path / "mean/metrics.json").read_text(encoding="utf-8"))
    assert metrics["photos"] == 4 and metrics["search_r1"] == told["search_r1"]
    made = [json.loads((runs / name / "checkpoint/metrics.json").read_text())["command"] for name in ("one", "two")]
    assert metrics["averaged"] == made
    card = (tmp_path / "mean/README.md").read_text(encoding="utf-8")
    assert all(line in card for line in [*made, metrics["command"]])
    assert "training.average" in metrics["command"]


def test_a_mean_can_be_averaged_and_keeps_every_command_and_the_data_note(runs, tmp_path):
    noted = tmp_path / "noted"
    shutil.copytree(runs / "one/checkpoint", noted / "checkpoint")
    card = noted / "checkpoint/README.md"
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace("Not described.", "Squares, drawn here.\n\nAll of one colour."), encoding="utf-8")
    average(command(runs, noted, "two", output=tmp_path / "mean/checkpoint"))
    average(command(runs, tmp_path / "mean", "start", output=tmp_path / "of_three"))
    metrics = json.loads((tmp_path / "of_three/metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["averaged"]) == 4 and "training.average" in metrics["averaged"][2]
    assert "Squares, drawn here.\n\nAll of one colour." in (tmp_path / "of_three/README.md").read_text(encoding="utf-8")


def refused(arguments, capsys):
    """What an average that ends in one line and exit code 2 says."""
    with pytest.raises(SystemExit) as stopped:
        average(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_what_cannot_be_averaged_is_named(runs, tiny_model, tiny_config, tmp_path, capsys):
    output = tmp_path / "mean"
    assert "at least 2 are needed" in refused(command(runs, "one", output=output), capsys)
    arguments = command(runs, "one", "two", output=output)
    save_checkpoint(tiny_model, tmp_path / "answers")
    answering = [str(tmp_path / "answers") if "/one/" in word else word for word in arguments]
    assert "is for the task 'answer'; allowed: retrieval" in refused(answering, capsys)
    wider = tmp_path / "wider"
    wider.mkdir()
    train_run(wider, tiny_config, runs / "data", {"task": "retrieval", "width": 8}, {"epochs": 1})
    assert "another config than" in (said := refused(command(runs, "one", wider, output=output), capsys))
    assert "(width)" in said
    assert "is no VALM checkpoint" in refused(command(runs, "one", "nowhere", output=output), capsys)
    lost = [word.replace("validation.jsonl", "lost.jsonl") for word in command(runs, "one", "two", output=output)]
    assert "lost.jsonl" in refused(lost, capsys)
    assert not output.exists()
