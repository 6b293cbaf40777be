"""Time and memory of our model beside what a user would pick instead, in one process, turn about.

Example:
    python -m training.benchmark --checkpoint assets/checkpoints/everyday --report docs/reports/running/benchmark.json

A minute's look at the cheap ones: --repeats 2 --limit 2 --models valm,vilt --batches 1,4. Needs the extra [bench].
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from training.benchmark.contenders import PEERS, build_peer, class_of, load_contender
from training.benchmark.models import Peer, Valm
from training.benchmark.report import draw_report, format_report
from training.measuring.common import write_report
from training.metrics.memory import peak_bytes
from valm_core.commands import ending_in_a_line
from valm_core.devices import choose_device

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
QUESTIONS = (
    "What animal is this?",
    "What color is the cat on the floor?",
    "How many people are there?",
    "Is there a cup on the table?",
    "What is in the background of the photo?",
    "Where was this picture taken?",
    "What is the weather like?",
    "Is it day or night?",
)
NAMES = ("valm", *PEERS)
ONE_BY_ONE = ("cold", "next", "explained")


def measure(folders: dict[str, Path], device: torch.device, repeats: int, limit: int, batches: list[int]) -> dict:
    """Time every contender.

    Args:
        folders: name -> folder of its weights; names of ``NAMES``.
        device: where to compute; on a GPU in bf16.
        repeats: how often everything is measured.
        limit: questions, and so photos, in each repeat of a single question.
        batches: batch sizes tried for the throughput.

    Returns:
        A dict by contender: ``parameters``, ``megabytes`` and, under ``milliseconds``, every repeat's ``cold`` (photo
        file -> answer), ``next`` (another question, photo encoded) and ``explained`` (answer and default map, photo
        encoded), each a mean over the questions; ``batches`` by size, questions per second with every question about
        its own photo (``with_photos``) and with the photos encoded before (``photos_encoded``).
    """
    photos = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.jpg"))[: max(limit, 1)]]
    quick = {name: folder for name, folder in folders.items() if not class_of(name).slow}
    found = measure_in_turn(quick, device, photos, repeats, limit, batches)
    for name in [name for name in folders if name not in quick]:  # alone, for there isn't memory for all at once
        found |= measure_in_turn({name: folders[name]}, device, photos, 1, 1, [1])
    return {name: found[name] for name in folders}


def measure_in_turn(
    folders: dict[str, Path], device: torch.device, photos: list[bytes], repeats: int, limit: int, batches: list[int]
) -> dict:
    """``measure`` of some contenders, which are in memory together and take turns."""
    if not folders:
        return {}
    contenders = {name: load_contender(name, folder, device) for name, folder in folders.items()}
    found: dict[str, dict[str, Any]] = {
        name: {
            "name": contender.name,
            "note": contender.note,
            "parameters": sum(parameter.numel() for parameter in contender.model.parameters()),
            "megabytes": folder_bytes(folders[name]) / 1e6,
            "milliseconds": {kind: [] for kind in ONE_BY_ONE},
            "batches": {size: {"with_photos": [], "photos_encoded": []} for size in batches},
        }
        for name, contender in contenders.items()
    }
    with torch.no_grad(), half_on_gpu(device):
        for contender in contenders.values():  # warm up
            contender.next_question(contender.encode(photos[0]), QUESTIONS[0])
        for repeat in tqdm(range(repeats), desc="repeats"):
            names = [*contenders]
            for name in names[repeat % len(names) :] + names[: repeat % len(names)]:  # nobody is always first
                for kind, milliseconds in time_single_questions(contenders[name], photos, limit, device).items():
                    found[name]["milliseconds"][kind].append(milliseconds)
                for size, rates in found[name]["batches"].items():
                    for kind, rate in time_batch(contenders[name], photos, size, device).items():
                        rates[kind].append(rate)
    return found


def time_single_questions(
    contender: Valm | Peer, photos: list[bytes], limit: int, device: torch.device
) -> dict[str, float]:
    """Mean milliseconds of a question, by kind; a kind that a contender hasn't is left out."""
    times: dict[str, list[float]] = {}
    for number in range(limit):
        photo, question = photos[number % len(photos)], QUESTIONS[number % len(QUESTIONS)]
        encoded: list = []

        def cold(photo: bytes = photo, question: str = question, encoded: list = encoded) -> None:
            encoded.append(contender.encode(photo))
            contender.next_question(encoded[0], question)

        runs: dict[str, Callable] = {"cold": cold}
        runs["next"] = lambda encoded=encoded, question=question: contender.next_question(encoded[0], question)
        if contender.explain:
            runs["explained"] = lambda encoded=encoded, question=question: contender.explain(encoded[0], question)
        for kind, run in runs.items():
            times.setdefault(kind, []).append(1000 * seconds_of(run, device))
    return {kind: statistics.mean(values) for kind, values in times.items()}


def time_batch(contender: Valm | Peer, photos: list[bytes], size: int, device: torch.device) -> dict[str, float]:
    """Questions per second in one batch of ``size`` questions about as many photos, read from their files before."""
    pixels = [contender.read(photos[0])] * size  # photos of one size, so that nobody pays for padding
    questions = [QUESTIONS[number % len(QUESTIONS)] for number in range(size)]
    seen = contender.see(pixels)
    return {
        "with_photos": size / seconds_of(lambda: contender.ask(contender.see(pixels), questions), device),
        "photos_encoded": size / seconds_of(lambda: contender.ask(seen, questions), device),
    }


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Wall-clock time of a call; on a GPU by its own events, until all of its work is done."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000
    before = time.perf_counter()
    run()
    return time.perf_counter() - before


def half_on_gpu(device: torch.device) -> AbstractContextManager:
    """bf16 on a GPU; nothing elsewhere."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def folder_bytes(folder: Path) -> int:
    """Size of the weights: a folder's safetensors, and for ours the packaged encoders that it names as well."""
    from valm_core.model.encoders.packages import PACKAGES, packaged_file

    total = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    config = folder / "config.json"
    values = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    sources = [values.get(name) for name in ("text_encoder", "image_encoder")]
    packaged = [source.removeprefix("package:") for source in map(str, sources) if source.startswith("package:")]
    return total + sum(packaged_file(name).stat().st_size for name in packaged if name in PACKAGES)


def alone(name: str, folder: Path, device: torch.device) -> dict[str, float]:
    """In a fresh process: seconds from its start to the first answer, and the most memory it held, in MB."""
    contender = load_contender(name, folder, device)
    photo = min(EXAMPLES.glob("*.jpg")).read_bytes()
    with torch.no_grad():
        contender.next_question(contender.encode(photo), QUESTIONS[0])
    return {"finished": time.time(), "peak_megabytes": peak_bytes() / 1e6}


def measure_alone(name: str, folder: Path, device: str, threads: int) -> dict[str, float]:
    """Start-up and memory of a contender, each in a process of its own. Raises RuntimeError where it fails."""
    command = [sys.executable, "-m", "training.benchmark", "--alone", name, "--checkpoint", str(folder)]
    command += ["--device", device, "--threads", str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    started = time.time()
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2])
    if result.returncode:
        raise RuntimeError(f"{name} failed in a process of its own:\n{result.stderr[-2000:]}")
    found = json.loads(result.stdout.splitlines()[-1])
    return {"first_answer_seconds": found["finished"] - started, "peak_megabytes": found["peak_megabytes"]}


def starts_of(name: str, options: argparse.Namespace) -> int:
    """How often a contender is started alone."""
    return 1 if class_of(name).slow else min(options.repeats, 3)


def benchmark(options: argparse.Namespace, names: list[str], batches: list[int]) -> dict:
    """Everything that the report holds."""
    device = choose_device(options.device)
    with tempfile.TemporaryDirectory(prefix="valm-peers-") as scratch:
        folders = {"valm": Path(options.checkpoint).resolve()}
        for name in tqdm([name for name in names if name != "valm"], desc="building peers"):
            folders[name] = build_peer(name, Path(scratch))
        folders = {name: folders[name] for name in names}
        starts = {
            name: [
                measure_alone(name, folder, options.device, options.threads) for _ in range(starts_of(name, options))
            ]
            for name, folder in tqdm(folders.items(), desc="starting each alone")
        }
        models = measure(folders, device, options.repeats, options.limit, batches)
    for name, runs in starts.items():
        models[name] |= {key: [run[key] for run in runs] for key in runs[0]}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": gpu or f"{device.type}, {platform.machine()}, {os.cpu_count()} cores",
        "precision": "bfloat16" if gpu else "float32",
        "threads": torch.get_num_threads(),
        "load_at_end": load,
        "repeats": options.repeats,
        "questions": options.limit,
        "torch": torch.__version__,
        "models": models,
    }


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder of a trained model")
    parser.add_argument("--models", default=",".join(NAMES), help=f"which, commas between (default {','.join(NAMES)})")
    parser.add_argument("--repeats", type=int, default=15, help="how often everything is measured (default 15)")
    parser.add_argument("--limit", type=int, default=4, help="questions in each repeat (default 4)")
    parser.add_argument("--batches", default="1,8,32", help="batch sizes for the throughput (default 1,8,32)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all cores)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--report", help="write this JSON file, and beside it .md and .png")
    parser.add_argument("--alone", choices=NAMES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    names = [name.strip() for name in options.models.split(",")]
    if unknown := set(names) - set(NAMES):
        parser.error(f"--models has {min(unknown)!r}; allowed: {', '.join(NAMES)}.")
    if min(options.repeats, options.limit, options.threads) < 1:
        parser.error("--repeats, --limit and --threads must each be at least 1.")
    try:
        batches = [int(size) for size in options.batches.split(",")]
    except ValueError:
        parser.error(f"--batches is {options.batches!r}; write numbers with commas between, e.g. 1,8,32.")
    torch.set_num_threads(options.threads)
    with ending_in_a_line(parser, RuntimeError, writes=options.report):
        if options.alone:
            print(json.dumps(alone(options.alone, Path(options.checkpoint), choose_device(options.device))))
            return
        report = benchmark(options, names, batches)
        words = sys.argv[1:] if arguments is None else arguments
        report["command"] = f"python -m training.benchmark {' '.join(words)}"
        text = format_report(report)
        print(text)
        if options.report:
            draw_report(report, Path(options.report).with_suffix(".png"))
            write_report(options.report, report, f"{text}\n![Times]({Path(options.report).stem}.png)\n")


if __name__ == "__main__":
    main()
