"""Fine-tune a checkpoint on DAQUAR in every mode, with few and many rows, and report accuracy, WUPS, time and memory.

Examples:
    python -m training.daquar --data ../shared/data/daquar/train.jsonl --report docs/reports/studies/daquar
    python -m training.daquar --data ../shared/data/daquar/train.jsonl --report /tmp/daquar --modes lora,ia3 --rows 32

The photos of --data are split once with a fixed seed: a fifth to measure on, 40 of the rest to choose the best epoch,
the others to learn from. Finished cells are kept, so an interrupted run goes on where it stopped.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import yaml

from training.datasets import load_rows
from training.datasets.feature_cache import FeatureCache
from training.datasets.questions import QuestionDataset
from training.datasets.readers.jsonl import Row, write_rows
from training.evaluate import predict_logits
from training.made_from import check_finished, of_configs, rows_fingerprint
from training.measuring.common import as_page, markdown_table
from training.metrics.memory import peak_bytes
from training.metrics.vqa_accuracy import vqa_accuracy
from training.metrics.wups import WordNetMissing, read_wordnet, wups
from training.run_config import parse_overrides, read_config
from training.train import chosen_answers
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.contents import METRICS_FILE
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.commands import ending_in_a_line
from valm_core.devices import choose_device
from valm_core.learning.fine_tuning import parse_fine_tuning

MODES = "full,top_layers:1,frozen,lora,ia3"
CONFIG = "training/configs/daquar.yaml"
SEED, MEASURED_SHARE, CHOOSING_PHOTOS = 0, 0.2, 40
EPOCHS = ((256, 10), (1000, 6))  # rows below -> epochs; 2 for more: fewer rows make shorter epochs
MAX_EPOCHS = 2
LOOKED_EVERY = 0.1  # seconds between two looks at the memory of a process
COLUMNS = {"accuracy": "accuracy", "wups_0.9": "WUPS@0.9", "wups_0.0": "WUPS@0.0"}


def split_by_photo(rows: list[Row]) -> dict[str, list[Row]]:
    """``train``, ``choose`` and ``validation`` rows; no photo is in two of them, and the same ones every time."""
    photos = sorted({row.photo for row in rows})
    random.Random(SEED).shuffle(photos)
    measured = round(MEASURED_SHARE * len(photos))
    choosing = min(CHOOSING_PHOTOS, (len(photos) - measured) // 4)
    part = dict.fromkeys(photos, "train")
    part |= dict.fromkeys(photos[:measured], "validation")
    part |= dict.fromkeys(photos[measured : measured + choosing], "choose")
    parts: dict[str, list[Row]] = {"train": [], "choose": [], "validation": []}
    for row in rows:
        parts[part[row.photo]].append(row)
    return parts


def write_split(rows: list[Row], folder: Path) -> dict[str, list[Row]]:
    """Write the three parts as JSON lines files with absolute photo paths."""
    parts = split_by_photo(rows)
    for name, part in parts.items():
        write_rows(folder / f"{name}.jsonl", part)
    return parts


def epochs_for(rows: int) -> int:
    """How many passes a run over so many rows (0: all) makes."""
    return next((epochs for limit, epochs in EPOCHS if 0 < rows < limit), MAX_EPOCHS)


def figures(answers: list[str], rows: list[Row]) -> dict[str, float | None]:
    """Accuracy and WUPS at both thresholds (Malinowski & Fritz 2014, arXiv 1410.0210), each in 0..1.

    WUPS is None, and said to be, where WordNet isn't installed.
    """
    pairs = list(zip(answers, rows, strict=True))
    right = [vqa_accuracy(answer, row.answers) for answer, row in pairs]
    found: dict[str, float | None] = {"accuracy": sum(right) / len(pairs)}
    try:
        read_wordnet()
    except WordNetMissing as error:
        print(f"WUPS is left out: {error}")
        return found | {"wups_0.9": None, "wups_0.0": None}
    for threshold in (0.9, 0.0):
        total = sum(wups(answer, row.answers[0], threshold) for answer, row in pairs)
        found[f"wups_{threshold}"] = total / len(pairs)
    return found


def predict(checkpoint: Path, rows: list[Row], cache: str) -> list[str]:
    """A checkpoint's answers; photos come from the cache where its image encoder is as it was."""
    model = load_checkpoint(checkpoint)
    photos = [] if model.config.train_image_encoder else [row.photo for row in rows]
    features = FeatureCache(model, photos, [], cache) if photos and cache else None
    return chosen_answers(model, predict_logits(model, QuestionDataset(rows, model, features)))


def run_alone(command: list[str], log: Path) -> tuple[int, int]:
    """Run a command in a process of its own, what it prints in ``log``: its exit code and the most bytes it held."""
    most = 0
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        while process.returncode is None:
            with contextlib.suppress(OSError):  # it has just ended
                most = max(most, peak_bytes(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOKED_EVERY)
    return process.returncode, most


def run_cell(mode: str, rows: int, options: argparse.Namespace, measured: list[Row], cache: str) -> dict:
    """Train one cell in a process of its own and measure its checkpoint; of an earlier run's, the answers are read.

    Raises:
        ValueError: training failed, the message ends with what it said; or a finished cell had other settings or data.
    """
    folder = Path(options.output) / f"{mode.replace(':', '')}-{rows or 'all'}"
    finished, split = folder / "cell.json", Path(options.output) / "split"
    settings = [f"fine_tuning={mode}", f"rows={rows}", f"epochs={epochs_for(rows)}", *options.settings]
    sources = {"data": str(split / "train.jsonl"), "validation": str(split / "choose.jsonl"), "init": options.init}
    made_from = of_configs(*read_config(options.config, parse_overrides(settings) | sources))
    check_finished(folder, finished.exists(), made_from | {"measured": rows_fingerprint(measured)})
    if finished.exists():
        cell = json.loads(finished.read_text(encoding="utf-8"))
        return cell | figures(cell.pop("answers"), measured)
    command = [sys.executable, "-m", "training.train", "--config", options.config, "--init", options.init]
    command += ["--data", sources["data"], "--validation", sources["validation"]]
    command += ["--output", str(folder), "--device", options.device]
    command += ["--resume"] if (folder / "last").exists() else []
    command += settings
    start = time.perf_counter()
    code, most_bytes = run_alone(command, folder / "log.txt")
    seconds = time.perf_counter() - start
    if code:
        said = (folder / "log.txt").read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise ValueError(f"{mode} with {rows or 'all'} rows ended with {code}: {' '.join(said)}")
    report = json.loads((folder / "checkpoint" / METRICS_FILE).read_text(encoding="utf-8"))
    cell = {
        "name": mode,
        "rows": rows,
        "epochs": report["epochs"],
        "best_epoch": report["best_epoch"],
        "learning_parameters": report["learning_parameters"],
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(most_bytes / 2**20),
    }
    answers = predict(folder / "checkpoint", measured, cache)
    write_text(finished, json.dumps(cell | {"answers": answers}, indent=2) + "\n")
    return cell | figures(answers, measured)


def floors(parts: dict[str, list[Row]], options: argparse.Namespace, cache: str) -> list[dict]:
    """The rows to compare with: the commonest training answer every time, and the checkpoint as it came."""
    commonest = Counter(row.answers[0] for row in parts["train"]).most_common(1)[0][0]
    measured = parts["validation"]
    return [
        {"name": "most common answer", "answer": commonest} | figures([commonest] * len(measured), measured),
        {"name": "before"} | figures(predict(Path(options.init), measured, cache), measured),
    ]


def format_report(report: dict, name: str) -> str:
    """The report as Markdown."""
    rows = []
    for row in report["floors"] + report["cells"]:
        scores = ["-" if row[column] is None else f"{100 * row[column]:.1f}" for column in COLUMNS]
        trained = ["", *scores, "", "", "", ""]
        if "rows" in row:
            spent = [f"{row['learning_parameters'] / 1e6:.2f} M", str(row["epochs"]), f"{row['seconds']:.0f}"]
            trained = [str(row["rows"] or "all"), *scores, *spent, str(row["peak_memory_mb"])]
        rows.append((row["name"], *trained))
    costs = ("parameters that learn", "epochs", "s", "peak MB")
    return as_page(
        "# Fine-tuning on DAQUAR",
        f"A checkpoint fine-tuned on indoor photos, measured in percent on {report['questions']} questions about "
        f"{report['photos']} photos that no cell learned from or chose its epoch by. They are a part of DAQUAR's "
        "training photos, so the figures stand beside published ones only roughly. Times and memory are those of the "
        f"whole training process, its start included, on {report.get('ran_on', 'one CPU thread')}. Made by",
        f"    {report['command']}",
        markdown_table(("what learns", "rows", *COLUMNS.values(), *costs), rows),
        f"![Accuracy by rows]({name}.png)",
    )


def draw_report(report: dict, path: Path) -> None:
    """Accuracy over the number of training rows: a line a mode, the floors dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    counts = sorted({cell["rows"] or report["training_rows"] for cell in report["cells"]})
    for mode in dict.fromkeys(cell["name"] for cell in report["cells"]):
        cells = [cell for cell in report["cells"] if cell["name"] == mode]
        points = sorted((cell["rows"] or report["training_rows"], 100 * cell["accuracy"]) for cell in cells)
        axes.plot(*zip(*points, strict=True), marker="o", label=mode)
    for place, floor in enumerate(report["floors"]):
        axes.axhline(100 * floor["accuracy"], color="gray", linestyle=("--", ":")[place], label=floor["name"])
    axes.set_xscale("log")
    axes.set_xticks(counts, map(str, counts))
    axes.minorticks_off()
    axes.set(xlabel="training rows", ylabel="accuracy (%)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def daquar(options: argparse.Namespace, command: str) -> dict:
    """Run what isn't finished yet and write the report after every cell; returns it."""
    modes, counts = options.modes.split(","), [int(count) for count in options.rows.split(",")]
    for mode in modes:
        parse_fine_tuning(mode)
    if min(counts) < 0:
        raise ValueError(f"rows is {min(counts)}; numbers above 0 are needed, or 0 for all.")
    split = Path(options.output) / "split"
    parts = write_split(load_rows(options.data), split)
    run, _, training = read_config(options.config, parse_overrides(options.settings) | {"init": options.init})
    cache = run.cache
    report: dict[str, Any] = {
        "command": command,
        "questions": len(parts["validation"]),
        "photos": len({row.photo for row in parts["validation"]}),
        "training_rows": len(parts["train"]),
        "ran_on": f"{choose_device(options.device).type}, {training.threads or torch.get_num_threads()} CPU thread(s)",
        "floors": floors(parts, options, cache),
        "cells": [],
    }
    for count in counts:
        for mode in modes:
            cell = run_cell(mode, count, options, parts["validation"], cache)
            report["cells"].append(cell)
            print(f"{mode}, {count or 'all'} rows: accuracy {cell['accuracy']:.3f}, {cell['seconds']} s", flush=True)
            write_text(f"{options.report}.json", json.dumps(report, indent=2) + "\n")
            write_text(f"{options.report}.md", format_report(report, Path(options.report).name))
            draw_report(report, Path(f"{options.report}.png"))
    return report


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="DAQUAR's training rows, as JSON lines")
    parser.add_argument("--report", required=True, help="where to write: this path with .json, .md and .png")
    parser.add_argument("--init", default="assets/checkpoints/everyday", help="checkpoint to fine-tune")
    parser.add_argument("--config", default=CONFIG, help="config of every cell")
    parser.add_argument("--modes", default=MODES, help=f"what learns, with commas between; by default {MODES}")
    parser.add_argument("--rows", default="32,256,0", help="training rows, with commas between; 0 takes all")
    parser.add_argument("--output", default="runs/daquar", help="folder of the split and of the cells")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or mps")
    parser.add_argument("settings", nargs="*", metavar="name=value", help="change any setting of the config")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    words = " ".join(sys.argv[1:] if arguments is None else arguments)
    with ending_in_a_line(parser, FloatingPointError, yaml.YAMLError, writes=f"{options.report}.json"):
        report = daquar(options, f"python -m training.daquar {words}")
    print(format_report(report, Path(options.report).name))


if __name__ == "__main__":
    main()
