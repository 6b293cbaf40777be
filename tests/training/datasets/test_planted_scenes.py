"""Planted scenes: objects lie where the rows say, one object a question; and the measures that use them."""

import json

import numpy as np
import pytest
from PIL import Image

from training.datasets import planted_scenes
from training.datasets.readers.jsonl import DataError, read_rows
from training.measuring import pointing
from valm_core.checkpoints.storage import save_checkpoint


@pytest.mark.parametrize("photographic", [False, True])
def test_every_object_lies_in_its_box_and_nowhere_else(photographic):
    photos = [Image.new("RGB", (300, 200), (120, 120, 120))] if photographic else []
    generator = np.random.default_rng(0)
    for _ in range(10):
        scene, objects = planted_scenes.draw_scene(generator, photos)
        pixels = np.asarray(scene, dtype=int)
        assert len({item["shape"] for item in objects}) == len({item["color"] for item in objects}) == 3
        for item in objects:
            near = np.abs(pixels - planted_scenes.COLORS[item["color"]]).max(axis=-1) < 12
            rows, columns = np.nonzero(near)
            x0, y0, x1, y1 = (edge * planted_scenes.SIDE for edge in item["box"])
            assert near.sum() > 0.2 * (x1 - x0) * (y1 - y0)
            assert rows.min() >= y0 - 1 and rows.max() <= y1 + 1 and columns.min() >= x0 - 1 and columns.max() <= x1 + 1


def test_each_question_is_about_one_object_and_says_where():
    generator = np.random.default_rng(1)
    for _ in range(20):
        _, objects = planted_scenes.draw_scene(generator, [])
        rows = planted_scenes.questions_about(objects, generator)
        for row, item in zip(rows, objects, strict=True):
            asked, answer = (
                (item["shape"], item["color"]) if row["source"] == "color" else (item["color"], item["shape"])
            )
            assert asked in row["question"] and row["answer"] == answer and row["region"] == list(item["box"])


def test_the_same_seed_gives_the_same_scenes(tmp_path):
    files = [planted_scenes.write_scenes(tmp_path / name, 2, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    assert (tmp_path / "a/00000.jpg").read_bytes() == (tmp_path / "b/00000.jpg").read_bytes()
    assert len(read_rows(files[0])) == 6 and all(row.region for row in read_rows(files[0]))


def test_a_folder_without_photos_is_named(tmp_path):
    with pytest.raises(DataError, match="no photo"):
        planted_scenes.background_photos(tmp_path)


def test_pointing_and_mass_as_worked_by_hand():
    image_map = np.zeros((4, 4))
    image_map[1, 2] = 0.75  # x .5 to .75, y .25 to .5
    image_map[3, 0] = 0.25
    assert pointing.points_at(image_map, (0.5, 0.25, 0.75, 0.5)) == 1
    assert pointing.points_at(image_map, (0.68, 0.25, 0.9, 0.5)) == 1  # the centre at .625 is within the tolerance
    assert pointing.points_at(image_map, (0.7, 0.25, 0.9, 0.5)) == 0
    assert pointing.mass_inside(image_map, (0.5, 0.25, 0.75, 0.5)) == pytest.approx(0.75)
    assert pointing.mass_inside(image_map, (0.5, 0.25, 0.625, 0.5)) == pytest.approx(0.375)
    assert pointing.mass_inside(np.full((4, 4), 1 / 16), (0.1, 0.2, 0.5, 0.7)) == pytest.approx(0.2)
    assert pointing.points_at(np.ones((2, 2)), (0.0, 0.0, 0.5, 0.5)) == 0.25


def test_the_command_measures_every_method(tiny_model, tmp_path, capsys):
    rows = planted_scenes.write_scenes(tmp_path / "plain", 12, 0)
    tiny_model.answers[:] = ["red", "green", "blue", "circle", "square", "star"]
    save_checkpoint(tiny_model, tmp_path / "model")
    report_file = tmp_path / "report.json"
    where = ["--checkpoint", str(tmp_path / "model"), "--report", str(report_file), "--device", "cpu"]
    pointing.main([*where, f"plain={rows}"])
    figures = json.loads(report_file.read_text())["files"]["plain"]
    assert 0 < figures["accuracy"] < 1 and set(figures["methods"]) == set(pointing.EXPLANATION_METHODS)
    assert report_file.with_suffix(".md").read_text() in capsys.readouterr().out
    with pytest.raises(SystemExit):
        pointing.main([*where, str(rows)])
    assert "has no name" in capsys.readouterr().err


def test_backgrounds_are_cut_from_the_photos_of_a_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (300, 200), (10, 20, 200)).save(tmp_path / "photos" / "sky.png")
    photos = planted_scenes.background_photos(tmp_path / "photos")
    planted_scenes.write_scenes(tmp_path / "scenes", 1, 0, photos)
    pixels = np.asarray(Image.open(tmp_path / "scenes" / "00000.jpg"), dtype=int)
    assert (np.abs(pixels - (10, 20, 200)).max(axis=-1) < 12).mean() > 0.3


def test_a_share_of_the_backgrounds_is_plain_nevertheless(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (300, 200), (10, 20, 200)).save(tmp_path / "photos" / "sky.png")
    arguments = ["--photos", str(tmp_path / "photos"), "--scenes", "24", "--seed", "1"]
    blue = {}
    for share in ("0", "0.5", "1"):
        folder = tmp_path / share
        planted_scenes.main([*arguments, "--output", str(folder), "--plain", share])
        scenes = [np.asarray(Image.open(file), dtype=int) for file in sorted(folder.glob("*.jpg"))]
        blue[share] = sum((np.abs(scene - (10, 20, 200)).max(axis=-1) < 12).mean() > 0.3 for scene in scenes)
    assert blue["0"] == 24 and blue["1"] == 0 and 6 <= blue["0.5"] <= 18
    with pytest.raises(SystemExit):
        planted_scenes.main([*arguments, "--output", str(tmp_path / "none"), "--plain", "50"])
    assert "--plain is 50.0; allowed: 0 to 1" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_sentences_name_shapes_and_only_the_scene_tells_their_label(tmp_path):
    generator = np.random.default_rng(0)
    told = []
    for _ in range(200):
        shapes, colors = (
            generator.permutation(names)[:3] for names in (planted_scenes.SHAPES, [*planted_scenes.COLORS])
        )
        objects = [{"shape": str(shape), "color": str(color)} for shape, color in zip(shapes, colors, strict=True)]
        row = planted_scenes.sentence_about(objects, generator)
        own = {item["shape"]: item["color"] in planted_scenes.WARM for item in objects}
        named = [(word, label) for word, label in zip(row["tokens"], row["labels"], strict=True) if label != "O"]
        assert 1 <= len(named) <= 3 and all((label == "B-WARM") == own[word] for word, label in named)
        told += named
    for shape in planted_scenes.SHAPES:  # no word tells its label
        labels = [label for word, label in told if word == shape]
        assert 0.3 < labels.count("B-WARM") / len(labels) < 0.7
    rows = planted_scenes.write_scenes(tmp_path, 2, 1, rows="tags").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["image"] for row in rows] == ["00000.jpg", "00001.jpg"]
