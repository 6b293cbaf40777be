"""`--resume` goes on with the same run alone: other answers, data, start or settings are refused in one line."""

import json
import shutil

import pytest
from PIL import Image

from training.made_from import checkpoint_fingerprint, data_fingerprint
from training.train import main
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.model.build import build_model


def refused(capsys, config_file, *arguments: str) -> str:
    """What a refused resume says, in one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config_file), "--device", "cpu", "--resume", *arguments])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "last was trained with other settings or data: " in line and "another --output" in line and "--init" in line
    return line.partition("data: ")[2].partition(". Resume")[0]


def test_other_data_answers_and_settings_are_refused_and_the_run_stays_whole(
    config_file, colored_squares, tmp_path, capsys
):
    validation = shutil.copy(colored_squares, tmp_path / "validation.jsonl")
    whole = ["--validation", str(validation), "epochs=2", "save_every=1"]
    main(["--config", str(config_file), "--device", "cpu", *whole])
    state = {path.name: path.read_bytes() for path in (tmp_path / "run" / "last").iterdir()}
    text = colored_squares.read_text(encoding="utf-8")

    # Another answer becomes the commonest: the answer list has another order, so weights would be read as another's.
    row = {"image": "blue.png", "question": "what color is it?", "answer": "blue"}
    colored_squares.write_text(text + (json.dumps(row) + "\n") * 9, encoding="utf-8")
    told = refused(capsys, config_file, *whole)
    assert "data: rows (was 8, is 17)" in told and "answer 1 (was " in told and "is 'blue')" in told

    lines = text.splitlines(keepends=True)
    colored_squares.write_text("".join([lines[1], lines[0], *lines[2:]]), encoding="utf-8")  # the same rows, turned
    assert refused(capsys, config_file, *whole).startswith("data")
    colored_squares.write_text(text, encoding="utf-8")

    photo = (tmp_path / "red.png").read_bytes()
    Image.new("RGB", (40, 30), (1, 2, 3)).save(tmp_path / "red.png")
    assert refused(capsys, config_file, *whole) == "data, validation"
    (tmp_path / "red.png").write_bytes(photo)

    validation.write_text("".join(lines[:6]), encoding="utf-8")
    assert refused(capsys, config_file, *whole) == "validation: rows (was 8, is 6)"
    validation.write_text(text, encoding="utf-8")

    assert "seed (was 0, is 1)" in refused(capsys, config_file, *whole, "seed=1")
    assert "repeat (was 1, is 2)" in refused(capsys, config_file, *whole, "repeat=2")
    assert "blind (was False, is True)" in refused(capsys, config_file, *whole, "blind=true")
    assert "data: rows (was 8, is 4)" in refused(capsys, config_file, *whole, "rows=4")
    assert "epochs (was 2, is 3)" in refused(capsys, config_file, *whole, "epochs=3")
    assert "dropout (was 0.0, is 0.1)" in refused(capsys, config_file, *whole, "dropout=0.1")
    start = str(tmp_path / "run" / "best")
    assert "init" in refused(capsys, config_file, *whole, "--init", start)

    assert {path.name: path.read_bytes() for path in (tmp_path / "run" / "last").iterdir()} == state
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (*tmp_path.glob("*.png"), colored_squares):
        shutil.copy(path, moved)
    free = ["--data", str(moved / colored_squares.name), "workers=1", "threads=1", "save_every=0"]
    main(["--config", str(config_file), "--device", "cpu", "--resume", *whole, *free])


def test_a_start_that_was_trained_further_is_another_start(tiny_model, tmp_path):
    assert checkpoint_fingerprint("") == ""
    save_checkpoint(tiny_model, tmp_path / "start")
    before = checkpoint_fingerprint(tmp_path / "start")
    save_checkpoint(tiny_model, tmp_path / "copy", {"metrics.json": "{}", "README.md": "a card"})
    assert checkpoint_fingerprint(tmp_path / "copy") == before
    tiny_model.head[-1].bias.data += 1
    save_checkpoint(tiny_model, tmp_path / "start")
    assert checkpoint_fingerprint(tmp_path / "start") != before
    other = build_model(tiny_model.config, tiny_model.answers[::-1])
    other.load_state_dict(tiny_model.state_dict())
    save_checkpoint(other, tmp_path / "start")
    assert checkpoint_fingerprint(tmp_path / "start") not in (before, "")


def test_the_shards_of_a_stream_are_known_by_their_content(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"one" * 10_000)
    first = data_fingerprint(f"stream:{tmp_path}/*.tar")
    assert first["shards"] == 1 and first == data_fingerprint(f"stream:{tmp_path}/a.tar")
    content = bytearray(b"one" * 100_000)
    (tmp_path / "a.tar").write_bytes(content)
    second = data_fingerprint(f"stream:{tmp_path}/*.tar")
    content[150_000] ^= 1  # far from both ends
    (tmp_path / "a.tar").write_bytes(content)
    assert len({str(one) for one in (first, second, data_fingerprint(f"stream:{tmp_path}/*.tar"))}) == 3
