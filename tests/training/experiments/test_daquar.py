"""The DAQUAR command on a toy set: split, cells, report, and going on where it stopped."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from patience import PATIENCE
from PIL import Image
from toy_data import write_rows

from training.datasets.readers.jsonl import read_rows
from training.experiments import daquar
from training.experiments.daquar import epochs_for, format_report, main, split_by_photo
from training.train import main as train


@pytest.fixture
def rooms(tmp_path):
    """Twenty photos with two questions each."""
    rows = []
    for place in range(20):
        name, color = ("red", (220, 30, 30)) if place % 2 else ("blue", (40, 60, 220))
        Image.new("RGB", (32, 32), color).save(tmp_path / f"room{place}.png")
        rows += [
            {"image": f"room{place}.png", "question": question, "answer": answer, "source": "daquar"}
            for question, answer in (("what color is the square?", name), ("is there any?", "yes"))
        ]
    return write_rows(tmp_path / "rooms.jsonl", rows)


def test_no_photo_is_in_two_parts(rooms):
    parts = split_by_photo(read_rows(rooms))
    photos = [{row.image for row in part} for part in parts.values()]
    assert [len(part) for part in photos] == [12, 4, 4] and len(set.union(*photos)) == 20
    again = split_by_photo(read_rows(rooms)[::-1])
    assert {name: set(part) for name, part in parts.items()} == {name: set(part) for name, part in again.items()}


def test_fewer_rows_get_more_epochs():
    assert [epochs_for(rows) for rows in (32, 255, 256, 1000, 0)] == [10, 10, 6, 2, 2]


def test_a_process_of_its_own_tells_its_exit_code_and_its_memory(tmp_path):
    parent = bytearray(300 * 2**20)  # is none of the child's
    code = "import sys, time; held = b'1' * 99_000_000; time.sleep(1)\n"  # it is looked at ten times a second
    code += "print('said'); print('why', file=sys.stderr); sys.exit(3)"
    ended, most_bytes = daquar.run_alone([sys.executable, "-c", code], tmp_path / "log.txt")
    assert ended == 3 and 99_000_000 < most_bytes < len(parent)
    assert sorted((tmp_path / "log.txt").read_text().splitlines()) == ["said", "why"]


def test_from_rows_to_a_report_that_goes_on_where_it_stopped(forks, rooms, config_file, tmp_path, capsys, monkeypatch):
    train(["--config", str(config_file), "--device", "cpu", "--output", str(tmp_path / "start"), "epochs=1"])
    sections = yaml.safe_load(config_file.read_text())
    sections["model"] = {}
    config_file.write_text(yaml.safe_dump(sections), encoding="utf-8")
    report, start = tmp_path / "reports" / "daquar", tmp_path / "start" / "checkpoint"
    words = ["--data", str(rooms), "--report", str(report), "--init", str(start), "--config", str(config_file)]
    words += ["--output", str(tmp_path / "cells"), "--modes", "frozen"]

    def fork(command: list[str], log: Path) -> tuple[int, int]:
        assert command[0] == sys.executable
        return forks.start(command[1:], stdout=log).wait(PATIENCE), 300 * 2**20

    monkeypatch.setattr(daquar, "run_alone", fork)
    main([*words, "--rows", "8", "batch_size=4"])
    first = json.loads(report.with_suffix(".json").read_text())
    assert [(cell["name"], cell["rows"]) for cell in first["cells"]] == [("frozen", 8)]
    assert all(cell["peak_memory_mb"] == 300 and cell["learning_parameters"] > 0 for cell in first["cells"])
    assert [floor["name"] for floor in first["floors"]] == ["most common answer", "before"]
    assert first["floors"][0]["answer"] == "yes" and first["floors"][0]["accuracy"] == 0.5
    assert report.with_suffix(".png").stat().st_size > 1000

    capsys.readouterr()
    main([*words, "--rows", "8,0", "batch_size=4"])
    again = json.loads(report.with_suffix(".json").read_text())
    assert again["cells"][:1] == first["cells"] and again["cells"][1]["rows"] == 0
    text = report.with_suffix(".md").read_text()
    assert "| frozen | 8 |" in text and "| frozen | all |" in text and "(daquar.png)" in text
    assert text == format_report(again, "daquar")

    with pytest.raises(SystemExit) as stopped:
        main([*words, "--rows", "8", "batch_size=2"])
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and "frozen-8 was trained with other batch_size (was 4, is 2)." in told
    assert json.loads(report.with_suffix(".json").read_text()) == again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--modes", "half"], "fine_tuning is 'half'"), (["--rows", "-1"], "rows is -1"), (["--rows", "x"], "'x'")],
)
def test_faults_are_told_in_one_line(rooms, capsys, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(["--data", str(rooms), "--report", str(tmp_path / "report"), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
