"""Comparisons: every variant with every seed, once; honest means; equal budgets."""

import dataclasses
import json

import pytest
import yaml
from toy_data import write_colored_squares

from training.experiments import compare as module
from training.experiments.compare import compare, format_report, main, read_comparison


@pytest.fixture(scope="module")
def finished(tiny_config, tmp_path_factory):
    """A config file of two families on the toy set, two seeds, one epoch each; and the report of its runs."""
    folder = tmp_path_factory.mktemp("comparison")
    model = dataclasses.asdict(tiny_config)
    data = str(write_colored_squares(folder))
    sections = {
        "run": {"data": data, "validation": data, "output": str(folder / "runs")},
        "model": {name: value for name, value in model.items() if not name.endswith("sha256")},
        "training": {"epochs": 1, "batch_size": 4, "precision": "no"},
        "compare": {
            "seeds": [0, 1],
            "equal_budget": False,
            "variants": {"bi": {"fusion": "bi_attention"}, "towers": {"fusion": "dual_tower", "layers": 9}},
        },
    }
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path, compare(str(path), {})


@pytest.fixture
def config(finished, monkeypatch):
    """The config file, whose runs are finished and must not be run again."""
    monkeypatch.setattr(module, "train", lambda *_, **__: pytest.fail("trained again"))
    return finished[0]


def test_every_variant_runs_with_every_seed_and_settings_of_its_own(finished):
    path, report = finished
    assert [run["seed"] for entry in report["variants"].values() for run in entry["runs"]] == [0, 1, 0, 1]
    for name, fusion in (("bi", "bi_attention"), ("towers", "dual_tower")):
        stored = json.loads((path.parent / "runs" / f"{name}-1" / "checkpoint" / "config.json").read_text())
        assert stored["fusion"] == fusion
        assert report["variants"][name]["milliseconds_per_question"] > 0
    assert report["variants"]["towers"]["learning_parameters"] > 0


def test_finished_runs_are_not_run_again(finished, config):
    second = compare(str(config), {})
    for name, entry in finished[1]["variants"].items():
        assert entry["runs"] == second["variants"][name]["runs"]


def test_finished_runs_with_other_settings_or_data_are_refused(config):
    with pytest.raises(
        ValueError, match=r"bi-0 was trained with other batch_size \(was 4, is 2\)\. Name another output"
    ):
        compare(str(config), {"batch_size": 2})
    assert compare(str(config), {"workers": 0, "threads": 1})["variants"].keys() == {"bi", "towers"}
    data = config.parent / "rows.jsonl"
    rows = data.read_text(encoding="utf-8").splitlines(keepends=True)
    try:
        data.write_text("".join(rows[1:]), encoding="utf-8")
        with pytest.raises(ValueError, match=r"bi-0 was trained with other data: rows \(was \d+, is \d+\)"):
            compare(str(config), {})
    finally:
        data.write_text("".join(rows), encoding="utf-8")


def test_unequal_budgets_are_refused_where_they_must_be_equal(config):
    path = config.with_name("equal.yaml")
    path.write_text(config.read_text().replace("equal_budget: false", "equal_budget: true"))
    with pytest.raises(ValueError, match=r"differ in size by more than 5 %: bi \d+, towers \d+"):
        compare(str(path), {})


def test_the_table_states_mean_and_sample_deviation():
    def run(accuracy):
        return {
            "seed": 0,
            "questions": 10,
            "accuracy": accuracy,
            "by_type": {"other": accuracy},
            "by_source": {},
            "multiple_choice_accuracy": None,
            "expected_calibration_error": 0.1,
        }

    entry = {
        "runs": [run(0.30), run(0.40), run(0.50)],
        "learning_parameters": 1_500_000,
        "milliseconds_per_question": 12.3,
        "seconds_per_epoch": 60.4,
    }
    report = {"seeds": [0, 1, 2], "threads": 1, "variants": {"one": entry}}
    row = next(line for line in format_report(report, "title", "command").splitlines() if line.startswith("| one"))
    assert row == "| one | 40.0 ± 10.0 | 40.0 ± 10.0 | 10.0 ± 0.0 | 1.50 M | 12 | 60 |"


def test_the_command_writes_data_table_and_figure(config, tmp_path, capsys):
    main(["--config", str(config), "--report", str(tmp_path / "reports" / "toy")])
    assert "| bi |" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {"toy.json", "toy.md", "toy.png"}
    assert "toy.png" in (tmp_path / "reports" / "toy.md").read_text()


def test_a_config_without_variants_is_named(tmp_path):
    (tmp_path / "plain.yaml").write_text("run: {}\n")
    with pytest.raises(ValueError, match=r"plain\.yaml needs a section `compare`"):
        read_comparison(tmp_path / "plain.yaml")
