"""Fusion families as re-rankers on toy photos: which pairs are told apart, which are read once more, and the study."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from task_runs import write_captioned
from toy_data import write_rows

from training.datasets.lookalikes import Lookalikes, nearest_photos
from training.datasets.readers.captioned import read_captioned_photos
from training.experiments import matching
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.learning.matching import APART, TOGETHER, MatchingObjective, match_scores
from valm_core.model.build import build_task_model
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
    less = found.first(2)
    assert less.texts == ["a", "b"] and less.own.tolist() == [0, 1] and less.scores.tolist() == [[3, 2], [0, 1]]
    figures = found.figures(scores, scores)
    assert figures["search_r1"] == pytest.approx(2 / 3)
    assert figures["annotation_r1"] == pytest.approx(2 / 3)  # the second photo's own caption ties: no first place


def test_the_best_are_ordered_by_the_sum_of_both_scores(photos, monkeypatch):
    """Three captions of a photo each, and the two best of each caption and photo are read once more."""
    monkeypatch.setattr(matching, "READ_AGAIN", 2)
    found_by = np.array([[3.0, 2.9, 0.0], [4.0, 1.0, 0.9], [2.0, 0.5, 1.9]])
    fused_by = np.array([[1.0, 1.0, 50.0], [0.0, 4.0, 50.0], [3.0, 50.0, 2.0]])
    found = matching.Found(photos[:3], ["a", "b", "c"], np.arange(3), found_by)
    read = []

    def planted(model, asked, chosen, features):
        read.append(chosen)
        return np.where(chosen, fused_by, 0.0)

    monkeypatch.setattr(matching, "read_pairs", planted)
    figures = matching.measure(None, found, None)
    # By captions the pairs (a, 0), (a, 1), (b, 0), (b, 1), (c, 0), (c, 2); by photos (a, 0), (b, 0), (a, 1), (b, 1),
    # (b, 2), (c, 2): the fusion is asked for all of them, and never for (a, 2) and (c, 1).
    assert [pair.tolist() for pair in read] == [[[True, True, False], [True, True, True], [True, False, True]]]
    # Photos for a: 1, 1 alone, so a tie and no first place; 4.0, 3.9 by the sum. For b: 0, 4; 4, 5: photo 1, while the
    # 50 of photo 2, which isn't among the best, doesn't count. For c: 3, 2 alone; 5, 3.9: photo 0.
    assert figures["alone"]["search_r1"] == pytest.approx(1 / 3)
    assert figures["sum"]["search_r1"] == pytest.approx(2 / 3)
    # Captions for photo 0: a 1, b 0; 4, 4, a tie. Photo 1: a 1, b 4; 3.9, 5: b. Photo 2: b 50, c 2: b either way.
    assert figures["alone"]["annotation_r1"] == pytest.approx(2 / 3)
    assert figures["sum"]["annotation_r1"] == pytest.approx(1 / 3)
    assert found.figures(found_by, found_by)["search_r1"] == pytest.approx(1 / 3)  # as found: a alone


def test_every_family_is_trained_once_and_told(folder, tiny_config, tmp_path, capsys):
    torch.manual_seed(3)
    finder = tmp_path / "find"
    save_checkpoint(build_task_model(dataclasses.replace(tiny_config, task="retrieval")), finder)
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
        assert run["alone"].keys() == run["sum"].keys() == study["found"].keys() == set(matching.FIGURES)
        assert run["seed"] == 0 and run["learning_parameters"] > 0
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
    save_checkpoint(build_task_model(dataclasses.replace(tiny_config, task="retrieval")), finder)
    with pytest.raises(SystemExit, match="2"):  # another finder in the same folder
        matching.main([*words, "--report", str(tmp_path / "report")])
    assert "was trained with other finder" in capsys.readouterr().err


def test_a_finished_study_is_of_its_rows_and_batches_are_shared_out(folder, photos, tiny_config, tmp_path, monkeypatch):
    save_checkpoint(build_task_model(dataclasses.replace(tiny_config, task="retrieval")), tmp_path / "find")
    config = tmp_path / "match.yaml"
    config.write_text(
        f"""
run: {{data: "{folder}/train.jsonl,{tmp_path}/more.jsonl", validation: {folder}/validation.jsonl,
  output: {tmp_path}/runs}}
model: {{task: judge, text_encoder: "{tiny_config.text_encoder}", image_encoder: "{tiny_config.image_encoder}",
  image_size: 32, width: 16, heads: 2, layers: 1, cell_side: 2, similarity: true}}
training: {{batch_size: 8, accumulation_steps: 2, precision: "no"}}
""",
        encoding="utf-8",
    )
    more = [{"image": str(photos[0].image), "captions": ["There is a square."]}]
    write_rows(tmp_path / "more.jsonl", more)
    study = (str(config), str(tmp_path / "find"), {}, 1, "made so", torch.device("cpu"))
    batches = []

    def stop(_, own, *__):
        batches.append(len(own))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(matching, "Trainer", stop)
        with pytest.raises(KeyboardInterrupt):
            matching.run_study(*study)
    assert batches == [3]  # twelve photos, four at once
    monkeypatch.setattr(matching, "train_family", lambda *_: {"search_r1": 1.0})
    matching.run_study(*study)
    write_rows(tmp_path / "more.jsonl", [more[0] | {"captions": ["There is red."]}])
    with pytest.raises(ValueError, match="was trained with other data"):
        matching.run_study(*study)
