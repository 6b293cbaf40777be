"""The training-speed command: its figures fit together, whatever the machine."""

import json

import pytest

from training.benchmark.training_speed import main


def test_the_figures_fit_together(config_file, tmp_path, capsys):
    report = tmp_path / "speed.json"
    main(["--config", str(config_file), "--photos", "4", "--steps", "3", "--report", str(report), "batch_size=4"])
    found = json.loads(report.read_text())
    slowest, fastest = found["spread"]
    assert 0 < slowest <= found["rows_per_second"] <= fastest
    assert found["photos"] == 4 and found["batch_size"] == 4 and found["precision"] == "no"
    assert found["gigaflops"] == pytest.approx(found["megaflops_per_row"] * found["rows_per_second"] / 1e3)
    assert found["share_of_peak"] == pytest.approx(found["gigaflops"] / found["peak_gigaflops"])
    assert 0 < found["data_share"] < 1 and 0 <= found["padding_share"] < 1
    assert "batch_size=4" in found["command"] and "GFLOP/s" in report.with_suffix(".md").read_text()


def test_a_missing_config_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--config", str(tmp_path / "none.yaml")])
    assert stopped.value.code == 2 and "none.yaml" in capsys.readouterr().err
