"""What all tasks beside answering share: how their runs take batches, data and settings."""

import pytest
import yaml
from PIL import Image
from toy_data import write_rows

from training.run_config import read_config
from training.tasks.table import MODULES
from training.train import main, train

SENTENCE = {"tokens": ["what", "is", "red"], "labels": ["O", "O", "B-NAME"]}
ROWS = {  # of a photo, by task
    "retrieval": {"captions": ["the red square"]},
    "caption": {"captions": ["the red square"]},
    "relate": {"tokens": ["what", "is", "red"], "first": [0, 1], "second": [2, 3]},
    "judge": {"statement": "there is red"},
    "feel": {"text": "what is red"},
    "tag": SENTENCE,
    "read": {"question": "what is red", "answer": "12.50", "words": [[0.1, 0.1, 0.2, 0.2, "red 12.50"]]},
}


def write_run(folder, tiny_config, task, run=(), training=()):
    """The config file of a short run of a task on twelve photos and four others, which differ in nothing but size."""
    for split, count in (("train", 12), ("validation", 4)):
        rows = []
        for place in range(count):
            name = f"{split}{place}.png"
            Image.new("RGB", (8 + place, 8 + count), "red").save(folder / name)
            label = {} if "label" in str(ROWS[task]) else {"label": ("yes", "no")[place % 2]}
            rows.append({"image": name} | ROWS[task] | label)
        write_rows(folder / f"{split}.jsonl", rows)
    files = {"data": f"{folder}/train.jsonl", "validation": f"{folder}/validation.jsonl", "output": f"{folder}/run"}
    encoders = {name: getattr(tiny_config, name) for name in ("text_encoder", "image_encoder", "image_size")}
    sections = {
        "run": files | dict(run),
        "model": {"task": task, "width": 16, "heads": 2, "layers": 1, "dropout": 0.0} | encoders,
        "training": {"epochs": 1, "batch_size": 4, "precision": "no"} | dict(training),
    }
    path = folder / f"{task}.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return path


def start(path, **overrides):
    """Train as the command does."""
    return train(*read_config(path, overrides), command="test", device="cpu")


class Begun(Exception):
    """Training begins."""


@pytest.fixture
def trained(monkeypatch):
    """What runs would train from: the batches of each, none of which is trained on."""
    found = []

    def stop(objective, batches, *_, **__):
        found.append(batches)
        raise Begun

    monkeypatch.setattr("training.tasks.ending.Trainer", stop)
    return found


@pytest.mark.parametrize("task", MODULES)
def test_accumulated_batches_share_the_rows_of_a_step(task, tiny_config, tmp_path, trained):
    path = write_run(tmp_path, tiny_config, task)
    for steps in (1, 2, 4):
        with pytest.raises(Begun):
            start(path, accumulation_steps=steps)
    assert [len(batches) for batches in trained] == [3, 6, 12]


def test_several_processes_are_refused_before_anything_is_read(tiny_config, tmp_path, monkeypatch, capsys):
    path = write_run(tmp_path, tiny_config, "feel")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match="2"):
        main(["--config", str(path), "--data", "none.jsonl", "--device", "cpu"])
    told = capsys.readouterr().err
    assert told == "The task 'feel' runs in one process, but WORLD_SIZE is 2. Start it without `accelerate launch`.\n"
    assert not (tmp_path / "run").exists()
