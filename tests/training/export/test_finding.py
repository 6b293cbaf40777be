"""Export of a model that finds photos: what it says is what the checkpoint says, without torch; indexes fit both."""

import dataclasses
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shared import exported_before, made_once
from task_runs import write_captioned
from without_torch import run_without_torch

from training.export import command
from valm_core.checkpoints.storage import load_retrieval_checkpoint, save_checkpoint
from valm_core.exported.captioner import OnnxCaptioner
from valm_core.exported.files import METADATA_FILE
from valm_core.exported.finder import OnnxFinder
from valm_core.loading import load_predictor
from valm_core.model.build import build_task_model
from valm_core.outputs import InputError
from valm_core.retrieval.finder import PhotoFinder
from valm_core.retrieval.index import PhotoIndex

pytestmark = pytest.mark.skipif(
    not (find_spec("onnxruntime") and find_spec("onnxscript")), reason="pip install -e '.[export]'"
)
WORDS = "is the [SEP] square red?"
BINS = [{"low": 0.0, "high": 1.0, "searches": 4, "found": 0.25}, {"low": 1.0, "high": 2.0, "searches": 4, "found": 0.5}]
WITHOUT_TORCH = """
from valm_core.exported.finder import OnnxFinder
from valm_core.retrieval.index import PhotoIndex

finder = OnnxFinder.from_checkpoint(sys.argv[1])
index = PhotoIndex(sys.argv[2], sys.argv[3], finder)
index.update()
query = finder.encode_words("a red square")
(found,) = index.search(query, 1)
print(found.name)
assert abs(finder.explain(query, index.file_of(found.name)).image_map.sum() - 1) < 1e-5
assert len(finder.rank_texts(["red", "a blue square"], index.file_of(found.name))) == 2
"""


@pytest.fixture(scope="module")
def folders(tiny_config, tmp_path_factory):
    """A tiny checkpoint with figures, photos with captions, the export and what the command reports of it."""

    def make(folder: Path) -> None:
        torch.manual_seed(4)
        config = dataclasses.replace(tiny_config, task="retrieval", photo_detail=24, learned_text_layers=1)
        model = build_task_model(config).eval()
        with torch.no_grad():
            model.log_scales.copy_(torch.tensor([1.0, 2.0]))
        save_checkpoint(model, folder / "checkpoint", {"metrics.json": json.dumps({"found_by_score": BINS})})
        (folder / "photos").mkdir()
        write_captioned(folder / "photos", lambda name: [f"the {name} square", f"is this any {name}?"])
        command.main(
            [
                *("--checkpoint", f"{folder}/checkpoint", "--output", f"{folder}/onnx"),
                *("--data", f"{folder}/photos/train.jsonl", "--limit", "5", "--report", f"{folder}/report.json"),
            ]
        )

    return made_once(tmp_path_factory, "finding_exports", make)


@pytest.fixture(scope="module")
def finders(folders):
    """The checkpoint's finder and the export's."""
    return PhotoFinder.from_checkpoint(folders / "checkpoint", "cpu"), OnnxFinder.from_checkpoint(folders / "onnx")


@pytest.fixture(scope="module")
def photos():
    """Three photos of noise, larger than the model's."""
    chance = np.random.default_rng(0)
    return [Image.fromarray(chance.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(3)]


def test_vectors_cells_and_words_are_those_of_torch(finders, photos):
    for features in (
        [finder.photo_features(photos) for finder in finders],
        [finder.text_features(["is the square red?", "many?", "any"]) for finder in finders],
    ):
        for ours, theirs in zip(*features, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-5)
    ours, theirs = finders
    assert (theirs.width, theirs.cells, theirs.fingerprint) == (ours.width, ours.cells, ours.fingerprint)
    assert [theirs.found_share(score) for score in (-9.0, 0.5, 9.0)] == [0.25, 0.25, 0.5]
    assert theirs.records == ours.records


def test_scores_order_and_maps_are_those_of_torch(finders, photos):
    queries = [finder.encode_words(WORDS) for finder in finders]
    assert queries[0].words == queries[1].words == ("is", "the", "[SEP]", "square", "red?")
    assert queries[0].piece_words == queries[1].piece_words
    keys = finders[0].encode_photos(photos)
    scores = [finder.scores(query, keys) for finder, query in zip(finders, queries, strict=True)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4)
    maps = [finder.explain(query, photos[0]) for finder, query in zip(finders, queries, strict=True)]
    for name in ("image_map", "token_scores", "token_to_patch", "patch_to_token", "text_to_image", "image_to_text"):
        np.testing.assert_allclose(getattr(maps[1], name), getattr(maps[0], name), atol=1e-5, err_msg=name)
    texts = ["the red square", "any blue", "what " * 40, "yellow?"]
    ranked = [finder.rank_texts(texts, photos[1]) for finder in finders]
    assert [text for text, _ in ranked[1]] == [text for text, _ in ranked[0]]
    np.testing.assert_allclose([score for _, score in ranked[1]], [score for _, score in ranked[0]], atol=1e-4)


def test_what_cannot_be_used_is_refused_as_by_torch(finders, photos):
    for finder in finders:
        with pytest.raises(InputError, match="word pieces"):
            finder.encode_words("what " * 40)
        with pytest.raises(InputError, match="Text 2: The question is empty"):
            finder.rank_texts(["red", " "], photos[0])
        with pytest.raises(InputError):
            finder.encode_photos([b"no photo"])


def test_an_index_of_one_is_searched_by_the_other(finders, folders, tmp_path):
    ours, theirs = finders
    index = PhotoIndex(tmp_path / "index", folders / "photos", theirs)
    assert index.update().added == 16
    same = PhotoIndex(tmp_path / "index", folders / "photos", ours)
    assert same.update().kept == 16
    found, again = (
        index.search(theirs.encode_words("a red square"), 5),
        same.search(ours.encode_words("a red square"), 5),
    )
    assert [one.name for one in found] == [one.name for one in again]
    assert [one.score for one in found] == pytest.approx([one.score for one in again], abs=1e-4)


def test_it_runs_where_torch_and_transformers_cannot_be_imported(folders, tmp_path):
    printed = run_without_torch(WITHOUT_TORCH, folders / "onnx", tmp_path / "index", folders / "photos")
    assert printed.strip() in {path.name for path in (folders / "photos").glob("*.png")}


def test_the_command_compares_with_the_checkpoint(folders):
    report = json.loads((folders / "report.json").read_text())
    assert (report["photos"], report["captions"], report["left_out"], report["same_best"]) == (5, 10, 0, 1.0)
    greatest = report["greatest_difference"]
    assert greatest["photo_vectors"] < 1e-5 and greatest["text_vectors"] < 1e-5 and greatest["scores"] < 0.1
    assert "| same best photo | 100.0% |" in (folders / "report.md").read_text()


def test_int8_and_openvino_by_the_command(folders, photos, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    graphs = exported_before(folders / "onnx", "image_encoder", "text_encoder")
    monkeypatch.setattr(command, "write_onnx_graphs", graphs)
    command.export(folders / "checkpoint", tmp_path / "export", "openvino", int8=True)
    ours, theirs = (OnnxFinder.from_checkpoint(folder) for folder in (folders / "onnx", tmp_path / "export"))
    np.testing.assert_allclose(theirs.photo_features(photos)[0], ours.photo_features(photos)[0], atol=1e-5)
    difference = np.abs(theirs.encode_words(WORDS).vector - ours.encode_words(WORDS).vector).max()
    assert 1e-6 < difference < 0.1  # the image encoder isn't quantized, the text encoder is


def test_an_export_of_another_task_or_of_a_changed_checkpoint_is_refused(folders, tmp_path):
    for load in (OnnxCaptioner.from_checkpoint, load_predictor):
        with pytest.raises(ValueError, match=r"task 'retrieval', not .* Load it by `valm_core.exported.finder.OnnxF"):
            load(folders / "onnx")
    for name in ("checkpoint", "onnx"):
        shutil.copytree(folders / name, tmp_path / name)
    model = load_retrieval_checkpoint(tmp_path / "checkpoint")
    model.word_projection.bias.data += 1
    save_checkpoint(model, tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"trained again since\. Export it again"):
        OnnxFinder.from_checkpoint(tmp_path / "onnx")
    metadata = json.loads((folders / "onnx" / METADATA_FILE).read_text())
    (tmp_path / "onnx" / METADATA_FILE).write_text(json.dumps(metadata | {"scales": [1.0, 1.0]}))
    with pytest.raises(ValueError, match="isn't the one that was written with its graphs"):
        OnnxFinder.from_checkpoint(tmp_path / "onnx")


@pytest.mark.parametrize("task", ["tag", "read", "judge", "relate", "feel"])
def test_other_tasks_are_refused_in_a_line(task, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"task": task}))
    with pytest.raises(SystemExit):
        command.main(["--checkpoint", str(tmp_path), "--output", str(tmp_path / "export")])
    said = f"is for the task {task!r}, which can't be exported; allowed: answer, retrieval, caption.\n"
    assert capsys.readouterr().err == f"{tmp_path} {said}"
