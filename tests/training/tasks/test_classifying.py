"""Whole runs on planted data: labels that only the photo, only the words or only the marked parts tell."""

import json

import pytest
from PIL import Image
from toy_data import COLORS, write_rows

from training.evaluate import main as evaluate
from training.train import main as train


def write_run(output, tiny_config, task, data, **settings):
    """The config of a short run of the tiny model."""
    model = {"fusion": "bi_attention", "dropout": 0.0, "layers": 1} | settings
    lines = "\n".join(f"  {name}: {value}" for name, value in model.items())
    path = output / f"{task}.yaml"
    path.write_text(
        f"""
run: {{data: {data}/train.jsonl, validation: {data}/validation.jsonl, output: {output}, cache: {output}/cache,
  weights: float32}}
model:
  task: {task}
  text_encoder: {tiny_config.text_encoder}
  image_encoder: {tiny_config.image_encoder}
  image_size: 32
  width: 16
  heads: 2
{lines}
training: {{epochs: 12, batch_size: 16, learning_rate: 0.01, warmup_steps: 2, early_stopping_patience: 12}}
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Red and blue photos, eight of each to learn from and four others."""
    folder = tmp_path_factory.mktemp("photos")
    names: dict[str, list[tuple[str, str]]] = {}
    for split, count in (("train", 16), ("validation", 8)):
        names[split] = []
        for place in range(count):
            color = ("red", "blue")[place % 2]
            shade = tuple(max(part - 4 * place - (split == "validation"), 0) for part in COLORS[color])
            Image.new("RGB", (40, 30), shade).save(folder / f"{split}{place}.png")
            names[split].append((f"{split}{place}.png", color))
    return folder, names


@pytest.fixture(scope="module")
def relations(photos):
    """One text throughout: whether its parts belong together only the photo tells."""
    folder, names = photos
    for split, own in names.items():
        rows = [
            {"tokens": ["what", "is", "there"], "first": [0, 1], "second": [2, 3], "image": name}
            | {"relation": "is" if color == "red" else "None"}
            for name, color in own
        ]
        write_rows(folder / f"{split}.jsonl", rows)
    return folder


def test_a_relation_that_only_the_photo_tells_is_found_with_it_and_guessed_without(
    relations, tiny_config, tmp_path, capsys
):
    seeing, blind = tmp_path / "seeing", tmp_path / "blind"
    for output, settings in ((seeing, {}), (blind, {"fusion": "text"})):
        output.mkdir()
        train(["--config", str(write_run(output, tiny_config, "relate", relations, **settings)), "--device", "cpu"])
    reports = [json.loads((output / "checkpoint" / "metrics.json").read_text()) for output in (seeing, blind)]
    assert reports[0]["accuracy"] >= 0.95
    assert reports[0]["without_photo"]["accuracy"] == reports[1]["accuracy"] == 0.5
    assert reports[0]["micro_f1"] >= 0.95
    assert reports[0]["confusion"]["None"] == {"None": 4}
    assert {"accuracy", "macro_f1"} <= reports[0]["before"].keys()
    card = (seeing / "checkpoint" / "README.md").read_text(encoding="utf-8")
    assert "two marked parts" in card
    assert "python -m training.train --config" in card
    capsys.readouterr()
    evaluate(["--checkpoint", str(seeing / "checkpoint"), "--data", f"{relations}/validation.jsonl", "--device", "cpu"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: told[name] for name in ("accuracy", "macro_f1", "micro_f1", "confusion")} == {
        name: reports[0][name] for name in ("accuracy", "macro_f1", "micro_f1", "confusion")
    }
