"""The figure of cost by size: what is counted is what was asked, and a cost that grows is called so."""

import json

import pytest

from training.benchmark import scale
from training.datasets import load_rows
from training.datasets.readers.shards import scan_questions
from valm_core.checkpoints.storage import save_checkpoint


def test_rows_come_again_until_there_are_enough(colored_squares):
    rows = load_rows(colored_squares)
    parts = list(scale.in_rounds(rows, 2 * len(rows) + 3))
    assert [len(part) for part in parts] == [len(rows), len(rows), 3] and parts[2] == rows[:3]


def test_shards_hold_every_question_once(colored_squares, tmp_path):
    rows = load_rows(colored_squares)
    scale.write_shards(rows, tmp_path / "shards")
    shards = sorted((tmp_path / "shards").iterdir())
    assert len(shards) == scale.SHARDS
    found = [row for shard in shards for row in scan_questions(shard)]
    assert sorted(row.question for row in found) == sorted(row.question for row in rows)
    assert sorted(row.photo for row in found) == sorted(row.photo.read_bytes() for row in rows)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [((1, 10), "linear: a piece costs 1.00"), ((1, 20), "2.0 times"), ((5, 10), "0.20 of the smallest size's")],
)
def test_the_verdict_says_how_the_cost_grows(seconds, words):
    part = [{"size": size, "seconds": each} for size, each in zip((100, 1000), seconds, strict=True)]
    assert words in scale.verdict(part)


def test_the_report_has_every_size(config_file, colored_squares, tiny_model, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "checkpoint")
    report = tmp_path / "scale.json"
    given = ["--checkpoint", str(tmp_path / "checkpoint"), "--config", str(config_file), "--data", str(colored_squares)]
    given += ["--answers", "3", "11", "--photos", "60", "120", "--encoded", "2", "4", "--workers"]
    scale.main([*given, "--report", str(report)])
    found = json.loads(report.read_text())
    sizes = {name: [row["size"] for row in found[name]] for name in ("answers", "search", "learning", "workers")}
    assert sizes == {"answers": [3, 11], "search": [60, 120], "learning": [2, 4], "workers": []}
    assert all(row["seconds"] > 0 for name in sizes for row in found[name])
    text = report.with_suffix(".md").read_text()
    assert "Ray" not in text and text.count("a piece costs") == 3 and report.with_suffix(".png").stat().st_size > 5000


def test_no_size_below_one(config_file, colored_squares, tmp_path, capsys):
    given = ["--checkpoint", "none", "--config", str(config_file), "--data", str(colored_squares), "--answers", "0"]
    with pytest.raises(SystemExit) as stopped:
        scale.main([*given, "--report", str(tmp_path / "scale.json")])
    assert stopped.value.code == 2 and "at least 1" in capsys.readouterr().err
    assert not (tmp_path / "scale.json").exists()
