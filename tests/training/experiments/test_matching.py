"""Fusion families as re-rankers on toy photos: which pairs are told apart, which are read once more, and the study."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from task_runs import write_captioned

from training.datasets.lookalikes import Lookalikes, nearest_photos
from training.datasets.readers.captioned import read_captioned_photos
from training.experiments import matching
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.learning.matching import APART, TOGETHER, MatchingObjective, match_scores
from valm_core.model.build import build_retrieval_model, build_task_model
from valm_core.model.fusion.families import FUSIONS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_captioned(
        tmp_path_factory.mktemp("captioned"), lambda name: [f"The {name} square.", f"This is {name}."]
    )


@pytest.fixture(scope="module")
def photos(folder):
    return read_captioned_photos(str(folder / "train.jsonl"))


@pytest.fixture
def matcher(tiny_config):
    torch.manual_seed(0)
    config = dataclasses.replace(tiny_config, task="judge", cell_side=2, dropout=0.0)
    return build_task_model(config, (APART, TOGETHER)).eval()


def test_a_block_is_a_photo_and_some_that_its_captions_fit_best(photos, matcher):
    texts = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.3], [0.0, 1.0], [0.1, 1.0]]), dim=-1)
    near = nearest_photos(texts, [0, 1, 2, 3], texts)
    assert near.shape == (4, 3)
    assert near[:, 0].tolist() == [1, 0, 3, 2]  # never itself
    neighbours = np.array([[(place + step) % len(photos) for step in (1, 2, 3)] for place in range(len(photos))])
    dataset = Lookalikes(photos, neighbours, 3, matcher)
    batch = dataset.collate([0, 5])
    assert len(batch["text_mask"]) == len(batch["photo_index"]) == 6
    pixels = batch["pixels"][batch["photo_index"]]
    shown = [min(range(len(photos)), key=lambda place: _distance(matcher, photos[place], row)) for row in pixels]
    assert shown[0] == 0 and shown[3] == 5
    assert set(shown[1:3]) < {1, 2, 3} and set(shown[4:]) < {6, 7, 8}
    assert len(set(shown[:3])) == len(set(shown[3:])) == 3
    with pytest.raises(ValueError, match=r"A block of 5 photos .* 4 at most"):
        Lookalikes(photos, neighbours, 5, matcher)


def _distance(model, photo, pixels):
    from training.datasets.feature_cache import read_pixels

    return float((read_pixels(model, photo.image) - pixels).abs().sum())


def test_the_loss_is_that_of_each_block_both_ways(photos, matcher):
    neighbours = np.array([[(place + step) % len(photos) for step in (1, 2)] for place in range(len(photos))])
    batch = Lookalikes(photos, neighbours, 2, matcher).collate([0, 4])
    loss = MatchingObjective(matcher, 2)(**batch).total
    cells = matcher.cells(batch["pixels"])
    index, texts = batch["photo_index"], (batch["text_mask"], batch["token_ids"])
    losses = []
    for rows in ([0, 1], [2, 3]):
        scores = torch.stack(
            [
                torch.cat([match_scores(matcher, torch.tensor([a]), index[[b]], *texts, cells=cells) for b in rows])
                for a in rows
            ]
        )
        own = torch.arange(2)
        losses += [torch.nn.functional.cross_entropy(table, own) for table in (scores, scores.T)]
    assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), abs=1e-5)


def test_only_the_best_are_ordered_again(photos, monkeypatch):
    monkeypatch.setattr(matching, "READ_AGAIN", 2)
    scores = np.array([[3.0, 2.0, 1.0], [0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 1.0, 0.0]])
    found = matching.Found(photos[:3], ["a", "b", "c", "d"], np.array([0, 1, 2, 2]), scores)
    by_text, by_photo = found.best()
    assert by_text.tolist() == [[True, True, False], [False, True, True], [True, False, True], [False] * 3]
    assert by_photo.sum(axis=0).tolist() == [2, 2, 2]
    assert by_photo[:, 0].tolist() == [True, False, False, True]
    figures = found.figures(scores, scores)
    assert figures["search_r1"] == pytest.approx(2 / 3)
    assert figures["annotation_r1"] == pytest.approx(2 / 3)  # the second photo's own caption ties: no first place


def test_every_family_is_trained_once_and_told(folder, tiny_config, tmp_path, capsys):
    torch.manual_seed(3)
    finder = tmp_path / "find"
    save_checkpoint(build_retrieval_model(dataclasses.replace(tiny_config, task="retrieval")), finder)
    config = tmp_path / "match.yaml"
    config.write_text(
        f"""
run: {{data: {folder}/train.jsonl, validation: {folder}/validation.jsonl, output: {tmp_path}/runs,
  cache: {tmp_path}/cache}}
model: {{task: judge, text_encoder: "{tiny_config.text_encoder}", image_encoder: "{tiny_config.image_encoder}",
  image_size: 32, width: 16, heads: 2, layers: 1, dropout: 0.0, cell_side: 2, similarity: true}}
training: {{epochs: 6, batch_size: 4, learning_rate: 0.01, warmup_steps: 2, precision: "no"}}
""",
        encoding="utf-8",
    )
    words = ["--config", str(config), "--finder", str(finder), "--seeds", "1", "--device", "cpu"]
    matching.main([*words, "--report", str(tmp_path / "report")])
    study = json.loads((tmp_path / "report.json").read_text())
    assert study["families"].keys() == FUSIONS.keys()
    for (run,) in study["families"].values():
        assert run["sum"]["search_r5"] >= study["found"]["search_r5"]  # an untrained finder: any training helps
    text = (tmp_path / "report.md").read_text()
    assert text in capsys.readouterr().out
    assert "| as found |" in text and "`dual_tower`, by the sum of both scores" in text
    finished = sorted((tmp_path / "runs").glob("*/0/figures.json"))
    times = [path.stat().st_mtime_ns for path in finished]
    assert len(times) == len(FUSIONS)
    matching.main([*words, "--report", str(tmp_path / "again")])
    assert [path.stat().st_mtime_ns for path in finished] == times
    with pytest.raises(SystemExit, match="2"):
        matching.main([*words, "--report", str(tmp_path / "report"), "width=8"])
    assert "was trained with other width" in capsys.readouterr().err
