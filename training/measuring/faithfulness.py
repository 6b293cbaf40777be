"""Measure how faithful each explanation method is: methods x metrics with intervals, as a table, JSON and a figure.

Example:
    python -m training.faithfulness --checkpoint assets/checkpoints/everyday --data validation.jsonl --limit 500 \\
        --report docs/reports/maps/faithfulness.json
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from tqdm import tqdm

from training.datasets import load_rows
from training.datasets.readers.jsonl import Row
from training.measuring.common import (
    add_measuring_options,
    as_page,
    data_name,
    encode_and_answer,
    load_model,
    markdown_table,
    sample,
    write_report,
)
from training.metrics.vqa_accuracy import vqa_accuracy
from valm_core.commands import ending_in_a_line
from valm_core.evidence import faithfulness as measures
from valm_core.evidence.rules import rank_correlation
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.explanations.hiding import logits_without_cells, logits_without_pixels
from valm_core.explanations.occlusion import pixel_occlusion
from valm_core.model.model import ValmModel
from valm_core.outputs import EncodedText

# Name of a metric -> (column title, whether higher is better, value of one question's two curves).
METRICS: dict[str, tuple[str, bool, Callable]] = {
    "positive_perturbation": ("positive ↓", False, lambda most, least, score: measures.perturbation_auc(most, score)),
    "negative_perturbation": ("negative ↑", True, lambda most, least, score: measures.perturbation_auc(least, score)),
    "deletion": ("deletion ↓", False, lambda most, least, score: measures.deletion_auc(most)),
    "insertion": ("insertion ↑", True, lambda most, least, score: measures.insertion_auc(least)),
    "comprehensiveness": ("compreh. ↑", True, lambda most, least, score: measures.comprehensiveness(most)),
    "sufficiency": ("sufficiency ↓", False, lambda most, least, score: measures.sufficiency(least)),
    "violation": ("violation ↓", False, lambda most, least, score: measures.violation(most)),
}
WAYS = {
    "tokens": "cells hidden as tokens",
    "pixels_blur": "pixels blurred before the encoder",
    "pixels_mean": "pixels in the photo's mean colour",
}
BOOTSTRAP_DRAWS = 2000


def measure(model: ValmModel, rows: list[Row], pixel_rows: int = 0) -> dict:
    """All figures of the command.

    Every method explains the model's own answer to every question; then the photo's cells are hidden in the order of
    its map. Accuracy is that of the VQA rules against the reference answers.

    Args:
        model: in evaluation mode.
        rows: the questions.
        pixel_rows: for how many of them, from the first, to hide pixels too: some 400 runs of the image encoder each.

    Returns:
        ``methods``: for every method ``milliseconds`` (of the wall clock, median), ``cpu_milliseconds`` (of the CPU,
        which other work on the machine doesn't lengthen) and for every way of hiding the metrics as {mean, low,
        high} (95 % bootstrap interval over the questions) and ``difference_to_random`` in the same form, paired;
        ``rank_correlation`` between the methods' maps; ``questions``, ``pixel_questions``, ``accuracy``.
    """
    # way -> method -> metric -> one a question
    values: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    correlations: dict[tuple[str, str], list[float]] = defaultdict(list)
    right: list[float] = []
    for number, row in enumerate(tqdm(rows, desc="explaining", unit="question")):
        asked = encode_and_answer(model, row.photo, row.question)
        text, image, answer, pixels = asked.text, asked.image, asked.answer, asked.pixels
        maps = {}
        for name, method in EXPLANATION_METHODS.items():
            start = time.perf_counter(), time.process_time()
            maps[name] = method(model, text, image, answer).image_map
            seconds[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
        for first, one in maps.items():
            for second, other in maps.items():
                correlations[first, second].append(rank_correlation(one, other))
        score = _scorer(model, row)
        right.append(score(answer))

        asking = {"tokens": lambda hidden, text=text, image=image: logits_without_cells(model, text, image, hidden)}
        if number < pixel_rows:
            for fill in ("blur", "mean"):
                asking[f"pixels_{fill}"] = _ask_pixels(model, text, pixels, image.grid, fill)
        for way, ask in asking.items():
            shown = dict(maps)
            if way != "tokens":
                if "pixel_occlusion" not in maps:
                    start = time.perf_counter(), time.process_time()
                    maps["pixel_occlusion"] = pixel_occlusion(model, text, pixels, answer).cpu().numpy()
                    spent = time.perf_counter() - start[0], time.process_time() - start[1]
                    seconds["pixel_occlusion"].append(spent)
                shown["pixel_occlusion"] = maps["pixel_occlusion"]
            curves = measures.hiding_curves(ask, list(shown.values()), answer, seed=number)
            for name, (most, least) in zip(shown, curves, strict=True):
                for metric, (_, _, value) in METRICS.items():
                    values[way][name][metric].append(value(most, least, score))
    names = [*EXPLANATION_METHODS, *(["pixel_occlusion"] if pixel_rows else [])]
    return {
        "questions": len(rows),
        "pixel_questions": min(pixel_rows, len(rows)),
        "accuracy": float(np.mean(right)),
        "grid": list(model.image_encoder.grid),
        "threads": torch.get_num_threads(),
        "methods": {
            name: dict(zip(("milliseconds", "cpu_milliseconds"), _median_milliseconds(seconds[name]), strict=True))
            | {way: _summary(values[way], name) for way in values if name in values[way]}
            for name in names
        },
        "rank_correlation": {
            first: {second: round(float(np.mean(correlations[first, second])), 3) for second in EXPLANATION_METHODS}
            for first in EXPLANATION_METHODS
        },
    }


def _median_milliseconds(seconds: list[tuple[float, float]]) -> list[float]:
    return (1000 * np.median(seconds, axis=0)).round(1).tolist()


def _ask_pixels(model: ValmModel, text: EncodedText, pixels: Tensor, grid: tuple[int, int], fill: str) -> Callable:
    return lambda hidden: logits_without_pixels(model, text, pixels, hidden.view(-1, *grid), fill)


def _scorer(model: ValmModel, row: Row) -> Callable[[int], float]:
    return lambda answer: vqa_accuracy(model.answers[answer], row.answers)


def _summary(values: dict, name: str) -> dict:
    """{metric: {mean, low, high, difference_to_random}} of one method."""
    return {
        metric: interval(values[name][metric])
        | {"difference_to_random": interval(np.subtract(values[name][metric], values["random"][metric]))}
        for metric in METRICS
    }


def interval(values: ArrayLike) -> dict[str, float]:
    """Mean and its 95 % interval by bootstrap over the values (percentiles of ``BOOTSTRAP_DRAWS`` resampled means)."""
    values = np.asarray(values, dtype=float)
    draws = np.random.default_rng(0).integers(len(values), size=(BOOTSTRAP_DRAWS, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return {"mean": round(float(values.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def format_report(report: dict) -> str:
    """The report as Markdown: one table a way of hiding, methods by metrics, and the rank correlations."""
    parts = [
        "# Faithfulness of the explanation methods",
        f"{report['questions']} questions (accuracy {100 * report['accuracy']:.1f} %), pixels on the first "
        f"{report['pixel_questions']}; grid {report['grid'][0]} x {report['grid'][1]}. Mean and 95 % bootstrap "
        "interval; ↑ higher is better, ↓ lower is better; **bold** is the best mean. An asterisk marks what is better "
        "than the random map with an interval (paired over the questions) that leaves out 0. "
        f"Milliseconds: median of one explanation on {report['threads']} CPU thread(s), by the wall clock beside "
        "whatever else ran, and of CPU time.",
        f"    {report.get('command', '')}",
    ]
    for way, title in WAYS.items():
        if any(way in figures for figures in report["methods"].values()):
            parts += [f"## {title[0].upper()}{title[1:]}", format_table(report, way)]
    methods = list(report["rank_correlation"])
    rows = [(one, *(f"{report['rank_correlation'][one][other]:.2f}" for other in methods)) for one in methods]
    return as_page(*parts, "## Rank correlation between the methods' maps", markdown_table(("", *methods), rows))


def format_table(report: dict, way: str) -> str:
    """Methods by metrics for one way of hiding, as a Markdown table."""
    methods = {name: figures for name, figures in report["methods"].items() if way in figures}
    best = {
        metric: (max if higher else min)(figures[way][metric]["mean"] for figures in methods.values())
        for metric, (_, higher, _) in METRICS.items()
    }
    rows = []
    for name, figures in methods.items():
        cells = []
        for metric, (_, higher, _) in METRICS.items():
            value = figures[way][metric]
            mean = f"{value['mean']:.3f}"
            mean = f"**{mean}**" if value["mean"] == best[metric] else mean
            difference = value["difference_to_random"]
            better = difference["low"] > 0 if higher else difference["high"] < 0
            cells.append(f"{mean}{'*' if better else ''} ({value['low']:.3f}–{value['high']:.3f})")
        rows.append((name, *cells, f"{figures['milliseconds']:.0f}", f"{figures['cpu_milliseconds']:.0f}"))
    return markdown_table(("method", *(title for title, _, _ in METRICS.values()), "ms", "CPU ms"), rows)


def draw_report(report: dict, path: Path) -> None:
    """Every metric as a panel, every method as a point with its interval; one row of panels a way of hiding."""
    from matplotlib.figure import Figure

    ways = [way for way in WAYS if any(way in figures for figures in report["methods"].values())]
    figure = Figure(figsize=(2.5 * len(METRICS), 2.6 * len(ways)), layout="constrained", dpi=110)
    axes = figure.subplots(len(ways), len(METRICS), squeeze=False)
    for row, way in zip(axes, ways, strict=True):
        methods = [name for name, figures in report["methods"].items() if way in figures][::-1]
        for axis, (metric, (title, _, _)) in zip(row, METRICS.items(), strict=True):
            for place, name in enumerate(methods):
                value = report["methods"][name][way][metric]
                color = "0.6" if name in ("random", "center") else "tab:blue"
                axis.plot([value["low"], value["high"]], [place, place], color=color, linewidth=2)
                axis.plot(value["mean"], place, "o", color=color)
            axis.set_title(title)
            axis.set_yticks(range(len(methods)), methods if axis is row[0] else [""] * len(methods))
            axis.grid(alpha=0.3)
        row[0].set_ylabel(way.replace("_", ", "))
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_measuring_options(parser, report="write this JSON file, and beside it the table as .md and the figure as .png")
    parser.add_argument("--data", required=True, help="JSON lines file (see docs/train.md)")
    parser.add_argument("--limit", type=int, default=500, help="how many questions, drawn with seed 0 (default 500)")
    parser.add_argument("--pixel-limit", type=int, default=0, help="how many of them by hiding pixels too (default 0)")
    options = parser.parse_args(arguments)
    if options.limit < 1 or options.pixel_limit < 0:
        parser.error(f"--limit is {options.limit}, --pixel-limit {options.pixel_limit}; at least 1 and 0 are needed.")
    with ending_in_a_line(parser, writes=options.report):
        rows = load_rows(options.data)
        model = load_model(options)
        report = measure(model, sample(rows, options.limit, seed=0), options.pixel_limit)
        data = data_name(options.data)
        report["command"] = (
            f"python -m training.faithfulness --checkpoint {options.checkpoint} --data {data} --limit {options.limit} "
            f"--pixel-limit {options.pixel_limit} --threads {options.threads}"
        )
        text = format_report(report)
        print(text)
        if options.report:
            path = Path(options.report)
            write_report(path, report, text + f"\n![figure]({path.stem}.png)\n")
            draw_report(report, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
