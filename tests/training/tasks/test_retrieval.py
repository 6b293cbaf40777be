"""A whole run on photos of one colour: it learns to find them, saves itself, and is measured by the command."""

import json

import pytest
import torch
from task_runs import train_run, write_captioned
from toy_data import write_rows

from training.datasets.readers.captioned import read_captioned_photos
from training.evaluate import main as evaluate
from training.train import main as train
from valm_core.checkpoints.storage import load_retrieval_checkpoint
from valm_core.model.encoders.encoder_layers import encoder_layers


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    captioned = tmp_path_factory.mktemp("captioned")
    return write_captioned(captioned, lambda name: [f"the {name} square", f"there is {name}"])


@pytest.fixture(scope="module")
def run(data, tiny_config, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    weights = {"alignment_weight": 1, "visual_weight": 0.01}
    train_run(output, tiny_config, data, {"task": "retrieval"}, weights, cache=True)
    return output


def test_it_finds_the_photo_of_the_colour(run, data, capsys):
    report = json.loads((run / "checkpoint" / "metrics.json").read_text(encoding="utf-8"))
    assert report["search_r1"] == report["annotation_r1"] == 1.0
    assert report["before"]["search_r1"] < 1.0
    evaluate(["--checkpoint", str(run / "checkpoint"), "--data", str(data / "validation.jsonl"), "--device", "cpu"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: told[name] for name in ("photos", "texts", "search_r1", "median_rank")} == {
        "photos": 4,
        "texts": 8,
        "search_r1": 1.0,
        "median_rank": 1.0,
    }


def test_of_rows_with_a_split_those_of_validation_are_measured(run, data, tmp_path, capsys):
    lines = [json.loads(line) for line in (data / "validation.jsonl").read_text(encoding="utf-8").splitlines()]
    for line, split in zip(lines, ("train", "validation", "train", "validation"), strict=True):
        line |= {"image": str(data / line["image"]), "split": split}
    (tmp_path / "both.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    evaluate(["--checkpoint", str(run / "checkpoint"), "--data", str(tmp_path / "both.jsonl"), "--device", "cpu"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["photos"] == 2


def test_it_learns_on_with_the_last_layer_of_the_image_encoder(run, data, tmp_path):
    settings = [
        "learned_image_layers=1",
        "photo_detail=20",
        "epochs=1",
        "learning_rate=0.001",
        "encoder_learning_rate=0.001",
    ]
    arguments = ["--config", str(run / "run.yaml"), "--output", str(tmp_path), "--device", "cpu"]
    train([*arguments, f"init={run}/checkpoint", *settings])
    report = json.loads((tmp_path / "checkpoint" / "metrics.json").read_text(encoding="utf-8"))
    assert report["before"]["search_r1"] == 1.0  # it began where the first run ended
    former, model = (load_retrieval_checkpoint(folder / "checkpoint") for folder in (run, tmp_path))
    assert (former.photo_detail, model.photo_detail) == (0, 20)
    before, after = former.image_encoder, model.image_encoder
    changed = {
        name
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    layers = encoder_layers(before)
    last = {name for name, part in before.named_modules() if part in set(layers[-1].modules())}
    matrices = {f"{name}.{part}" for name in last for part in ("weight", "bias")}
    assert changed and changed <= matrices, changed - matrices
    assert not [name for name in changed if "norm" in name]


def test_more_layers_than_there_are_are_refused(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        train(["--config", str(run / "run.yaml"), "--device", "cpu", "learned_image_layers=3"])
    assert "learned_image_layers is 3, but 2 layers of the image encoder" in capsys.readouterr().err


def test_its_card_says_what_it_is_for(run):
    card = (run / "checkpoint" / "README.md").read_text(encoding="utf-8")
    assert "Finds photos by words" in card
    assert "python -m training.train --config" in card


def test_blind_is_refused(run, data, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate(["--checkpoint", str(run / "checkpoint"), "--data", str(data / "validation.jsonl"), "--blind"])
    assert "--blind is for checkpoints that answer" in capsys.readouterr().err


def test_photos_of_both_files_are_refused(run, data, capsys):
    with pytest.raises(SystemExit, match="2"):
        train(["--config", str(run / "run.yaml"), "--device", "cpu", "--validation", str(data / "train.jsonl")])
    assert "among the photos to learn from and those to validate on" in capsys.readouterr().err


def test_captions_of_several_files_join_and_splits_are_kept_apart(data):
    rows = [
        {"image": "train0.png", "captions": ["another"], "split": "train"},
        {"image": "train1.png", "captions": ["held back"], "split": "validation"},
    ]
    more = write_rows(data / "more.jsonl", rows)
    photos = {
        photo.image.name: photo.captions for photo in read_captioned_photos(f"{data}/train.jsonl,{more}", "train")
    }
    assert photos["train0.png"] == ("the red square", "there is red", "another")
    assert photos["train1.png"] == ("the green square", "there is green")


def test_a_row_without_captions_is_named(data):
    faulty = write_rows(data / "faulty.jsonl", [{"image": "train0.png", "captions": []}])
    with pytest.raises(ValueError, match=r"faulty.jsonl:1: `captions` is \[\]"):
        read_captioned_photos(str(faulty))
