"""Train several variants of one run over several seeds and report them side by side.

Example:
    python -m training.compare --config training/configs/compare.yaml --report docs/reports/studies/compare

The config is that of a run with one more section, `compare`: `seeds`, and `variants`, each a name and the settings it
changes. Finished runs are kept, so an interrupted comparison goes on where it stopped.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import yaml

from training.datasets import load_rows
from training.experiments import baselines
from training.made_from import check_finished, of_configs
from training.measuring.common import as_page, markdown_table
from training.run_config import parse_overrides, read_config
from training.run_report import read_metrics
from training.train import train
from training.yaml_files import read_yaml
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.contents import METRICS_FILE
from valm_core.commands import ending_in_a_line
from valm_core.devices import choose_device
from valm_core.predictor import VqaPredictor

BUDGET_TOLERANCE = 1.05  # largest allowed ratio between the variants' numbers of learning parameters
TIMED_QUESTIONS = 30


def read_comparison(path: str | Path) -> tuple[dict[str, dict], list[int], bool]:
    """The `compare` section of a config: variants (name -> settings), seeds, and whether budgets must be equal.

    Raises:
        ValueError: the section is missing or lacks variants or seeds.
    """
    section = (read_yaml(path) or {}).get("compare")
    if not isinstance(section, dict) or not section.get("variants") or not section.get("seeds"):
        raise ValueError(f"{path} needs a section `compare` with `variants` (name: settings) and `seeds` (a list).")
    return section["variants"], section["seeds"], section.get("equal_budget", True)


def compare(config: str, overrides: dict[str, object], device: str = "auto") -> dict:
    """Run what isn't finished yet and gather the figures.

    Returns:
        ``variants``: name -> ``settings``, ``learning_parameters``, ``milliseconds_per_question``,
        ``seconds_per_epoch`` and ``runs``, the figures of every seed.

    Raises:
        ValueError: the budgets differ by more than ``BUDGET_TOLERANCE`` although they must be equal, or a finished run
            had other settings or data.
    """
    variants, seeds, equal_budget = read_comparison(config)
    report: dict = {"config": config, "seeds": seeds, "threads": torch.get_num_threads(), "variants": {}}
    report["device"] = choose_device(device).type
    for seed in seeds:  # all variants of one seed first: an unfinished comparison is still a fair one
        for name, settings in variants.items():
            configs = read_config(config, overrides | settings | {"seed": seed})
            output = Path(configs[0].output) / f"{name}-{seed}"
            configs = read_config(config, overrides | settings | {"seed": seed, "output": str(output)})
            report["threads"] = configs[2].threads or report["threads"]
            finished = output / "checkpoint" / METRICS_FILE
            check_finished(output, finished.exists(), of_configs(*configs))
            if not finished.exists():
                command = f"python -m training.compare --config {config}  # {name}, seed {seed}"
                resume = (output / "last").exists()
                train(*configs, command=command, resume=resume, device=device)
            entry = report["variants"].setdefault(name, {"settings": settings, "runs": []})
            seconds = [row["seconds"] for row in read_metrics(output) if "seconds" in row]
            figures = json.loads(finished.read_text(encoding="utf-8")) | {"seconds_per_epoch": float(np.mean(seconds))}
            entry["runs"].append({"seed": seed} | figures)
    data = read_config(config, overrides)[0].validation
    for name, entry in report["variants"].items():
        folder = Path(read_config(config, overrides)[0].output) / f"{name}-{seeds[0]}" / "checkpoint"
        entry["learning_parameters"] = entry["runs"][0]["learning_parameters"]
        entry["milliseconds_per_question"] = milliseconds_per_question(folder, data)
        entry["seconds_per_epoch"] = float(np.mean([run["seconds_per_epoch"] for run in entry["runs"]]))
    sizes = [entry["learning_parameters"] for entry in report["variants"].values()]
    if equal_budget and max(sizes) > BUDGET_TOLERANCE * min(sizes):
        counts = ", ".join(f"{name} {entry['learning_parameters']}" for name, entry in report["variants"].items())
        raise ValueError(f"The variants differ in size by more than 5 %: {counts}. Change `layers` or `width`.")
    return report


def milliseconds_per_question(checkpoint: Path, data: str) -> float:
    """Median time of an answer about a photo that is already encoded, blind answer included, on the CPU."""
    predictor = VqaPredictor.from_checkpoint(checkpoint, device="cpu")
    rows = load_rows(data)[:TIMED_QUESTIONS]
    image = predictor.encode(rows[0].photo)
    times = []
    for row in rows:
        start = time.perf_counter()
        predictor.answer(image, row.question[:200])
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


def format_report(report: dict, title: str, command: str) -> str:
    """The report as Markdown: one line a variant, mean ± standard deviation over the seeds in percent."""
    first = next(iter(report["variants"].values()))["runs"][0]
    columns = {"all": lambda run: run["accuracy"]}
    for group in ("by_type", "by_source"):
        columns |= {name: lambda run, group=group, name=name: run[group][name] for name in first[group]}
    if first["multiple_choice_accuracy"] is not None:
        columns["multiple choice"] = lambda run: run["multiple_choice_accuracy"]
    columns["calibration error"] = lambda run: run["expected_calibration_error"]
    rows = []
    for name, entry in report["variants"].items():
        costs = entry["learning_parameters"] / 1e6, entry["milliseconds_per_question"], entry["seconds_per_epoch"]
        scores = (_mean_and_deviation([pick(run) for run in entry["runs"]]) for pick in columns.values())
        rows.append((name, *scores, f"{costs[0]:.2f} M", f"{costs[1]:.0f}", f"{costs[2]:.0f}"))
    return as_page(
        f"# {title}",
        f"Accuracy in percent on {first['questions']} validation questions, mean ± standard deviation over the seeds "
        f"{', '.join(map(str, report['seeds']))}. Times on {report['threads']} CPU thread(s), "
        f"beside whatever else ran; the epochs on {report.get('device', 'cpu')}. Made by",
        f"    {command}",
        markdown_table(("", *columns, "parameters that learn", "ms a question", "s an epoch"), rows),
    )


def _mean_and_deviation(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):  # no question of that type
        return "-"
    if len(known) == 1:
        return f"{100 * known[0]:.1f}"
    return f"{100 * np.mean(known):.1f} ± {100 * np.std(known, ddof=1):.1f}"


def draw_report(report: dict, path: Path) -> None:
    """A figure of accuracy by type: a bar a variant, a dot a seed."""
    from matplotlib.figure import Figure

    by_type = next(iter(report["variants"].values()))["runs"][0]["by_type"]
    kinds = ["all", *(kind for kind, accuracy in by_type.items() if accuracy is not None)]
    width = 0.8 / len(report["variants"])
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for place, (name, entry) in enumerate(report["variants"].items()):
        values = np.array(
            [[run["accuracy"] if kind == "all" else run["by_type"][kind] for kind in kinds] for run in entry["runs"]]
        )  # [seeds, kinds]
        positions = np.arange(len(kinds)) + (place - (len(report["variants"]) - 1) / 2) * width
        axes.bar(positions, 100 * values.mean(axis=0), width * 0.92, label=name)
        for seed_values in values:
            axes.plot(positions, 100 * seed_values, "o", color="black", markersize=3)
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set(ylabel="validation accuracy (%)")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, ncols=4, fontsize=8)
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of a run with a section `compare`")
    parser.add_argument("--report", required=True, help="where to write: this path with .json, .md and .png")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("settings", nargs="*", metavar="name=value", help="change any setting of the config")
    options = parser.parse_args(arguments)
    place = f"{options.report}.json"
    with ending_in_a_line(parser, FloatingPointError, yaml.YAMLError, writes=place), baselines.allowed():
        report = compare(options.config, parse_overrides(options.settings), options.device)
        words = " ".join(["python -m training.compare --config", options.config, "--report", options.report])
        command = " ".join([words, *options.settings])
        title = f"Comparison: {Path(options.config).stem}"
        write_text(place, json.dumps(report, indent=2) + "\n")
        draw_report(report, Path(f"{options.report}.png"))
        figure = f"\n![Accuracy by type]({Path(options.report).name}.png)\n"
        text = format_report(report, title, command)
        write_text(f"{options.report}.md", text + figure)
        print(text)


if __name__ == "__main__":
    main()
