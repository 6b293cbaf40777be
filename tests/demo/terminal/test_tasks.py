"""valm-ask with checkpoints for other tasks: each takes what its task needs, and tells what is wrong."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from demo.terminal.ask import main as ask
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.model.build import build_task_model


@pytest.fixture(scope="module")
def checkpoints(tiny_config, tiny_caption_model, tiny_finder, tmp_path_factory):
    """A checkpoint with random weights for each task, and a photo."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for task in ("relate", "judge", "feel"):
        fusion = "text" if task == "relate" else "bi_attention"
        config = dataclasses.replace(tiny_config, task=task, fusion=fusion)
        save_checkpoint(build_task_model(config, ["one", "another", "third"]), folder / task)
    save_checkpoint(tiny_caption_model, folder / "caption")
    save_checkpoint(tiny_finder.model, folder / "retrieval")
    Image.new("RGB", (40, 30), (220, 30, 30)).save(folder / "photo.png")
    return folder


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [
        ("relate", ["what is [the square] there [is]"], "Words that matter for it"),
        ("judge", ["photo.png", "there is any red"], "Places of the photo: "),
        ("feel", ["there is any red"], "Words that matter against it"),
        ("feel", ["photo.png", "there is any red"], "Without the photo: "),
        ("caption", ["photo.png"], "photo.png: "),
        ("retrieval", ["photo.png", "red square"], "red square"),
    ],
)
def test_every_task_answers_in_words_and_as_json(checkpoints, capsys, monkeypatch, task, given, said):
    monkeypatch.chdir(checkpoints)
    ask(["--checkpoint", str(checkpoints / task), *given, "--device", "cpu"])
    assert said in capsys.readouterr().out
    ask(["--checkpoint", str(checkpoints / task), *given, "--device", "cpu", "--json"])
    told = json.loads(capsys.readouterr().out)
    if "labels" in told:
        assert {answer["label"] for answer in told["labels"]} == {"one", "another", "third"}
        assert sum(answer["probability"] for answer in told["labels"]) == pytest.approx(1.0)
        assert all(word["verdict"] in ("matters", "no difference", "cannot tell") for word in told["words"])
        assert (told["map"] is None) == (len(given) == 1)


@pytest.mark.parametrize(
    ("task", "given", "fault"),
    [
        ("relate", ["no part"], "Mark two parts of the text with brackets"),
        ("judge", ["there is any red"], "A photo is needed to judge a statement"),
        ("judge", ["none.png", "there is any red"], "There is no file"),
        ("feel", [], "is for the task 'feel': give a photo, a text, or both"),
        ("retrieval", ["photo.png"], "Give a photo and words"),
        ("retrieval", ["photo.png", "red", "--figure", "a.png"], "--figure isn't for the task 'retrieval'"),
        ("judge", ["photo.png", "red", "--figure", "none/a.png"], "there is no folder none"),
        ("judge", ["photo.png", "red", "--figure", "a.nothing"], "unknown file extension"),
    ],
)
def test_what_is_missing_is_told(checkpoints, capsys, monkeypatch, task, given, fault):
    monkeypatch.chdir(checkpoints)
    with pytest.raises(SystemExit, match="2"):
        ask(["--checkpoint", str(checkpoints / task), *given, "--device", "cpu"])
    assert fault in capsys.readouterr().err


def test_a_map_is_drawn(checkpoints, tmp_path):
    picture = tmp_path / "map.png"
    given = ["--checkpoint", str(checkpoints / "judge"), str(checkpoints / "photo.png"), "there is red"]
    ask([*given, "--figure", str(picture), "--device", "cpu"])
    assert Image.open(picture).size == (40, 30)
