"""What all tasks beside answering share: how their runs take batches, data and settings."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from toy_data import write_rows

from training.datasets.feature_cache import mean_image_token
from training.datasets.readers.captioned import read_captioned_photos
from training.datasets.readers.labelled import read_labelled_texts
from training.experiments.baselines import allowed
from training.run_config import RunConfig, read_config
from training.tasks.classifying import statements_of_captions
from training.tasks.table import MODULES, check_settings_read, settings_read
from training.train import main, train
from training.yaml_files import read_yaml
from valm_core.checkpoints.storage import load_task_checkpoint
from valm_core.config import ValmConfig
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.build import build_task_model

CONFIGS = Path(__file__).parents[3] / "training" / "configs"
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


def other_spelling(folder, source="validation", photo="train0.png"):
    """A data file in a folder beside, whose first row names a photo of ``folder`` from there."""
    rows = [json.loads(line) for line in (folder / f"{source}.jsonl").read_text(encoding="utf-8").splitlines()]
    (folder / "beside").mkdir()
    rows = [{**row, "image": str(folder / row["image"])} for row in rows]
    rows[0]["image"] = f"../../{folder.name}/{photo}"
    return write_rows(folder / "beside" / "rows.jsonl", rows)


@pytest.mark.parametrize("task", MODULES)
def test_a_photo_to_learn_from_is_none_to_validate_on_however_it_is_spelled(
    task, tiny_config, tmp_path, trained, monkeypatch
):
    path = write_run(tmp_path, tiny_config, task)
    validation = other_spelling(tmp_path)
    monkeypatch.chdir(tmp_path)
    for data in ("train.jsonl", f"{tmp_path}/train.jsonl"):
        with pytest.raises(ValueError, match=r"train0\.png is among the photos to learn from and those to validate on"):
            start(path, data=data, validation=str(validation))
    assert not trained


def test_one_photo_in_two_files_is_one_and_stays_out_of_rehearsal(tiny_config, tmp_path, monkeypatch):
    write_run(tmp_path, tiny_config, "caption")
    beside = other_spelling(tmp_path, "train", "train1.png")
    monkeypatch.chdir(tmp_path)
    photos = read_captioned_photos(f"train.jsonl,{beside}")
    assert len(photos) == 12 and {photo.image.parent for photo in photos} == {tmp_path.resolve()}
    write_rows(tmp_path / "held_back.jsonl", [{"image": "beside/../train1.png", "text": "red", "label": "yes"}])
    (held_back,) = read_labelled_texts("held_back.jsonl", "feel")
    left = {row.image for row in statements_of_captions(str(beside), 0, {held_back.image})}
    assert len(left) == 10 and held_back.image not in left  # of eleven, two rows being of the one held back


def test_a_linked_photo_keeps_its_name_and_a_linked_folder_is_the_folder(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "stored.png")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "photo.png").symlink_to(tmp_path / "stored.png")
    (tmp_path / "link").symlink_to(folder)
    rows = [{"image": f"{name}/photo.png", "captions": ["red"]} for name in ("folder", "link")]
    write_rows(tmp_path / "rows.jsonl", rows)
    (photo,) = read_captioned_photos(str(tmp_path / "rows.jsonl"))
    assert photo.image == folder.resolve() / "photo.png"


@pytest.mark.parametrize("task", ["feel", "tag"])
def test_an_image_encoder_that_learns_sees_photos_anew_and_so_does_the_average_token(task, tiny_config, tmp_path):
    run = {"cache": f"{tmp_path}/cache", "weights": "float32"}
    path = write_run(tmp_path, tiny_config, task, run, {"encoder_learning_rate": 0.01, "warmup_steps": 0})
    before = build_task_model(read_config(path, {})[1], ("no", "yes")).image_encoder.state_dict()
    start(path, train_image_encoder=True)
    model = load_task_checkpoint(tmp_path / "run" / "checkpoint", task)
    after = model.image_encoder.state_dict()
    assert any((after[name] - value).abs().max() > 1e-3 for name, value in before.items() if value.is_floating_point())
    photos = [tmp_path / f"train{place}.png" for place in range(12)]
    torch.testing.assert_close(model.mean_image_token, mean_image_token(model, photos), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("task", "setting", "value", "readers"),
    [
        ("retrieval", "rows", 5, "answer, relate, judge, feel"),
        ("retrieval", "fine_tuning", "full", "answer"),
        ("caption", "blind", True, "answer, relate, judge, feel"),
        ("feel", "learned_image_layers", 1, "retrieval, caption"),
        ("feel", "rehearsal", "more.jsonl", "answer, judge"),
        ("tag", "label_smoothing", 0.1, "answer, retrieval, caption, relate, judge, feel"),
        ("read", "cache", "runs/cache", "answer, retrieval, caption, relate, judge, feel, tag"),
        ("read", "init_part", "question", "answer"),
        ("answer", "label_balance", 0.5, "relate, judge, feel"),
    ],
)
def test_a_setting_that_a_task_does_not_read_is_refused(task, setting, value, readers, tmp_path):
    run = RunConfig(data="none.jsonl", validation="none.jsonl", output=str(tmp_path / "run"))
    training = TrainingConfig()
    if hasattr(run, setting):
        run = dataclasses.replace(run, **{setting: value})
    else:
        training = dataclasses.replace(training, **{setting: value})
    with pytest.raises(ValueError, match=f"^{setting} is {value!r}, but the task '{task}' doesn't read it") as caught:
        train(run, ValmConfig(task=task), training, "test", device="cpu")
    assert str(caught.value).endswith(f"Leave it out; it is for {readers}.")


def test_every_setting_has_a_reader_and_every_reader_names_settings():
    known = {field.name for config in (RunConfig, TrainingConfig) for field in dataclasses.fields(config)}
    assert set().union(*map(settings_read, ("answer", *MODULES))) == known


def published():
    """The shipped configs, each with the settings of a variant where it has some."""
    for path in sorted(CONFIGS.glob("*.yaml")):
        if path.stem != "joint":  # read by train_joint
            variants = ((read_yaml(path) or {}).get("compare") or {}).get("variants") or {"": {}}
            for name, settings in variants.items():
                yield pytest.param(path, settings, id=f"{path.stem} {name}".strip())


@pytest.mark.parametrize(("path", "settings"), published())
def test_published_configs_change_what_their_task_reads_alone(path, settings, monkeypatch):
    monkeypatch.chdir(CONFIGS.parents[1])
    with allowed():
        run, model, training = read_config(path, settings)
    check_settings_read(model.task, run, training)
