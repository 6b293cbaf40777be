"""Search for the settings that train best, with optuna; a search that was stopped goes on where it was.

A space file gives each setting either its choices, a list, or a range:
    learning_rate: {low: 1.0e-4, high: 2.0e-3, log: true}
    layers: {low: 1, high: 3}
    fusion: [bi_attention, concatenation]

Example:
    python -m training.search --config training/configs/search.yaml --space training/configs/spaces/optimisation.yaml \\
        --trials 20 --storage runs/search.db
"""

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from training.made_from import of_configs
from training.run_config import SECTIONS, check_one_process, parse_overrides, read_config
from training.train import train
from training.yaml_files import read_yaml
from valm_core.checkpoints.atomic_files import recover_folder, write_text
from valm_core.checkpoints.fingerprints import check_same
from valm_core.commands import ending_in_a_line
from valm_core.learning.fine_tuning import SettingsError
from valm_core.learning.resume import FREE_ON_RESUME

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

NOT_SEARCHED = {
    "output": "every trial has a folder of its own",
    "precision": "it is one for a whole process",
    "data": "figures on other rows don't compare",
    "validation": "figures on other rows don't compare",
}


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, on a logarithmic scale if ``log``; whole ones where the setting is."""

    low: float
    high: float
    log: bool = False


Space = dict[str, Range | list]


def read_space(path: str | Path, config: str | Path, overrides: dict[str, object]) -> Space:
    """Read a space file and check every end and every choice against the config that it is to change.

    Raises:
        ValueError: an unknown setting, or a range or list that can't be searched; the message names it.
    """
    entries = read_yaml(path)
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{path} needs lines of `setting: [choices]` or `setting: {{low: ..., high: ...}}`.")
    whole = {field.name for section in SECTIONS.values() for field in dataclasses.fields(section) if field.type is int}
    space: Space = {}
    for name, entry in entries.items():
        if name in NOT_SEARCHED:
            raise ValueError(f"{path}: {name} can't be searched, {NOT_SEARCHED[name]}. Leave it out.")
        space[name] = part = _choices_or_range(f"{path}: {name}", entry, name in whole)
        for value in [part.low, part.high] if isinstance(part, Range) else part:
            read_config(config, overrides | {name: value})
    return space


def _choices_or_range(where: str, entry: Any, whole: bool) -> Range | list:
    if isinstance(entry, list) and entry and all(isinstance(value, str | int | float) for value in entry):
        return entry
    if not isinstance(entry, dict) or not {"low", "high"} <= entry.keys() <= {"low", "high", "log"}:
        raise ValueError(f"{where} is {entry!r}; allowed: a list of values, or {{low: ..., high: ..., log: true}}.")
    try:
        low, high = (int(entry[end]) if whole else float(entry[end]) for end in ("low", "high"))  # YAML: 1e-4 is text
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} is {entry!r}; low and high must be numbers.") from error
    log = entry.get("log", False)
    if not isinstance(log, bool) or low > high or (log and low <= 0):
        raise ValueError(f"{where} is {entry!r}; low must not be above high, and above 0 where log is true.")
    return Range(low, high, log)


def search(
    config: str | Path,
    space: Space,
    trials: int,
    storage: str | Path,
    overrides: dict[str, object] | None = None,
    device: str = "auto",
) -> dict[str, object]:
    """Train until ``trials`` trials are done, those of earlier calls with the same storage included.

    Every trial is a normal run under ``<output of the config>/trial-0000``. Its settings come from optuna's TPE sampler
    (Akiba et al. 2019, https://arxiv.org/abs/1907.10902), seeded with the config's seed and the trial's number. A trial
    that a kill interrupted goes on from its last state. One whose loss is no longer a number, or whose settings don't
    fit together or don't fit the model, is recorded as failed and counts; any other error ends the search and leaves
    its trial to go on with.
    Only one search may use a storage at a time.

    Args:
        config: YAML file of the run that the trials change.
        space: see ``read_space``.
        trials: how many in all.
        storage: SQLite file, made where missing.
        overrides: further settings for every trial.
        device: see ``training.train``.

    Returns:
        The settings of the best trial, also in ``<output>/best.yaml``.

    Raises:
        ValueError: the storage belongs to another search, or no trial succeeded.
    """
    import optuna
    from optuna.trial import TrialState

    overrides = overrides or {}
    run, _, training = read_config(config, overrides)
    output = Path(run.output)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    Path(storage).parent.mkdir(parents=True, exist_ok=True)
    with _alone(Path(storage)):
        study = optuna.create_study(
            storage=f"sqlite:///{storage}", study_name="search", direction="maximize", load_if_exists=True
        )
        _check_same_search(study, config, space, overrides, storage)
        interrupted = study.get_trials(states=(TrialState.RUNNING,))
        for stopped in interrupted:
            if stopped.params.keys() == space.keys():
                _run_trial(study, stopped.number, stopped.params, config, overrides, output, device)
            else:
                study.tell(stopped.number, state=TrialState.FAIL)  # killed while its settings were drawn
        while _done(study, space) < trials:
            study.sampler = optuna.samplers.TPESampler(seed=training.seed + len(study.trials))
            trial = study.ask()
            settings = {name: _suggest(trial, name, values) for name, values in space.items()}
            _run_trial(study, trial.number, settings, config, overrides, output, device)
        if not study.get_trials(states=(TrialState.COMPLETE,)):
            raise ValueError(f"None of {trials} trials succeeded; see {output}. Narrow the space, e.g. its rates.")
        _write_best(study, output)
        return study.best_params


def _run_trial(
    study: "Study", number: int, settings: dict, config: str | Path, overrides: dict, output: Path, device: str
) -> None:
    """Train one trial, from its last state where it has one, and tell the study what came out."""
    from optuna.trial import TrialState

    folder = output / f"trial-{number:04d}"
    try:
        configs = read_config(config, overrides | settings | {"output": str(folder)})
    except ValueError as error:  # each setting is allowed, but they don't fit together
        study.tell(number, state=TrialState.FAIL)
        print(f"trial {number} failed: {error}")
        return
    print(f"trial {number}: {_words(settings)}")
    command = f"python -m training.train --config {config} --output {folder} {_words(overrides | settings)}"
    try:
        report = train(*configs, command, recover_folder(folder / "last").exists(), device)
    except (FloatingPointError, SettingsError) as error:
        study.tell(number, state=TrialState.FAIL)
        print(f"trial {number} failed: {error}")
        return
    study.tell(number, report["accuracy"])
    _write_best(study, output)
    print(f"trial {number}: accuracy {report['accuracy']:.4f}, best so far {study.best_value:.4f}")


def _suggest(trial: "Trial", name: str, values: Range | list) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return trial.suggest_int(name, values.low, values.high, log=values.log)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def _done(study: "Study", space: Space) -> int:
    return sum(trial.state.is_finished() and trial.params.keys() == space.keys() for trial in study.trials)


def _check_same_search(study: "Study", config: str | Path, space: Space, overrides: dict, storage: str | Path) -> None:
    """Trials under other settings don't compare: refuse a storage that another config or space has filled."""
    configs = read_config(config, overrides)
    searched = {f"space of {name}": str(values) for name, values in space.items()}
    now = _compared(of_configs(*configs) | {"output": configs[0].output} | searched)
    stored = study.user_attrs.get("made_from")
    go_on = "Give another --storage and output."
    if stored is None and study.trials:
        raise ValueError(f"{storage} doesn't say what it searched on (an earlier version wrote it). {go_on}")
    before = _compared(stored or now)
    check_same(f"{storage} holds a search with another config or space, or other data:", before, now, go_on)
    study.set_user_attr("made_from", now)


def _compared(made_from: dict) -> dict:
    """What two searches must share: all but how a trial computes."""
    return {name: value for name, value in made_from.items() if name not in FREE_ON_RESUME}


def _write_best(study: "Study", output: Path) -> None:
    head = f"# Best of {len(study.trials)} trials: trial {study.best_trial.number}, accuracy {study.best_value:.4f}.\n"
    write_text(output / "best.yaml", head + yaml.safe_dump(study.best_params, sort_keys=False))


def _words(settings: dict[str, object]) -> str:
    """Settings as ``training.train`` takes them: name=value."""
    texts = {name: json.dumps(value) if isinstance(value, bool) else value for name, value in settings.items()}
    return " ".join(f"{name}={text}" for name, text in texts.items())


@contextlib.contextmanager
def _alone(storage: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, so that no second search takes over a trial that is running."""
    try:
        import fcntl
    except ImportError:  # Windows has none
        yield
        return
    with storage.with_name(storage.name + ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"Another search is using {storage}. Wait for it, or give another --storage.") from error
        yield


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of the run that the trials change")
    parser.add_argument("--space", required=True, help="YAML file with the settings to search")
    parser.add_argument("--trials", type=int, default=20, help="how many trials in all, earlier ones included")
    parser.add_argument("--storage", default="runs/search.db", help="SQLite file that keeps the trials")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("settings", nargs="*", metavar="name=value", help="change any setting of the config")
    options = parser.parse_args(arguments)
    with ending_in_a_line(parser, yaml.YAMLError):
        check_one_process("A search")
        overrides = parse_overrides(options.settings)
        space = read_space(options.space, options.config, overrides)
        best = search(options.config, space, options.trials, options.storage, overrides, options.device)
        output = read_config(options.config, overrides)[0].output
    print(f"Best settings, also in {Path(output) / 'best.yaml'}:\n{yaml.safe_dump(best, sort_keys=False)}")
    print(f"python -m training.train --config {options.config} {_words(overrides | best)}")


if __name__ == "__main__":
    main()
