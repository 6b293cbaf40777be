"""`valm-describe`: what it prints, writes and refuses."""

import json

import pytest
from PIL import Image

from demo.terminal.describe import main
from valm_core.checkpoints.storage import save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tiny_caption_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("describing") / "checkpoint"
    save_checkpoint(tiny_caption_model, folder)
    return folder


@pytest.fixture
def photos(tmp_path):
    for name, color in {"a": "red", "b": "green"}.items():
        Image.new("RGB", (40, 30), color).save(tmp_path / f"{name}.png")
    return [tmp_path / "a.png", tmp_path / "b.png"]


def run(checkpoint, *arguments) -> None:
    main([*map(str, arguments), "--checkpoint", str(checkpoint), "--device", "cpu"])


def test_text_and_json_say_the_same(checkpoint, photos, capsys, tmp_path):
    run(checkpoint, *photos, "--json", "--figures", tmp_path / "maps")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["photo"] for row in rows] == [str(photo) for photo in photos]
    for row in rows:
        assert len(row["word_maps"]) == len(row["words"]) >= 1
        assert [len(row["word_maps"][0]), len(row["word_maps"][0][0])] == row["grid"]
    run(checkpoint, *photos)
    lines = capsys.readouterr().out.splitlines()
    first = rows[0]
    assert lines[0] == f"{photos[0]}: {first['description']}"
    assert [line.split()[0] for line in lines[1 : len(first["words"]) + 1]] == [one["word"] for one in first["words"]]
    pictures = sorted((tmp_path / "maps").iterdir())
    assert [path.name for path in pictures] == ["1-a.png", "2-b.png"]
    assert Image.open(pictures[0]).size == ((2 + len(first["words"])) * 320, 240)  # plain, all words, each word


def test_a_broken_photo_among_others_is_named_and_the_rest_described(checkpoint, photos, capsys, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(SystemExit, match="1"):
        run(checkpoint, tmp_path / "broken.jpg", *photos)
    told = capsys.readouterr()
    assert "broken.jpg: " in told.err
    assert "b.png: " in told.out
    with pytest.raises(SystemExit, match="2"):
        run(checkpoint, tmp_path / "broken.jpg", tmp_path / "missing.jpg")


def test_senseless_calls_are_refused(checkpoint, photos, capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        run(checkpoint, photos[0], "--beams", "0")
    assert "--beams is 0; allowed: 1 to 10" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path / "nothing", photos[0])
    assert "no VALM checkpoint" in capsys.readouterr().err
