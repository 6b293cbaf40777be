"""`--check-data`: every fault at once, with its place, and nothing trained."""

import json

import pytest
from toy_data import write_rows, write_vqa_v2

from training.datasets.check_data import check_data
from training.train import main


def check(config_file, *arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["--config", str(config_file), "--device", "cpu", "--check-data", *arguments])
    return stopped.value.code


def test_good_data_is_counted_and_nothing_is_trained(config_file, colored_squares, tmp_path, capsys):
    assert check(config_file) == 0
    assert capsys.readouterr().out.splitlines() == [f"{colored_squares}: 8 good rows", "4 photos opened, 0 faults"]
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()


def test_all_faults_of_all_files_are_listed_with_their_lines(config_file, colored_squares, tmp_path, capsys):
    rows = [json.loads(line) for line in colored_squares.read_text().splitlines()]
    (tmp_path / "red.png").write_bytes((tmp_path / "red.png").read_bytes()[:60])
    (tmp_path / "blue.png").write_text("not a photo")
    del rows[2]["question"]
    data = write_rows(tmp_path / "faulty.jsonl", [*rows, rows[0] | {"image": "gone.png"}])
    assert check(config_file, "--data", str(data), "--validation", "gone.jsonl") == 2
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"{data}:3: `question` is None")
    assert out[1].startswith(f"{data}:9: there is no photo {tmp_path / 'gone.png'}")
    assert out[2] == f"{data}: 7 good rows"
    assert out[3].startswith("There is no data file gone.jsonl")
    assert out[4] == "gone.jsonl: 0 good rows"
    assert out[5].startswith(f"{tmp_path / 'red.png'}: ") and out[5].endswith(f"Used by {data}:1, {data}:2")
    assert out[6].startswith(f"{tmp_path / 'blue.png'}: ") and out[6].endswith(f"Used by {data}:5, {data}:6")
    assert out[7:] == ["4 photos opened, 5 faults"]


def test_a_photo_of_many_lines_names_the_first_ones(tmp_path, capsys):
    source = write_vqa_v2(tmp_path / "v2", [9] * 8, [["red"] * 10] * 8)
    (tmp_path / "v2" / "photos" / "COCO_train2014_000000000009.jpg").write_text("")
    assert check_data([source, source]) == 2
    out = capsys.readouterr().out
    assert out.count("good rows") == 1 and "question 14 and 3 more" in out


def test_without_photos_none_is_opened(tmp_path, capsys):
    data = str(write_rows(tmp_path / "text.jsonl", [{"question": "?", "answer": "no"}]))
    assert check_data([data], photos=False) == 0
    assert "0 photos opened, 0 faults" in capsys.readouterr().out
    assert check_data([data]) == 2
