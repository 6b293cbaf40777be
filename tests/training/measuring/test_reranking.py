"""The command on tiny models: what is added to which score, and a report that says what was done."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from task_runs import write_captioned

from training.datasets.readers.captioned import read_captioned_photos
from training.measuring import reranking
from valm_core.captions.captioner import Captioner
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.model.build import build_task_model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioned")
    return write_captioned(folder, lambda name: [f"The {name} square.", f"This is {name}."]) / "train.jsonl"


def test_log_probabilities_are_added_to_the_best_of_each_text(tiny_caption_model, data, monkeypatch):
    monkeypatch.setattr(reranking, "READ_AGAIN", 3)
    photos = read_captioned_photos(str(data))
    texts = ["the red square", "blue"]
    scores = np.random.default_rng(0).normal(size=(2, len(photos))).astype(np.float32)
    read = reranking.read_closely(tiny_caption_model, photos, texts, scores)
    captioner = Captioner(tiny_caption_model, torch.device("cpu"))
    for text, (before, after) in enumerate(zip(scores, read, strict=True)):
        best = set(np.argsort(-before)[:3].tolist())
        for place, photo in enumerate(photos):
            added = float(captioner.log_probabilities([texts[text]], photo.image)[0]) if place in best else None
            wanted = float(before[place]) + (0 if added is None else added + reranking.ABOVE_ALL)
            assert after[place] == pytest.approx(wanted, abs=1e-3)


def test_figures_before_and_after_are_those_of_the_sums(data, monkeypatch):
    """Three photos with a caption each, of which the two best are read once more."""
    monkeypatch.setattr(reranking, "READ_AGAIN", 2)
    photos = read_captioned_photos(str(data))[:3]
    texts = [photo.captions[0] for photo in photos]
    found_by = np.array([[2.0, 3.0, 0.0], [4.0, 2.0, 1.0], [1.0, 3.0, 2.0]])
    likely = np.array([[-1.0, -4.0, 0.0], [-3.0, -2.0, 0.0], [0.0, -2.0, -4.0]])
    place_of = {photo.image: place for place, photo in enumerate(photos)}

    class Planted:
        device = None

        def __init__(self, *_):
            pass

        def encode_photos(self, image):
            return place_of[image]

        def log_probabilities_of(self, asked, place):
            return likely[[texts.index(text) for text in asked], place]

    monkeypatch.setattr(reranking, "first_scores", lambda *_: found_by)
    monkeypatch.setattr(reranking, "photo_inputs", lambda _, files, __: {"image": files[0]})
    monkeypatch.setattr(reranking, "Captioner", Planted)
    report = reranking.measure(None, Planted(), photos, 1)
    # As found the right photo is second every time. Sums of each text, "-" being what isn't read however likely it is:
    # 1, -1, -; 1, 0, -; -, 1, -2.
    assert report["before"] == {"r1": 0.0, "r5": 1.0, "r10": 1.0, "median_rank": 2.0}
    assert report["after"] == {"r1": pytest.approx(1 / 3), "r5": 1.0, "r10": 1.0, "median_rank": 2.0}


def test_the_command_reports_before_and_after(tiny_config, tiny_caption_model, data, tmp_path, capsys):
    torch.manual_seed(3)
    save_checkpoint(build_task_model(dataclasses.replace(tiny_config, task="retrieval")), tmp_path / "find")
    save_checkpoint(tiny_caption_model, tmp_path / "describe")
    reranking.main(
        [
            *("--checkpoint", str(tmp_path / "find"), "--captioner", str(tmp_path / "describe"), "--data", str(data)),
            *("--captions", "2", "--report", str(tmp_path / "report.json"), "--device", "cpu"),
        ]
    )
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["photos"] == 12 and report["texts"] == 24
    for figures in (report["before"], report["after"]):
        assert list(figures) == ["r1", "r5", "r10", "median_rank"]
    assert "the best 50 read once more" in capsys.readouterr().out
