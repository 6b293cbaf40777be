"""Whole runs on planted data: labels that only the photo, only the words or only the marked parts tell."""

import json

import pytest
from PIL import Image
from task_runs import train_run
from toy_data import COLORS, write_rows

from training.datasets.readers.labelled import LabelledText
from training.evaluate import main as evaluate
from training.tasks.classifying import pair_figures
from training.train import main as train


def label_run(output, tiny_config, task, data, precision="no", **settings):
    model = {"task": task, "fusion": "bi_attention"} | settings
    training = {"batch_size": 16, "early_stopping_patience": 12, "precision": precision}
    train_run(output, tiny_config, data, model, training, cache=True)


def test_a_pair_is_of_one_source_and_right_where_each_true_statement_is_above_each_false_one():
    rows = [
        LabelledText(("a", "dog"), label, source=source, pair=pair)
        for source, pair, label in [
            ("one", "1", "true"),
            ("one", "1", "false"),
            ("two", "1", "true"),
            ("two", "1", "false"),
            ("two", "2", "false"),
            ("two", "2", "true"),
            ("two", "2", "false"),
        ]
    ]
    support = [0.9, 0.1, 0.2, 0.8, 0.3, 0.5, 0.6]
    assert pair_figures(support, rows) == {"pairs": 3, "pair_accuracy": 1 / 3}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Red and blue photos, eight of each to learn from and four others."""
    folder = tmp_path_factory.mktemp("photos")
    names: dict[str, list[tuple[str, str]]] = {}
    for split, count in (("train", 16), ("validation", 8)):
        names[split] = []
        for place in range(count):
            color = ("red", "blue")[place % 2]
            shade = tuple(max(part - 4 * place - (split == "validation"), 0) for part in COLORS[color])
            Image.new("RGB", (40, 30), shade).save(folder / f"{split}{place}.png")
            names[split].append((f"{split}{place}.png", color))
    return folder, names


@pytest.fixture(scope="module")
def relations(photos):
    """One text throughout: whether its parts belong together only the photo tells."""
    folder, names = photos
    for split, own in names.items():
        rows = [
            {"tokens": ["what", "is", "there"], "first": [0, 1], "second": [2, 3], "image": name}
            | {"relation": "is" if color == "red" else "None"}
            for name, color in own
        ]
        write_rows(folder / f"{split}.jsonl", rows)
    return folder


def test_a_relation_that_only_the_photo_tells_is_found_with_it_and_guessed_without(
    relations, tiny_config, tmp_path, capsys
):
    seeing, blind = tmp_path / "seeing", tmp_path / "blind"
    for output, settings in ((seeing, {}), (blind, {"fusion": "text"})):
        output.mkdir()
        label_run(output, tiny_config, "relate", relations, **settings)
    reports = [json.loads((output / "checkpoint" / "metrics.json").read_text()) for output in (seeing, blind)]
    assert reports[0]["accuracy"] >= 0.95
    assert reports[0]["without_photo"]["accuracy"] == reports[1]["accuracy"] == 0.5
    assert reports[0]["micro_f1"] >= 0.95
    assert reports[0]["confusion"]["None"] == {"None": 4}
    assert {"accuracy", "macro_f1"} <= reports[0]["before"].keys()
    card = (seeing / "checkpoint" / "README.md").read_text(encoding="utf-8")
    assert "two marked parts" in card
    assert "python -m training.train --config" in card
    capsys.readouterr()
    evaluate(["--checkpoint", str(seeing / "checkpoint"), "--data", f"{relations}/validation.jsonl", "--device", "cpu"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: told[name] for name in ("accuracy", "macro_f1", "micro_f1", "confusion")} == {
        name: reports[0][name] for name in ("accuracy", "macro_f1", "micro_f1", "confusion")
    }


def test_features_in_half_precision_are_learned_from_in_bfloat16(relations, tiny_config, tmp_path):
    label_run(tmp_path, tiny_config, "relate", relations, precision="bf16")
    report = json.loads((tmp_path / "checkpoint" / "metrics.json").read_text())
    assert report["accuracy"] >= 0.75 > report["without_photo"]["accuracy"] == 0.5


@pytest.fixture(scope="module")
def statements(photos, tiny_config, tmp_path_factory):
    """A short run on statements that only the photo decides."""
    folder, names = photos
    data, output = tmp_path_factory.mktemp("statements"), tmp_path_factory.mktemp("judging")
    for split, own in names.items():
        rows = [
            {"image": str(folder / name), "statement": f"there is {said}"}
            | {"label": "entailment" if said == color else "contradiction"}
            for name, color in own
            for said in ("red", "blue")
        ]
        write_rows(data / f"{split}.jsonl", rows)
    label_run(output, tiny_config, "judge", data, similarity=True)
    return output, data


def test_statements_that_are_true_or_false_are_judged_by_what_supports_more(statements, photos, capsys):
    output, data = statements
    report = json.loads((output / "checkpoint" / "metrics.json").read_text())
    assert report["accuracy"] >= 0.95
    assert report["without_photo"]["accuracy"] == 0.5
    folder, names = photos
    rows = [
        {"image": str(folder / name), "statement": f"there is {said}", "label": said == color, "pair": name}
        | {"source": "planted", "split": "validation"}
        for name, color in names["validation"]
        for said in ("red", "blue")
    ]
    path = write_rows(data / "true_or_false.jsonl", rows)
    capsys.readouterr()
    evaluate(["--checkpoint", str(output / "checkpoint"), "--data", str(path), "--device", "cpu"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["accuracy"] == told["by_source"]["planted"]["accuracy"] >= 0.9
    assert told["pairs"] == 8
    assert told["pair_accuracy"] >= 0.9
    assert told["without_photo"]["balanced_accuracy"] == 0.5


def test_a_photo_of_both_files_and_an_unknown_label_are_refused(statements, tiny_config, capsys, tmp_path):
    output, data = statements
    config = str(output / "run.yaml")
    with pytest.raises(SystemExit, match="2"):
        train(["--config", config, "--device", "cpu", "--validation", str(data / "train.jsonl")])
    assert "among the photos to learn from and those to validate on" in capsys.readouterr().err
    odd = write_rows(tmp_path / "odd.jsonl", [{"statement": "there is red", "label": "perhaps"}])
    with pytest.raises(SystemExit, match="2"):
        evaluate(["--checkpoint", str(output / "checkpoint"), "--data", str(odd), "--device", "cpu"])
    assert "The label 'perhaps' is unknown to the model" in capsys.readouterr().err
