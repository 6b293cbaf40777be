"""A whole run on photos of one colour: it learns to say it, saves itself, and is measured by the command."""

import json

import pytest
from task_runs import train_run, write_captioned

from training.evaluate import main as evaluate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_captioned(
        tmp_path_factory.mktemp("captioned"),
        lambda name: [f"What is this? The {name} square.", f"What is this? This is {name}."],
    )


@pytest.fixture(scope="module")
def run(data, tiny_config, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    weights = {"alignment_weight": 0.1, "visual_weight": 0.01}
    train_run(output, tiny_config, data, {"task": "caption", "max_question_tokens": 12}, weights, cache=True)
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
