"""A whole run on photos of one colour: it learns to say it, saves itself, and is measured by the command."""

import json

import pytest
import torch
from task_runs import train_run, write_captioned

from training.datasets.readers.captioned import CaptionedPhoto, read_captioned_photos
from training.evaluate import main as evaluate
from training.tasks.captioning import measure_captions
from training.train import main as train
from valm_core.checkpoints.storage import load_caption_checkpoint
from valm_core.model.encoders.encoder_layers import encoder_layers


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


def test_photos_of_one_name_are_told_apart(run, data):
    (first, second, *_) = read_captioned_photos(str(data / "validation.jsonl"))
    folders = [data / "a", data / "b"]
    for folder, photo in zip(folders, (first, second), strict=True):
        folder.mkdir()
        (folder / "1.png").write_bytes(photo.image.read_bytes())
    photos = [CaptionedPhoto(folder / "1.png", first.captions) for folder in folders]
    model = load_caption_checkpoint(run / "checkpoint")
    assert measure_captions(model, photos)["said"].keys() == {"a/1.png", "b/1.png"}


def test_a_run_goes_on_from_a_model_that_describes_photos(run, data, tiny_config, tmp_path):
    settings = {"epochs": 2, "learning_rate": 0.001}
    train_run(tmp_path, tiny_config, data, {"task": "caption", "max_question_tokens": 12}, settings, init=run)
    before, after = (load_caption_checkpoint(folder / "checkpoint") for folder in (run, tmp_path))
    assert torch.equal(before.vocabulary, after.vocabulary)
    assert after.config == before.config
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, after.state_dict()[name])}
    assert "bias" in changed
    assert not any(name.startswith(("image_encoder.", "text_encoder.")) for name in changed)
    first = json.loads((tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    report = json.loads((run / "checkpoint" / "metrics.json").read_text(encoding="utf-8"))
    assert first["validation_loss"] == pytest.approx(report["validation_loss"], rel=1e-4)


def test_the_last_layer_of_the_image_encoder_learns_along(run, tmp_path):
    settings = ["learned_image_layers=1", "epochs=1", "learning_rate=0.001", "encoder_learning_rate=0.001"]
    train(["--config", str(run / "run.yaml"), "--output", str(tmp_path), f"init={run}/checkpoint", *settings])
    before, after = (load_caption_checkpoint(folder / "checkpoint").image_encoder for folder in (run, tmp_path))
    pairs = zip(encoder_layers(before), encoder_layers(after), strict=True)
    changed = [
        [not torch.equal(old, new) for old, new in zip(*(layer.parameters() for layer in pair), strict=True)]
        for pair in pairs
    ]
    assert not any(changed[0]) and any(changed[1])


def test_another_size_than_the_former_models_is_refused(run, data, tiny_config, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train_run(tmp_path, tiny_config, data, {"task": "caption", "width": 32}, {}, init=run)
    assert "width is 32, but the checkpoint" in capsys.readouterr().err
