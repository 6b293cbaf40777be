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
from valm_core.model.build import build_retrieval_model


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


def test_the_command_reports_before_and_after(tiny_config, tiny_caption_model, data, tmp_path, capsys):
    torch.manual_seed(3)
    save_checkpoint(build_retrieval_model(dataclasses.replace(tiny_config, task="retrieval")), tmp_path / "find")
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
        assert 0 <= figures["r1"] <= figures["r5"] <= figures["r10"] <= 1 and figures["median_rank"] >= 1
    assert "the best 50 read once more" in capsys.readouterr().out
