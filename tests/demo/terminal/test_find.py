"""`valm-find`: what it prints, writes and refuses."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from demo.terminal.find import main
from valm_core.captions.captioner import Captioner
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.model.build import build_task_model
from valm_core.retrieval.finder import PhotoFinder


@pytest.fixture(scope="module")
def checkpoint(tiny_config, tmp_path_factory):
    torch.manual_seed(3)
    model = build_task_model(dataclasses.replace(tiny_config, task="retrieval"))
    figures = {"found_by_score": [{"low": 0.0, "high": 1.0, "searches": 10, "found": 0.5}]}
    folder = tmp_path_factory.mktemp("finding") / "checkpoint"
    save_checkpoint(model, folder, {"metrics.json": json.dumps(figures)})
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in {"a": "red", "b": "green", "c": "blue"}.items():
        Image.new("RGB", (40, 30), color).save(folder / f"{name}.png")
    return folder


def run(checkpoint, *arguments) -> None:
    main([*map(str, arguments), "--checkpoint", str(checkpoint), "--device", "cpu"])


def test_it_ranks_the_folder_and_keeps_the_index_beside_it(checkpoint, photos, capsys):
    run(checkpoint, photos, "red square", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["photos"] == 3
    assert sorted(one["photo"] for one in told["found"]) == ["a.png", "b.png", "c.png"]
    assert [one["score"] for one in told["found"]] == sorted((one["score"] for one in told["found"]), reverse=True)
    assert told["found"][0]["found_share"] == 0.5
    assert (photos.parent / "photos.valm-index").is_file()
    run(checkpoint, photos, "--photo", photos / "b.png", "--top", "1")
    assert capsys.readouterr().out.split()[-1] == "b.png"


def test_it_says_what_changed_since_the_last_time(checkpoint, photos, capsys):
    run(checkpoint, photos, "red")
    assert "Photos: 3 added, 0 removed, 0 as before." in capsys.readouterr().err
    run(checkpoint, photos, "red")
    assert "as before" not in capsys.readouterr().err
    (photos / "a.png").unlink()
    Image.new("RGB", (40, 30), "white").save(photos / "d.png")
    (photos / "broken.png").write_bytes(b"no photo")
    run(checkpoint, photos, "red")
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("broken.png: ") for line in lines)
    assert lines[-1] == "Photos: 1 added, 1 removed, 2 as before."


def test_the_best_are_read_closely_where_asked(checkpoint, photos, capsys, tmp_path, monkeypatch, tiny_caption_model):
    save_checkpoint(tiny_caption_model, tmp_path / "describe")
    monkeypatch.setenv("VALM_DESCRIBE_CHECKPOINT", str(tmp_path / "describe"))
    run(checkpoint, photos, "red square", "--json")
    found = {one["photo"]: one["score"] for one in json.loads(capsys.readouterr().out)["found"]}
    run(checkpoint, photos, "red square", "--closely", "--json")
    printed = capsys.readouterr()
    assert "3 of 3 photos read closely" in printed.err
    read = json.loads(printed.out)["found"]
    assert {one["photo"]: one["score"] for one in read} == pytest.approx(found)
    captioner = Captioner(tiny_caption_model, torch.device("cpu"))
    likely = {name: captioner.log_probabilities(["red square"], photos / name)[0] for name in found}
    assert [one["photo"] for one in read] == sorted(found, key=lambda name: -found[name] - likely[name])
    assert all(one["found_share"] is None for one in read)


def test_lines_are_ranked_by_a_photo(checkpoint, photos, capsys, tmp_path):
    lines = ["a red square", "is there any blue?", "the green square is the blue square", "what color?"] * 20
    (tmp_path / "lines.txt").write_text("\n\n".join(lines))  # more than go through the model at once
    run(checkpoint, tmp_path / "lines.txt", "--photo", photos / "a.png", "--json", "--top", "80")
    told = json.loads(capsys.readouterr().out)
    scores = [one["score"] for one in told["found"]]
    assert told["texts"] == 80 and scores == sorted(scores, reverse=True) and len({round(s, 4) for s in scores}) == 4
    finder = PhotoFinder.from_checkpoint(checkpoint, "cpu")
    query, keys = finder.encode_words(lines[0]), finder.encode_photos([photos / "a.png"])
    expected = finder.scores(query, keys)[0]
    assert {one["text"]: one["score"] for one in told["found"]}[lines[0]] == pytest.approx(expected, abs=0.1)
    (tmp_path / "lines.txt").write_text("a red square\n???\n")
    run(checkpoint, tmp_path / "lines.txt", "--photo", photos / "a.png")
    told = capsys.readouterr()
    assert "1 of 2 lines have no letter and are left out." in told.err and "a red square" in told.out
    (tmp_path / "lines.txt").write_bytes("a red square\r\n".encode("utf-16"))  # as PowerShell writes it
    run(checkpoint, tmp_path / "lines.txt", "--photo", photos / "a.png")
    assert "a red square" in capsys.readouterr().out
    (tmp_path / "lines.txt").write_bytes(b"caf\xe9")
    with pytest.raises(SystemExit, match="2"):
        run(checkpoint, tmp_path / "lines.txt", "--photo", photos / "a.png")
    assert "lines.txt is no UTF-8 text" in capsys.readouterr().err


def test_maps_are_pictures_of_the_photo_and_each_word(checkpoint, photos, tmp_path):
    run(checkpoint, photos, "red square", "--maps", tmp_path / "maps", "--top", "2")
    pictures = sorted((tmp_path / "maps").iterdir())
    assert [path.name[:2] for path in pictures] == ["1-", "2-"]
    assert Image.open(pictures[0]).size == (4 * 320, 240)  # plain, all words, "red", "square"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing", "red"], "There is no folder 'missing'"),
        (["."], "say what to look for"),
        ([".", "red", "--photo", "a.png"], "say what to look for"),
        ([".", "--photo", "a.png", "--maps", "x"], "give words"),
        ([".", "red", "--top", "0"], "--top is 0"),
    ],
)
def test_senseless_calls_are_refused(checkpoint, arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run(checkpoint, *arguments)
    assert message in capsys.readouterr().err


def test_an_empty_folder_and_a_wrong_checkpoint_end_in_one_line(checkpoint, tmp_path, capsys, photos):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="2"):
        run(checkpoint, tmp_path / "empty", "red")
    assert "no photo that can be read" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path / "empty", photos, "red")
    assert "is no VALM checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "photos.valm-index").exists()
