"""How cost grows with the work: answering, searching and learning at several sizes, and Ray's workers.

Example:
    python -m training.scale --checkpoint assets/checkpoints/everyday --config training/configs/everyday.yaml \\
        --data ../shared/data/everyday-vqa/validation.jsonl --report docs/reports/running/scale.json

Ray's part needs the extra [scale]; `--workers` with nothing behind it leaves it out.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from training.benchmark.search_speed import made_vectors, measure_exact
from training.benchmark.training_speed import measure as measure_training
from training.datasets import load_rows
from training.datasets.readers.jsonl import Row
from training.measuring.common import as_page, markdown_table, tell_report
from training.metrics.memory import kilobytes
from valm_core.bulk import answer_photos
from valm_core.commands import ending_in_a_line
from valm_core.predictor import VqaPredictor

ROOT = Path(__file__).parents[2]
QUERIES, STEPS = 200, 10
SHARDS = 8
SEEN_AT_LEAST = 1.25  # a cost a piece this many times that of the smallest size is told as growing


def in_rounds(rows: list[Row], count: int) -> Iterator[list[Row]]:
    """``count`` rows, those of the file again and again, a list for each time."""
    for first in range(0, count, len(rows)):
        yield rows[: min(len(rows), count - first)]


def measure_answers(checkpoint: str, rows: list[Row], counts: Iterable[int]) -> list[dict[str, float]]:
    """Seconds for each number of questions, a photo opened and encoded once a round; and the memory held afterwards.

    Raises:
        RuntimeError: a question was lost.
    """
    predictor, found = VqaPredictor.from_checkpoint(checkpoint), []
    for count in counts:
        begin, answered = time.perf_counter(), 0
        for part in in_rounds(rows, count):
            asked: dict[Path, list[str]] = {}
            for row in part:
                asked.setdefault(row.photo, []).append(row.question)
            answered += sum(1 for _ in answer_photos(predictor, asked))
        seconds = time.perf_counter() - begin
        if answered != count:
            raise RuntimeError(f"{answered} of {count} questions came back.")
        found.append({"size": count, "seconds": seconds, "megabytes": kilobytes("VmRSS") / 1000})
    return found


def measure_search(sizes: Iterable[int]) -> list[dict[str, float]]:
    """Seconds of one query (median) over all vectors of an index, by how many photos it has."""
    queries = made_vectors(QUERIES, 2)
    return [{"size": size, "seconds": measure_exact(made_vectors(size, 1), queries)["p50_ms"] / 1000} for size in sizes]


def measure_learning(config: str, photos: Iterable[int]) -> list[dict[str, float]]:
    """Seconds to encode so many photos of the training data, and rows learned a second from them."""
    found = []
    for count in photos:
        report = measure_training(config, {}, count, STEPS)
        seconds = report["photos"] / report["photos_per_second"]
        found.append({"size": report["photos"], "seconds": seconds, "rows_per_second": report["rows_per_second"]})
    return found


def write_shards(rows: list[Row], folder: Path) -> None:
    """The rows as ``SHARDS`` tar files, as `training.batch_answer` reads them."""
    folder.mkdir()
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number, row in enumerate(rows[shard::SHARDS]):
                tar.add(row.photo, f"{number:06}{row.photo.suffix}")
                values = json.dumps({"question": row.question}).encode()
                entry = tarfile.TarInfo(f"{number:06}.json")
                entry.size = len(values)
                tar.addfile(entry, io.BytesIO(values))


def measure_workers(checkpoint: str, rows: list[Row], workers: Iterable[int]) -> list[dict[str, float]]:
    """Seconds that `training.batch_answer --engine ray` takes for the rows, by workers; start of Ray included.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        write_shards(rows, Path(scratch) / "shards")
        for count in workers:
            command = [sys.executable, "-m", "training.batch_answer", "--checkpoint", checkpoint, "--engine", "ray"]
            command += ["--input", f"{scratch}/shards", "--output", f"{scratch}/answers{count}"]
            begin = time.perf_counter()
            result = subprocess.run(
                [*command, "--workers", str(count)], cwd=ROOT, capture_output=True, text=True, check=False
            )
            if result.returncode:
                raise RuntimeError(f"batch_answer with {count} workers failed:\n{result.stderr[-2000:]}")
            row = {"size": count, "seconds": time.perf_counter() - begin, "questions": len(rows)}
            row["questions_per_second"] = json.loads(result.stdout.splitlines()[-1])["questions_per_second"]
            found.append(row)
    return found


def verdict(part: list[dict[str, float]]) -> str:
    """Whether the cost of a piece stays as the work grows, in words."""
    first, last = part[0], part[-1]
    times = (last["seconds"] / last["size"]) / (first["seconds"] / first["size"])
    if times > SEEN_AT_LEAST:
        return f"a piece costs {times:.1f} times as much at the largest size: worse than linear"
    if times < 1 / SEEN_AT_LEAST:
        return f"a piece costs {times:.2f} of the smallest size's: a fixed share is spread over more"
    return f"linear: a piece costs {times:.2f} times as much at the largest size"


def format_report(report: dict[str, Any]) -> str:
    """The figures as Markdown."""
    titles = {
        "answers": "Answers: questions about photos of a folder",
        "search": "Search: one query over an index's vectors, by photos",
        "learning": "Learning: photos encoded into the cache",
    }
    parts = [
        "# How cost grows with the work",
        f"Made by `{report['command']}` on {report['cores']} cores, load average {report['load_average']:.1f} at the "
        "begin.",
    ]
    for name, title in titles.items():
        part, learns = report[name], name == "learning"
        heads = ("size", "seconds", "pieces a second", "memory, MB" if name == "answers" else "rows learned a second")
        rows = [
            [
                f"{row['size']:,.0f}",
                f"{row['seconds']:.4g}",
                f"{row['size'] / row['seconds']:,.0f}",
                f"{row['rows_per_second' if learns else 'megabytes']:.0f}" if name != "search" else "",
            ]
            for row in part
        ]
        width = 3 if name == "search" else 4
        parts += [f"## {title}", markdown_table(heads[:width], [row[:width] for row in rows]), f"{verdict(part)}."]
    if report["workers"]:
        first = report["workers"][0]
        rows = [
            [f"{row['size']:.0f}", f"{row['seconds']:.1f}", f"{row['questions_per_second']:.1f}"]
            for row in report["workers"]
        ]
        parts += [
            f"## Ray: {first['questions']:.0f} questions in {SHARDS} shards, a photo each",
            markdown_table(("workers", "seconds, start included", "questions a second, start left out"), rows),
        ]
    return as_page(*parts)


def draw_report(report: dict[str, Any], path: Path) -> None:
    """Seconds over size on logarithmic scales, each with the line that the smallest size's cost would draw."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.9), layout="constrained")
    labels = {
        "answers": "questions",
        "search": "photos searched",
        "learning": "photos encoded",
        "workers": "Ray workers",
    }
    for axes, (name, label) in zip(figure.subplots(1, 4), labels.items(), strict=True):
        part = report[name]
        sizes = [row["size"] for row in part]
        if name == "workers":
            axes.bar([f"{size:.0f}" for size in sizes], [row["questions_per_second"] for row in part], 0.5)
            axes.set(xlabel=label, ylabel="questions a second")
            continue
        first = part[0]
        linear = [first["seconds"] * size / first["size"] for size in sizes]
        axes.plot(sizes, linear, "--", color="#94a3b8", label="linear")
        axes.plot(sizes, [row["seconds"] for row in part], "o-", color="#0f766e", label="measured")
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel="seconds")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder of a trained model")
    parser.add_argument("--data", required=True, help="JSON lines of questions about photos, to answer")
    parser.add_argument("--config", required=True, help="YAML file of a run, to learn by")
    parser.add_argument("--answers", type=int, nargs="+", default=[1000, 10_000, 100_000], help="questions, each")
    parser.add_argument("--photos", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000], help="searched")
    parser.add_argument("--encoded", type=int, nargs="+", default=[64, 256, 1024], help="training photos, each")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="of Ray, each")
    parser.add_argument("--ray-questions", type=int, default=1024, help="that Ray's workers answer")
    parser.add_argument("--report", required=True, help="JSON file to write; .md and .png are written beside it")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    report: dict[str, Any] = {"command": " ".join(["python -m training.scale", *given])}
    report |= {"cores": os.cpu_count(), "load_average": os.getloadavg()[0]}
    with ending_in_a_line(parser, RuntimeError, writes=options.report):
        if min(*options.answers, *options.encoded, *options.workers, options.ray_questions, 10**9) < 1:
            raise ValueError("every size must be at least 1.")
        rows = load_rows(options.data)
        alone = list({row.photo: row for row in rows}.values())[: options.ray_questions]  # a photo each
        checkpoint = str(Path(options.checkpoint).resolve())
        report["answers"] = measure_answers(checkpoint, rows, sorted(options.answers))
        report["search"] = measure_search(sorted(options.photos))
        report["learning"] = measure_learning(options.config, sorted(options.encoded))
        report["workers"] = measure_workers(checkpoint, alone, sorted(options.workers))
        tell_report(report, format_report(report), options.report)
        draw_report(report, Path(options.report).with_suffix(".png"))


if __name__ == "__main__":
    main()
