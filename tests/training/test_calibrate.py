"""Temperatures by kind of answer: worked by hand, planted and found again, and written into a checkpoint."""

import dataclasses
import json
import math

import pytest
import torch
from toy_data import write_rows

from training.calibrate import ONE_PHOTO, fit_temperatures, held_out_error, main
from training.datasets.readers.jsonl import Row
from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.config import ValmConfig
from valm_core.model.heads import calibrated

ANSWERS = ["yes", "no", "red", "blue"]


def test_yes_and_no_have_their_own_temperature():
    logits = torch.tensor([[2.0, 0, -20, -20], [-20, -20, 2.0, 0]])
    found = calibrated(logits, ANSWERS, temperature=2.0, yes_no_temperature=0.5)
    assert found[0, 0].item() == pytest.approx(1 / (1 + math.exp(-4)), abs=1e-4)  # 2 / 0.5
    assert found[1, 2].item() == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-4)  # 2 / 2
    assert found.sum(dim=1).tolist() == pytest.approx([1, 1])
    same = calibrated(logits, ANSWERS, temperature=2.0, yes_no_temperature=0.0)
    assert same[0, 0].item() == pytest.approx(same[1, 2].item())


def test_variants_of_a_question_are_told_by_its_own_temperature():
    logits = torch.tensor([[2.0, 0, -20, -20], [-20, -20, 2.0, 0]])
    found = calibrated(logits, ANSWERS, 2.0, 0.5, asked=logits[:1])
    assert found[1].tolist() == pytest.approx((logits[1] / 0.5).softmax(0).tolist())


def planted(yes_no: float, other: float, rows: int = 6000) -> tuple[list[Row], torch.Tensor]:
    """Questions of both kinds whose logits are too sharp by these factors."""
    generator = torch.Generator().manual_seed(0)
    true = torch.full((rows, 4), -30.0)
    true[: rows // 2, :2] = torch.randn(rows // 2, 2, generator=generator)
    true[rows // 2 :, 2:] = torch.randn(rows // 2, 2, generator=generator)
    drawn = torch.multinomial(true.softmax(-1), 1, generator=generator)[:, 0]
    questions = [Row(f"photo {n}", "?", (ANSWERS[index],), source="planted") for n, index in enumerate(drawn.tolist())]
    factor = torch.cat([torch.full((rows // 2, 1), yes_no), torch.full((rows // 2, 1), other)])
    return questions, true * factor


def test_planted_temperatures_are_found_again_and_hold_on_other_photos():
    rows, logits = planted(yes_no=0.5, other=3.0)
    other, yes_no = fit_temperatures(rows, logits, ANSWERS)
    assert (other, yes_no) == (pytest.approx(3.0, rel=0.15), pytest.approx(0.5, rel=0.15))
    assert held_out_error(rows, logits, ANSWERS) < 0.03


def test_few_rows_of_a_kind_share_one_temperature():
    rows, logits = planted(yes_no=2.0, other=2.0)
    temperature, yes_no = fit_temperatures(rows[2950:], logits[2950:], ANSWERS)
    assert temperature == pytest.approx(2.0, rel=0.15) and yes_no == 0


def test_the_command_changes_confidence_and_figures_and_nothing_else(tiny_model, colored_squares, tmp_path, capsys):
    folder = tmp_path / "checkpoint"
    card = "# Old\n\n## Training\n\nLearned from squares.\n\n## Figures on `old.jsonl`\n\n```\nold figures\n```\n"
    save_checkpoint(
        tiny_model, folder, {"README.md": card, "metrics.json": json.dumps({"command": "train", "epochs": 3})}
    )
    weights = (folder / "model.safetensors").read_bytes()
    main(["--checkpoint", str(folder), "--data", str(colored_squares), "--device", "cpu"])
    assert (folder / "model.safetensors").read_bytes() == weights
    before, after = tiny_model.config, ValmConfig.from_json(folder / "config.json")
    assert after.temperature != before.temperature
    assert dataclasses.replace(after, temperature=before.temperature) == before
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["command"] == "train" and metrics["epochs"] == 3
    assert 0 <= metrics["held_out_calibration_error"] <= 1 and 0 <= metrics["accuracy_without_photo"] <= 1
    text = (folder / "README.md").read_text()
    assert "Learned from squares." in text and "old figures" not in text
    assert f"{after.temperature:.3f}" in text and "without the photo" in text
    load_checkpoint(folder)
    assert "temperatures of other photos" in capsys.readouterr().out


def test_one_photo_has_no_other_half(tiny_model, colored_squares, tmp_path, capsys):
    rows = [json.loads(line) for line in colored_squares.read_text().splitlines()][:2]
    data = write_rows(tmp_path / "one.jsonl", rows)
    folder = tmp_path / "checkpoint"
    save_checkpoint(tiny_model, folder, {"metrics.json": json.dumps({"held_out_calibration_error": 0.5})})
    main(["--checkpoint", str(folder), "--data", str(data), "--device", "cpu"])
    assert ONE_PHOTO in capsys.readouterr().out
    assert "held_out_calibration_error" not in json.loads((folder / "metrics.json").read_text())
    card = (folder / "README.md").read_text()
    assert "All of them are about one photo" in card and "The epoch" not in card


def test_no_checkpoint_or_no_data_is_told(tiny_model, tmp_path, colored_squares, capsys):
    for checkpoint, data in ((tmp_path / "none", colored_squares), (tmp_path / "made", tmp_path / "none.jsonl")):
        save_checkpoint(tiny_model, tmp_path / "made")
        with pytest.raises(SystemExit) as stopped:
            main(["--checkpoint", str(checkpoint), "--data", str(data)])
        assert stopped.value.code == 2 and "none" in capsys.readouterr().err
