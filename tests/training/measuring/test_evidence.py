"""Calibrating the verdicts: the thresholds in use, what the report says of shuffled maps, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.datasets import load_rows
from training.measuring import evidence as command
from valm_core.checkpoints.contents import check_fingerprints
from valm_core.checkpoints.facts import read_thresholds
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.evidence import rules
from valm_core.predictor import VqaPredictor

REPORT = Path(__file__).parents[3] / "docs" / "reports" / "maps" / "evidence.json"


def test_the_thresholds_in_use_are_the_reports_and_not_below_the_calibrated():
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    assert report["used"] == {"matters a little": rules.LITTLE_SUPPORT, "matters": rules.SUPPORT}
    assert all(report["calibrated"][name] <= value for name, value in report["used"].items())


def test_shuffled_maps_hardly_ever_get_a_good_verdict():
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    shuffled, true = report["shuffled_maps"], report["true_maps"]
    assert shuffled["matters"] + shuffled["matters a little"] <= 0.05
    assert true["matters"] + true["matters a little"] > 0.25


def test_maps_of_other_photos_get_a_good_verdict_less_often_than_true_ones():
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    for where in ("", "_where_the_photo_changed_the_answer"):
        true, foreign = report[f"true_maps{where}"], report[f"maps_of_other_photos{where}"]
        assert foreign["matters"] + foreign["matters a little"] < 0.75 * (true["matters"] + true["matters a little"])


def test_a_map_of_another_photo_is_the_last_one_of_another(tiny_model, colored_squares, monkeypatch):
    asked = []
    hide = command.hiding_probabilities
    monkeypatch.setattr(command, "hiding_probabilities", lambda *given: asked.append(given[4]) or hide(*given))
    first, *rows = load_rows(str(colored_squares))
    second = next(row for row in rows if row.image != first.image)
    command.hide(tiny_model, [first, second, second])
    own = [maps[0] for maps in asked]
    foreign = [maps[-1] for maps in asked]
    np.testing.assert_array_equal(foreign[0], own[0][::-1])  # nothing was asked before
    np.testing.assert_array_equal(foreign[1], own[0])
    np.testing.assert_array_equal(foreign[2], own[0])  # the same photo once more


def test_thresholds_are_kept_in_the_checkpoint_and_used_from_there(tiny_model, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "mine", {"metrics.json": '{"accuracy": 0.5}'})
    command.write_thresholds(tmp_path / "mine", {"matters a little": 1.71, "matters": 3.0})
    assert json.loads((tmp_path / "mine" / "metrics.json").read_text()) == {
        "accuracy": 0.5,
        "verdict_thresholds": [1.8, 3.0],
    }
    check_fingerprints(tmp_path / "mine")
    own = VqaPredictor.from_checkpoint(tmp_path / "mine", "cpu")
    other = VqaPredictor(tiny_model, torch.device("cpu"))
    assert own.thresholds == (1.8, 3.0) and other.thresholds is None
    image = own.encode(Image.new("RGB", (32, 32), "red"))
    for predictor, measured in ((own, True), (other, False)):
        assert predictor.evidence(image, "what color?").own_thresholds is measured
        assert predictor.ask(image, "what color?")[2].own_thresholds is measured
    own.thresholds = (1e-6, 1e-6)
    lenient = own.evidence(image, "what color?")
    assert lenient.verdict != "matters a little"  # one threshold for both


@pytest.mark.parametrize("kept", ["[2.0]", '["a", 3]', "[3, 2]", "[0, 2]", '{"a": 1}', "5", "null"])
def test_thresholds_that_are_none_are_passed_over(tmp_path, kept):
    (tmp_path / "metrics.json").write_text(f'{{"verdict_thresholds": {kept}}}')
    assert read_thresholds(tmp_path) is None


def test_the_shipped_checkpoint_has_the_thresholds_of_its_report():
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    assert read_thresholds(REPORT.parents[3] / "assets" / "checkpoints" / "everyday") == tuple(report["used"].values())


def test_verdict_shares_add_up():
    told = np.array(["matters", "no difference", "no difference", "cannot tell"])
    assert command.verdict_shares(told) == {
        "matters": 0.25,
        "matters a little": 0,
        "no difference": 0.5,
        "cannot tell": 0.25,
    }


def test_pixels_are_blurred_where_the_hottest_cells_lie(tiny_model, colored_squares, monkeypatch):
    seen = []
    encode = tiny_model.encode_image
    monkeypatch.setattr(tiny_model, "encode_image", lambda pixels: seen.append(pixels) or encode(pixels))
    (row,) = load_rows(str(colored_squares))[:1]
    (found,) = command.hide(tiny_model, [row], by_pixels=True)
    whole, variants = seen[0][0], torch.cat(seen[1:])  # [3, S, S], [1 + maps * shares, 3, S, S]
    maps = len(found.hottest) + 1 + len(found.random)  # one of another photo
    assert len(variants) == 1 + maps * len(rules.HIDDEN_SHARES)
    assert torch.equal(variants[0], whole)
    changed = (variants != whole).any(dim=1).float().mean(dim=(1, 2))[1:].view(maps, -1)  # [maps, S]
    assert (changed[:, :-1] <= changed[:, 1:]).all() and (changed[:, -1] > 0).all()
    assert (changed <= torch.tensor(rules.HIDDEN_SHARES) + 0.26).all()  # of four cells at least one goes


def test_the_command_writes_its_report(tiny_model, colored_squares, tmp_path, capsys):
    save_checkpoint(tiny_model, tmp_path / "model")
    report_file = tmp_path / "evidence.json"
    where = ["--checkpoint", str(tmp_path / "model"), "--data", str(colored_squares), "--report", str(report_file)]
    command.main([*where, "--limit", "6", "--device", "cpu"])
    report = json.loads(report_file.read_text())
    assert report["questions"] == 6 and report["tested_questions"] == 3
    assert sum(report["shuffled_maps"].values()) == pytest.approx(1, abs=1e-3)
    assert report_file.with_suffix(".md").read_text() in capsys.readouterr().out
    command.main([*where, "--limit", "4", "--device", "cpu", "--pixels"])
    by_pixels = json.loads(report_file.read_text())
    assert (report["hidden"], by_pixels["hidden"]) == ("cells", "pixels") and "--pixels" in by_pixels["command"]
    with pytest.raises(SystemExit):
        command.main([*where, "--limit", "1"])
    assert "--limit is 1" in capsys.readouterr().err
