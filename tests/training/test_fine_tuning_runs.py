"""Whole runs of the training command that start from a checkpoint: every mode, new answers, the newcomer's config."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from toy_data import write_colored_squares, write_config, write_rows

from training.datasets.readers.jsonl import read_rows
from training.evaluate import evaluate
from training.run_config import read_config
from training.train import main
from valm_core.checkpoints.adapters import load_adapter
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.model.adapters import merged

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "finetune.yaml"


def train(config, *arguments: str) -> None:
    main(["--config", str(config), "--device", "cpu", *map(str, arguments)])


@pytest.fixture(scope="module")
def start(tiny_config, tmp_path_factory) -> Path:
    """A checkpoint of a short run on the toy set."""
    folder = tmp_path_factory.mktemp("start")
    train(write_config(folder, tiny_config, write_colored_squares(folder)), "epochs=1", "weights=float32")
    return folder / "run" / "checkpoint"


@pytest.mark.parametrize("mode", ["frozen", "full", "top_layers:1", "lora", "ia3"])
def test_every_mode_runs_from_a_checkpoint_to_a_checkpoint(config_file, start, colored_squares, tmp_path, mode):
    output = tmp_path / "tuned"
    settings = [f"fine_tuning={mode}", "epochs=4", "weights=float32", "encoder_learning_rate=0.01"]
    train(config_file, "--init", start, "--output", output, *settings)
    losses = [json.loads(line)["loss"] for line in (output / "metrics.jsonl").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0]
    model, before = load_checkpoint(output / "checkpoint"), load_checkpoint(start)
    report = json.loads((output / "checkpoint" / "metrics.json").read_text())
    assert evaluate(model, read_rows(colored_squares))["accuracy"] == report["accuracy"]
    assert report["fine_tuning"] == mode and report["learning_parameters"] > 0
    changed = {
        side
        for side in ("text_encoder", "image_encoder")
        for name, tensor in getattr(model, side).state_dict().items()
        if not tensor.equal(getattr(before, side).state_dict()[name])
    }
    both, text = {"text_encoder", "image_encoder"}, {"text_encoder"}
    expected = {"frozen": set(), "full": both, "top_layers:1": both, "lora": text, "ia3": text}
    assert changed == expected[mode]
    assert (output / "adapter").exists() == (mode in ("lora", "ia3"))
    if (output / "adapter").exists():
        again = merged(load_adapter(before, output / "adapter"))
        best = load_checkpoint(output / "best").state_dict()
        for name, tensor in again.state_dict().items():
            if name != "mean_image_token":
                torch.testing.assert_close(tensor, best[name], atol=1e-5, rtol=1e-4, msg=name)


def test_a_run_with_adapters_resumes_to_the_same_end(config_file, start, tmp_path, monkeypatch):
    settings = ["fine_tuning=lora", "weights=float32", "batch_size=4", "save_every=1", "--init", start]
    train(config_file, "--output", tmp_path / "whole", *settings)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.train.save_adapter", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config_file, *settings)
    train(config_file, "--resume", *settings)
    models = [load_checkpoint(tmp_path / run / "checkpoint") for run in ("whole", "run")]
    for name, tensor in models[0].state_dict().items():
        torch.testing.assert_close(models[1].state_dict()[name], tensor, msg=name)


def test_going_on_frozen_keeps_what_an_encoder_has_learned(config_file, start, tmp_path):
    rates = ["encoder_learning_rate=0.01", "weights=float32", "epochs=1"]
    train(config_file, "--init", start, "--output", tmp_path / "full", "fine_tuning=full", *rates)
    train(config_file, "--init", tmp_path / "full" / "checkpoint", "--output", tmp_path / "frozen", *rates)
    learned, kept = (load_checkpoint(tmp_path / run / "checkpoint") for run in ("full", "frozen"))
    for name, tensor in learned.text_encoder.state_dict().items():
        assert torch.equal(kept.text_encoder.state_dict()[name], tensor), name
    assert not torch.equal(kept.head[0].weight, learned.head[0].weight)


@pytest.mark.parametrize(("limit", "expected"), [(1000, ["two", "one"]), (1, ["two"]), (0, [])])
def test_answers_that_the_checkpoint_lacks_join_its_list(
    config_file, start, colored_squares, tmp_path, limit, expected
):
    lines = [json.loads(line) for line in colored_squares.read_text().splitlines()]
    counts = [{"image": "red.png", "question": "how many?", "answer": answer} for answer in ("Two", "two", "one")]
    data = write_rows(tmp_path / "more.jsonl", [*lines, *counts])
    train(
        config_file, "--init", start, "--data", data, "--output", tmp_path / "more", f"new_answers={limit}", "epochs=1"
    )
    model = load_checkpoint(tmp_path / "more" / "checkpoint")
    assert model.answers == load_checkpoint(start).answers + expected


def test_the_model_section_comes_from_the_checkpoint(config_file, start, tmp_path, capsys):
    sections = yaml.safe_load(config_file.read_text())
    sections["model"] = {"dropout": 0.3}
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    _, model, _ = read_config(path, {"init": str(start)})
    assert (model.width, model.image_size, model.dropout) == (16, 32, 0.3)
    with pytest.raises(SystemExit):
        train(path, "--init", start, "width=32")
    error = capsys.readouterr().err
    assert "width is 32, but the checkpoint" in error and "has 16. Leave `width` out" in error


def test_the_newcomers_config_learns_from_fifty_rows(config_file, start, tmp_path):
    for place in range(50):
        Image.new("RGB", (32, 32), (5 * place, 250 - 5 * place, 90)).save(tmp_path / f"{place}.png")
    rows = [
        {"image": f"{place}.png", "question": "what color is the square?", "answer": "red" if place > 25 else "teal"}
        for place in range(50)
    ]
    data = write_rows(tmp_path / "fifty.jsonl", rows)
    places = [f"cache={tmp_path / 'cache'}", "--output", tmp_path / "tuned"]
    places.append("precision=no")  # as `start` was trained: accelerate allows one precision a process
    train(CONFIG, "--init", start, "--data", data, "--validation", data, *places)
    report = json.loads((tmp_path / "tuned" / "checkpoint" / "metrics.json").read_text())
    assert "teal" in load_checkpoint(tmp_path / "tuned" / "checkpoint").answers
    before = json.loads((tmp_path / "tuned" / "before.json").read_text())[0]
    assert report["accuracy"] >= before["accuracy"] and report["best_epoch"] >= 1
