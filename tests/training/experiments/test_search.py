"""Searching for settings: trials are normal runs, a stopped search goes on, faults are named before anything starts."""

import json
from pathlib import Path

import pytest
import yaml

from training.experiments.search import Range, main, read_space, search
from training.train import train
from valm_core.checkpoints.storage import load_checkpoint

CONFIGS = Path(__file__).parents[3] / "training" / "configs"
SPACE = {
    "learning_rate": {"low": 0.001, "high": "3e-2", "log": True},
    "layers": {"low": 1, "high": 2},
    "epochs": [1, 2],
}


@pytest.fixture
def space_file(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    return path


def arguments(config_file, space_file, tmp_path, trials: int = 3, *more: str) -> list[str]:
    storage = str(tmp_path / "runs" / "search.db")
    files = ["--config", str(config_file), "--space", str(space_file), "--storage", storage, "--device", "cpu"]
    return [*files, "--trials", str(trials), "batch_size=4", *more]


def trials_of(tmp_path, name: str = "runs") -> list:
    import optuna

    return optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / name / 'search.db'}").trials


def test_three_trials_leave_three_runs_and_the_best_settings(config_file, space_file, tmp_path, capsys):
    main(arguments(config_file, space_file, tmp_path))
    trials = trials_of(tmp_path)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    assert len({trial.params["learning_rate"] for trial in trials}) == 3
    for trial in trials:
        folder = tmp_path / "run" / f"trial-{trial.number:04d}" / "checkpoint"
        model, report = load_checkpoint(folder), json.loads((folder / "metrics.json").read_text())
        assert model.config.layers == trial.params["layers"] and report["epochs"] <= trial.params["epochs"]
        assert report["accuracy"] == trial.value
        assert f"learning_rate={trial.params['learning_rate']}" in report["command"]
        assert "batch_size=4" in report["command"]
    best = max(trials, key=lambda trial: trial.value)
    written = (tmp_path / "run" / "best.yaml").read_text()
    assert yaml.safe_load(written) == best.params and f"accuracy {best.value:.4f}" in written
    printed = capsys.readouterr().out
    assert "python -m training.train --config" in printed and f"layers={best.params['layers']}" in printed


def test_a_stopped_search_goes_on_within_its_trial_and_draws_the_same(config_file, space_file, tmp_path, monkeypatch):
    main(arguments(config_file, space_file, tmp_path))
    whole = trials_of(tmp_path)
    (tmp_path / "runs").rename(tmp_path / "whole")
    (tmp_path / "run").rename(tmp_path / "whole_run")
    resumed = []

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:

        def stop_in_the_second_trial(*settings):
            if settings[0].output.endswith("trial-0001"):
                patch.setattr(
                    "training.train.fit_temperatures", stop
                )  # after training, before the checkpoint is written
            return train(*settings)

        patch.setattr("training.experiments.search.train", stop_in_the_second_trial)
        with pytest.raises(KeyboardInterrupt):
            main(arguments(config_file, space_file, tmp_path))
    assert [trial.state.name for trial in trials_of(tmp_path)] == ["COMPLETE", "RUNNING"]

    def remember(*settings):
        resumed.append((settings[0].output[-4:], settings[4]))
        return train(*settings)

    monkeypatch.setattr("training.experiments.search.train", remember)
    main(arguments(config_file, space_file, tmp_path))
    assert resumed == [("0001", True), ("0002", False)]
    found = trials_of(tmp_path)
    assert [(trial.params, trial.value) for trial in found] == [(trial.params, trial.value) for trial in whole]

    main(arguments(config_file, space_file, tmp_path))  # nothing is left to do
    assert len(resumed) == 2
    main(arguments(config_file, space_file, tmp_path, 4))
    assert len(trials_of(tmp_path)) == 4


def test_failed_trials_are_recorded_and_the_search_goes_on(config_file, tmp_path, capsys):
    path = tmp_path / "space.yaml"
    path.write_text("learning_rate: [1.0e+30, 0.01]\nheads: [2, 4]\nwidth: [12, 8, 18]")
    with pytest.raises(SystemExit):
        main(arguments(config_file, path, tmp_path))
    assert "width is 18" in capsys.readouterr().err  # is never allowed, so it is told before the first trial
    path.write_text("learning_rate: [1.0e+30, 0.01]\nheads: [2, 3]\nwidth: [12, 16]")
    main(arguments(config_file, path, tmp_path, 8, "width=12", "heads=2", "epochs=1"))
    states = {
        (t.params["learning_rate"], t.params["heads"], t.params["width"]): t.state.name for t in trials_of(tmp_path)
    }
    assert {name for (rate, *_), name in states.items() if rate > 1} == {"FAIL"}
    assert states.get((0.01, 3, 16), "FAIL") == "FAIL" and "COMPLETE" in states.values()
    assert len(trials_of(tmp_path)) == 8


def test_settings_that_only_the_model_refuses_fail_a_trial_and_the_search_goes_on(config_file, tmp_path, capsys):
    path = tmp_path / "space.yaml"
    path.write_text("fine_tuning: [lora, 'top_layers:9', frozen]")
    main(arguments(config_file, path, tmp_path, 6, "epochs=1"))
    states = {trial.params["fine_tuning"]: trial.state.name for trial in trials_of(tmp_path)}
    assert len(trials_of(tmp_path)) == 6 and len(states) > 1
    assert all(state == ("COMPLETE" if name == "frozen" else "FAIL") for name, state in states.items())
    assert "failed: fine_tuning is" in capsys.readouterr().out


def test_how_trials_compute_may_change_when_a_search_goes_on(config_file, space_file, tmp_path, capsys):
    main(arguments(config_file, space_file, tmp_path, 1, "threads=1"))
    main(arguments(config_file, space_file, tmp_path, 2, "threads=2", "save_every=1"))
    assert [trial.state.name for trial in trials_of(tmp_path)] == ["COMPLETE"] * 2
    with pytest.raises(SystemExit):
        main(arguments(config_file, space_file, tmp_path, 3, "threads=2", "dropout=0.1"))
    assert "dropout (was 0.0, is 0.1)" in capsys.readouterr().err


def test_another_space_needs_another_storage(config_file, space_file, tmp_path, capsys):
    main(arguments(config_file, space_file, tmp_path, 1))
    space_file.write_text("layers: [1, 2]")
    with pytest.raises(SystemExit) as stopped:
        main(arguments(config_file, space_file, tmp_path, 2))
    assert stopped.value.code == 2
    assert "holds a search with another config or space" in capsys.readouterr().err


def test_two_searches_at_once_are_refused(config_file, space_file, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "search.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="Another search is using"):
            search(config_file, read_space(space_file, config_file, {}), 1, tmp_path / "search.db")


def test_a_space_is_read_with_the_types_of_its_settings(config_file, space_file):
    space = read_space(space_file, config_file, {})
    assert space == {"learning_rate": Range(0.001, 0.03, True), "layers": Range(1, 2), "epochs": [1, 2]}
    space_file.write_text("dropout: {low: 0, high: 0.5}")
    assert isinstance(read_space(space_file, config_file, {})["dropout"].low, float)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "needs lines of"),
        ("", "needs lines of"),
        ("learnin_rate: [1.0]", "no setting `learnin_rate`"),
        ("fusion: []", "fusion is []"),
        ("layers: 3", "layers is 3"),
        ("layers: {low: 1}", "layers is {'low': 1}"),
        ("layers: {low: 1, high: many}", "low and high must be numbers"),
        ("learning_rate: {low: 2, high: 1}", "low must not be above high"),
        ("weight_decay: {low: 0, high: 1, log: true}", "above 0 where log is true"),
        ("dropout: {low: 0, high: 1.5}", "dropout is 1.5"),
        ("output: [a, b]", "output can't be searched, every trial has a folder of its own"),
    ],
)
def test_a_faulty_space_is_named(config_file, space_file, content, message):
    space_file.write_text(content)
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        read_space(space_file, config_file, {})


@pytest.mark.parametrize("path", sorted((CONFIGS / "spaces").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_published_spaces_are_valid(path):
    assert read_space(path, CONFIGS / "search.yaml", {})
