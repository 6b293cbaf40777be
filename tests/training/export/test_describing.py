"""Export of a model that describes photos: sentences, maps, probabilities and verdicts of the checkpoint, no torch."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared import exported_before, made_once
from task_runs import write_captioned
from without_torch import run_without_torch

from training.export import command
from valm_core.captions.captioner import Captioner
from valm_core.checkpoints.storage import load_caption_checkpoint, save_checkpoint
from valm_core.exported.captioner import OnnxCaptioner
from valm_core.exported.finder import OnnxFinder
from valm_core.outputs import InputError

pytestmark = pytest.mark.skipif(
    not (find_spec("onnxruntime") and find_spec("onnxscript")), reason="pip install -e '.[export]'"
)
WITHOUT_TORCH = """
from valm_core.exported.captioner import OnnxCaptioner

captioner = OnnxCaptioner.from_checkpoint(sys.argv[1])
described = captioner.describe(sys.argv[2])
assert captioner.write(sys.argv[2]) == described.text
assert captioner.log_probabilities([described.text], sys.argv[2]) < 0
print(described.text)
"""


@pytest.fixture(scope="module")
def folders(tiny_caption_model, tmp_path_factory):
    """A tiny checkpoint, photos with captions, the export and what the command reports of it."""

    def make(folder: Path) -> None:
        save_checkpoint(tiny_caption_model, folder / "checkpoint")
        (folder / "photos").mkdir()
        write_captioned(folder / "photos", lambda name: [f"the {name} square", f"what is this {name}"])
        command.main(
            [
                *("--checkpoint", f"{folder}/checkpoint", "--output", f"{folder}/onnx"),
                *("--data", f"{folder}/photos/train.jsonl", "--limit", "2", "--report", f"{folder}/report.json"),
            ]
        )

    return made_once(tmp_path_factory, "describing_exports", make)


@pytest.fixture(scope="module")
def captioners(folders):
    """The checkpoint's captioner and the export's."""
    return Captioner.from_checkpoint(folders / "checkpoint", "cpu"), OnnxCaptioner.from_checkpoint(folders / "onnx")


@pytest.fixture(scope="module")
def photo():
    """A photo of noise."""
    return Image.fromarray(np.random.default_rng(2).integers(0, 255, (30, 40, 3), dtype=np.uint8))


@pytest.mark.parametrize("beams", [1, 3, 10])
def test_sentences_probabilities_and_maps_are_those_of_torch(captioners, photo, beams):
    ours, theirs = (captioner.describe(photo, beams) for captioner in captioners)
    assert (theirs.text, theirs.others) == (ours.text, ours.others)
    assert captioners[1].write(photo, beams) == ours.text
    np.testing.assert_allclose(theirs.maps, ours.maps, atol=1e-5)
    found = [[word.probability for word in described.words] for described in (ours, theirs)]
    assert found[1] == pytest.approx(found[0], abs=1e-5)


def test_verdicts_are_those_of_torch(captioners, photo):
    """Each by the cells that it encoded itself: which are hidden at random follows from the words alone."""
    ours, theirs = captioners
    cells, exported = ours._cells(photo), theirs._cells(photo)
    places = ours._search(cells, 1)[0].content
    maps = np.random.default_rng(0).dirichlet(np.full(16, 0.3), size=len(ours.pieces.words(places)[0]))
    for word, again in zip(
        ours.judge_words(places, cells, maps), theirs.judge_words(places, exported, maps), strict=True
    ):
        assert (again.text, again.verdict) == (word.text, word.verdict)
        assert again.support == pytest.approx(word.support, abs=1e-3)
        assert again.probability == pytest.approx(word.probability, abs=1e-5)


def test_log_probabilities_are_those_of_torch(captioners, photo):
    texts = ["The red square.", "what is this", "A green square: unheard of!", "this " * 20]
    ours, theirs = (captioner.log_probabilities(texts, photo) for captioner in captioners)
    assert ours.shape == (4,) and np.ptp(ours) > 0.1
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_what_cannot_be_used_is_refused_as_by_torch(captioners, photo):
    for captioner in captioners:
        with pytest.raises(InputError, match="allowed: 1 to 10"):
            captioner.describe(photo, beams=11)
        with pytest.raises(InputError, match="has no word"):
            captioner.log_probabilities(["red", "..."], photo)
        with pytest.raises(InputError):
            captioner.write(b"no photo")


def test_it_runs_where_torch_and_transformers_cannot_be_imported(folders, captioners):
    path = folders / "photos" / "train0.png"
    assert run_without_torch(WITHOUT_TORCH, folders / "onnx", path).strip() == captioners[0].write(path)


def test_the_command_compares_with_the_checkpoint(folders):
    report = json.loads((folders / "report.json").read_text())
    assert (report["photos"], report["captions"], report["same_text"]) == (2, 4, 1.0)
    assert all(value < 1e-4 for value in report["greatest_difference"].values())
    assert "| same sentence | 100.0% |" in (folders / "report.md").read_text()


def test_openvino_says_the_same(folders, captioners, photo, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    graphs = exported_before(folders / "onnx", "image_encoder", "decoder")
    monkeypatch.setattr(command, "write_onnx_graphs", graphs)
    command.export(folders / "checkpoint", tmp_path / "export", "openvino")
    found, expected = OnnxCaptioner.from_checkpoint(tmp_path / "export").describe(photo), captioners[0].describe(photo)
    assert found.text == expected.text
    np.testing.assert_allclose(found.maps, expected.maps, atol=1e-4)


def test_int8_another_task_and_a_changed_checkpoint_are_refused(folders, tmp_path, capsys):
    with pytest.raises(SystemExit):
        command.main(["--checkpoint", f"{folders}/checkpoint", "--output", f"{tmp_path}/export", "--int8"])
    assert capsys.readouterr().err.endswith(
        "is for the task 'caption'; --int8 is for answer, retrieval. Export it without.\n"
    )
    with pytest.raises(ValueError, match=r"task 'caption', not 'retrieval'. Load it by `.*OnnxCaptioner`"):
        OnnxFinder.from_checkpoint(folders / "onnx")
    for name in ("checkpoint", "onnx"):
        shutil.copytree(folders / name, tmp_path / name)
    model = load_caption_checkpoint(tmp_path / "checkpoint")
    model.bias.data += 1
    save_checkpoint(model, tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"trained again since\. Export it again"):
        OnnxCaptioner.from_checkpoint(tmp_path / "onnx")
