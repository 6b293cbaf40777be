"""A whole run on photos of one colour: it learns to say it, saves itself, and is measured by the command."""

import json

import pytest
from PIL import Image
from toy_data import write_rows

from training.evaluate import main as evaluate
from training.train import main as train

COLORS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (40, 60, 220), "yellow": (230, 220, 40)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve photos to learn from and four others: each of one colour, which its captions name."""
    folder = tmp_path_factory.mktemp("captioned")
    for split, count in (("train", 12), ("validation", 4)):
        rows = []
        for place in range(count):
            name, color = list(COLORS.items())[place % 4]
            shade = tuple(max(part - 5 * (place // 4 + (split == "validation")), 0) for part in color)
            Image.new("RGB", (40, 30), shade).save(folder / f"{split}{place}.png")
            texts = [f"What is this? The {name} square.", f"What is this? This is {name}."]
            rows.append({"image": f"{split}{place}.png", "captions": texts})
        write_rows(folder / f"{split}.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def run(data, tiny_config, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    config = f"""
run:
  data: {data}/train.jsonl
  validation: {data}/validation.jsonl
  output: {output}
  cache: {output}/cache
  weights: float32
model:
  task: caption
  text_encoder: {tiny_config.text_encoder}
  image_encoder: {tiny_config.image_encoder}
  image_size: 32
  width: 16
  heads: 2
  layers: 1
  dropout: 0.0
  max_question_tokens: 12
training:
  epochs: 12
  batch_size: 8
  learning_rate: 0.01
  warmup_steps: 2
  alignment_weight: 0.1
  visual_weight: 0.01
"""
    (output / "run.yaml").write_text(config, encoding="utf-8")
    train(["--config", str(output / "run.yaml"), "--device", "cpu"])
    return output


def test_it_says_the_colour(run, data, capsys):
    report = json.loads((run / "checkpoint" / "metrics.json").read_text(encoding="utf-8"))
    print(report, (run / "said.json").read_text())
    assert report["cider"] > report["before"]["cider"]
    assert report["validation_loss"] < report["before"]["validation_loss"]
    evaluate(["--checkpoint", str(run / "checkpoint"), "--data", str(data / "validation.jsonl"), "--device", "cpu"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["photos"] == 4
    for name in ("bleu_4", "cider", "rouge_l", "distinct_2", "mean_words"):
        assert told[name] == pytest.approx(report[name])
