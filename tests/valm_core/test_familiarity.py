"""Unfamiliar photos and questions: the distance by hand, faults of the file, what a predictor says, the command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from toy_data import write_rows

from training.measuring.familiarity import LANGUAGES, made_pictures, main, of_text
from valm_core.checkpoints.contents import FAMILIARITY_FILE
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.familiarity import Subspace, load_familiarity, question_vectors, save_familiarity
from valm_core.outputs import EncodedText
from valm_core.predictor import VqaPredictor


def test_the_distance_is_what_lies_outside_the_subspace():
    subspace = Subspace(mean=np.array([0.5, 0, 0]), components=np.array([[1.0, 0, 0], [0, 1, 0]]), limit=0.5)
    vectors = np.array([[1.0, 0, 0], [0, 2, 0], [3, 0, 4], [0, 0, 1]])  # of any length
    assert subspace.distance(vectors).tolist() == pytest.approx([0, 0, 0.8, 1])


def test_a_fit_finds_the_planted_subspace_and_its_limit():
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.normal(size=(20, 3)))[0].T
    inside = generator.normal(size=(2000, 3)) @ basis
    noisy = inside + 0.01 * generator.normal(size=inside.shape)
    found = Subspace.fit(noisy[:1000], noisy[1000:], components=3, quantile=0.99)
    assert found.components.shape == (3, 20)
    assert (found.distance(noisy[1000:]) > found.limit).mean() == pytest.approx(0.01, abs=0.001)
    assert (found.distance(generator.normal(size=(50, 20))) > found.limit).all()


def test_padding_does_not_count_in_a_question():
    tokens = torch.tensor([[[1.0, 3.0], [3.0, 5.0], [99.0, 99.0]]])
    text = EncodedText(
        torch.zeros_like(tokens), torch.tensor([[1, 1, 0]]), penultimate=tokens, ids=torch.zeros(1, 3, dtype=torch.long)
    )
    assert question_vectors(text).tolist() == [[2.0, 4.0]]


def subspaces(width: int = 4) -> dict[str, Subspace]:
    return {part: Subspace(np.zeros(width), np.eye(width)[:2], 0.5) for part in ("photo", "question")}


def test_a_file_comes_back_and_a_damaged_one_is_refused(tmp_path):
    assert load_familiarity(tmp_path) == {}
    path = tmp_path / FAMILIARITY_FILE
    save_familiarity(subspaces(), path)
    assert load_familiarity(tmp_path)["photo"].limit == 0.5
    good = load_file(path)
    for change in (
        {"photo.mean": np.full(4, np.nan, np.float16)},
        {"photo.components": np.zeros((2, 5), np.float16)},
        {"photo.extra": np.zeros(1, np.float16)},
    ):
        save_file(good | change, path)
        with pytest.raises(ValueError, match=r"familiarity\.safetensors is damaged"):
            load_familiarity(tmp_path)
    del good["question.limit"]
    save_file(good, path)
    with pytest.raises(ValueError, match=r"question\.limit"):
        load_familiarity(tmp_path)
    path.write_bytes(b"no safetensors")
    with pytest.raises(ValueError, match=r"training\.familiarity"):
        load_familiarity(tmp_path)


@pytest.fixture
def few_pictures(monkeypatch):
    """Five of each kind, where the command makes more."""
    monkeypatch.setattr("training.measuring.familiarity.MADE", 5)


def test_pictures_of_every_kind_are_made_the_same_every_time(few_pictures):
    first, again = (made_pictures(np.random.default_rng(3)) for _ in range(2))
    assert len(first) == 6 and all(len(made) == 5 for made in first.values())
    assert all(
        np.array_equal(one, other) for kind in first for one, other in zip(first[kind], again[kind], strict=True)
    )
    assert len(of_text(LANGUAGES)) == 10


def test_the_shipped_model_knows_its_kind():
    predictor = VqaPredictor.from_checkpoint("assets/checkpoints/everyday", "cpu")
    photo = predictor.encode("assets/examples/astronaut.jpg")
    noise = predictor.encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)))
    usual = predictor.answer(photo, "What color is the suit?")
    assert usual.unfamiliar == ()
    assert usual.kinds["other"] > 0.9 and sum(usual.kinds.values()) == pytest.approx(1)
    assert predictor.answer(photo, "Is the woman smiling?").kinds["yes/no"] > 0.8
    assert predictor.answer(noise, "What color is the suit?").unfamiliar == ("photo",)
    assert predictor.answer(photo, "What is photosynthesis?").unfamiliar == ("question",)
    assert predictor.answer(noise, "xkcd qwrtz").unfamiliar == ("photo", "question")


def test_the_command_adds_the_file_and_tells_the_shares(few_pictures, tiny_model, tmp_path, monkeypatch, capsys):
    rows = [{"image": f"{place}.png", "question": f"is it {place}?", "answer": "yes"} for place in range(6)]
    for place, row in enumerate(rows):
        Image.new("RGB", (32, 32), (40 * place, 200, 9)).save(tmp_path / row["image"])
    data = str(write_rows(tmp_path / "rows.jsonl", rows))
    monkeypatch.setattr("training.measuring.familiarity.COMPONENTS", {"photo": 2, "question": 1})
    save_checkpoint(tiny_model, tmp_path / "checkpoint")
    asked = ["--checkpoint", str(tmp_path / "checkpoint"), "--data", data, "--device", "cpu"]
    main([*asked, "--validation", data, "--report", str(tmp_path / "report.json")])
    assert set(load_familiarity(tmp_path / "checkpoint")) == {"photo", "question"}
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["photo"]["called_unfamiliar"]) >= {"usual", "chart", "noise"}
    assert "| letters at random | 5 |" in (tmp_path / "report.md").read_text()
    image = VqaPredictor.from_checkpoint(tmp_path / "checkpoint", "cpu")
    assert isinstance(image.answer(image.encode(Image.new("RGB", (9, 9))), "what color is it?").unfamiliar, tuple)
    with pytest.raises(SystemExit):
        main([*asked, "--validation", str(tmp_path / "none.jsonl")])
    assert "none.jsonl" in capsys.readouterr().err
    monkeypatch.setattr("training.measuring.familiarity.COMPONENTS", {"photo": 128, "question": 32})
    with pytest.raises(SystemExit):
        main([*asked, "--validation", data])
    assert "6 photos; at least 256 are needed" in capsys.readouterr().err
