"""Calibrating the verdicts: the thresholds in use, what the report says of shuffled maps, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest

from training.measuring import evidence as command
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.evidence import rules

REPORT = Path(__file__).parents[3] / "docs" / "reports" / "evidence.json"


def test_the_thresholds_in_use_are_the_reports_and_not_below_the_calibrated():
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    assert report["used"] == {"weak": rules.WEAK_SUPPORT, "faithful": rules.FAITHFUL_SUPPORT}
    assert all(report["calibrated"][name] <= value for name, value in report["used"].items())


def test_at_least_95_of_100_shuffled_maps_get_not_supported():
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    assert report["shuffled_maps"]["not supported"] >= 0.95
    assert report["true_maps"]["not supported"] < report["shuffled_maps"]["not supported"]


def test_verdict_shares_add_up():
    places = [rules.VERDICTS.index(verdict) for verdict in ("not supported", "not supported", "weak", "faithful")]
    shares = command.verdict_shares(np.array(places))
    assert shares == {"faithful": 0.25, "weak": 0.25, "not supported": 0.5}


def test_the_command_writes_its_report(tiny_model, colored_squares, tmp_path, capsys):
    save_checkpoint(tiny_model, tmp_path / "model")
    report_file = tmp_path / "evidence.json"
    where = ["--checkpoint", str(tmp_path / "model"), "--data", str(colored_squares), "--report", str(report_file)]
    command.main([*where, "--limit", "6", "--device", "cpu"])
    report = json.loads(report_file.read_text())
    assert report["questions"] == 6 and report["tested_questions"] == 3
    assert sum(report["shuffled_maps"].values()) == pytest.approx(1, abs=1e-3)
    assert report_file.with_suffix(".md").read_text() in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main([*where, "--limit", "1"])
    assert "--limit is 1" in capsys.readouterr().err
