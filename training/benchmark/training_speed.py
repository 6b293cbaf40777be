"""How fast a config trains here: photos encoded a second, rows learned a second, and the share of the machine's peak.

Example:
    python -m training.training_speed --config training/configs/everyday.yaml \\
        --report docs/reports/running/training_speed.json
"""

import argparse
import contextlib
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from training.datasets import load_rows
from training.datasets.feature_cache import FeatureCache
from training.datasets.questions import QuestionDataset
from training.measuring.common import as_page, markdown_table, sample, tell_report
from training.run_config import parse_overrides, read_config
from training.train import model_to_train
from valm_core.commands import ending_in_a_line
from valm_core.devices import choose_device
from valm_core.learning.batches import BucketedBatches
from valm_core.learning.losses import AnswerObjective
from valm_core.learning.optimizer import build_optimizer
from valm_core.learning.trainer import choose_precision
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.model import ValmModel

Result = TypeVar("Result")
LARGE = 2048  # rows and columns of the matrices whose product stands for the peak
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}
WARM_UP = 2  # steps that aren't counted


def measure(config: str, overrides: dict[str, object], photos: int, steps: int, device: str = "auto") -> dict:
    """Encode some photos of the training data into an empty cache, then take some training steps with them.

    Args:
        config, overrides: as for ``training.train``; ``init`` isn't loaded, speed doesn't depend on the weights.
        photos: how many to encode.
        steps: how many to time, after ``WARM_UP`` others.
        device: auto, cpu, cuda or mps.

    Returns:
        ``photos_per_second``, ``questions_per_second`` (both encoders fill the cache), ``rows_per_second`` with its
        ``spread`` (slowest and fastest step), ``data_share`` (of a step's time, spent on making its batch),
        ``padding_share`` (of the text tokens), ``gigaflops`` of the step and of the machine (``peak_gigaflops``, a
        large matrix product in the same precision), and ``epoch_minutes`` for the whole training file.
    """
    run, model_config, training = read_config(config, overrides)
    if training.threads:
        torch.set_num_threads(training.threads)
    rows = load_rows(run.data)
    kept = set(sample(sorted({row.photo for row in rows}), photos, 0))
    some = [row for row in rows if row.photo in kept]
    place = choose_device(device)
    model = model_to_train(dataclasses.replace(run, init="", answer_data=""), model_config, rows).to(place)
    with tempfile.TemporaryDirectory() as cache:
        images, image_seconds = timed(lambda: FeatureCache(model, [row.photo for row in some], [], cache))
        _, text_seconds = timed(lambda: FeatureCache(model, [], [row.question for row in some], cache))
        features = FeatureCache(model, [row.photo for row in some], [row.question for row in some], cache)
        dataset = QuestionDataset(some, model, features).answerable()
        found = time_steps(model, dataset, training, steps, place)
    questions = len({row.question for row in some})
    answerable = len(QuestionDataset(rows, model, None).answerable())
    return {
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else f"CPU, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "photos": len(images.photo_key),
        "photos_per_second": len(images.photo_key) / image_seconds,
        "questions_per_second": questions / text_seconds,
        "epoch_rows": answerable,
        "epoch_minutes": answerable / found["rows_per_second"] / 60,
        **found,
    }


def time_steps(
    model: ValmModel, dataset: QuestionDataset, training: TrainingConfig, steps: int, device: torch.device
) -> dict:
    """Training steps as ``Trainer`` takes them, with the clock around data and computation."""
    precision = choose_precision(training.precision, device)
    objective = AnswerObjective(model, training.visual_weight, training.alignment_weight, training.label_smoothing)
    objective.to(device).train()
    optimizer = build_optimizer(objective, training)
    batch_size = min(training.batch_size, len(dataset))
    source = BucketedBatches(dataset, dataset.collate, batch_size, training.seed)
    seconds: list[float] = []
    data_seconds: list[float] = []
    padded, tokens, flops = 0, 0, 0.0
    epoch = 0
    batches: Iterator[tuple[int, int, dict[str, torch.Tensor]]] = iter(())
    for step in range(WARM_UP + steps):
        start = time.perf_counter()
        while (found := next(batches, None)) is None or found[0] < batch_size:  # whole batches only
            if found is None:
                epoch, batches = epoch + 1, source.epoch(epoch, 0, 0, 1)
        batch = {name: value.to(device) for name, value in found[2].items()}
        ready = time.perf_counter()
        counter = FlopCounterMode(display=False) if step == 0 else contextlib.nullcontext()
        with counter:
            with torch.autocast(device.type, DTYPES[precision], enabled=precision != "no"):
                loss = objective(**batch).total
            loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), training.gradient_clipping)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if step == 0:
            flops = cast(FlopCounterMode, counter).get_total_flops() / batch_size
        if step >= WARM_UP:
            seconds.append(time.perf_counter() - start)
            data_seconds.append(ready - start)
            padded += int((~batch["text_mask"]).sum())
            tokens += batch["text_mask"].numel()
    rate = batch_size / statistics.median(seconds)
    peak = peak_flops(DTYPES[precision], device)
    return {
        "precision": precision,
        "batch_size": batch_size,
        "steps": steps,
        "rows_per_second": rate,
        "spread": [batch_size / max(seconds), batch_size / min(seconds)],
        "data_share": sum(data_seconds) / sum(seconds),
        "padding_share": padded / tokens,
        "megaflops_per_row": flops / 1e6,
        "gigaflops": flops * rate / 1e9,
        "peak_gigaflops": peak / 1e9,
        "share_of_peak": flops * rate / peak,
    }


def peak_flops(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations a second in a product of two large matrices, the best of five."""
    left, right = (torch.randn(LARGE, LARGE, device=device).to(dtype) for _ in range(2))

    def multiply() -> None:
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()

    multiply()
    return 2 * LARGE**3 / min(timed(multiply)[1] for _ in range(5))


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """What a call returns, and the seconds it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def format_report(report: dict) -> str:
    """The figures as Markdown."""
    slowest, fastest = report["spread"]
    batches = f"batches of {report['batch_size']}, precision `{report['precision']}`"
    spread = f"slowest and fastest of {report['steps']} steps: {slowest:.0f}, {fastest:.0f}"
    computing = f"{report['gigaflops']:.0f} of {report['peak_gigaflops']:.0f} GFLOP/s"
    figures = {
        "photos encoded into the cache": f"{report['photos_per_second']:.0f} a second ({report['photos']} photos)",
        "questions encoded into the cache": f"{report['questions_per_second']:.0f} a second",
        f"rows learned, {batches}": f"{report['rows_per_second']:.0f} a second ({spread})",
        f"an epoch of {report['epoch_rows']} rows": f"{report['epoch_minutes']:.1f} minutes",
        "time of a step that goes into making its batch": f"{100 * report['data_share']:.1f} %",
        "text tokens that are padding": f"{100 * report['padding_share']:.1f} %",
        "operations a row, forward and backward": f"{report['megaflops_per_row']:.0f} million",
        "speed, of a large matrix product's": f"{computing}, {100 * report['share_of_peak']:.0f} %",
    }
    return as_page(
        "# Training speed",
        f"Made by `{report['command']}` on {report['device']}, {report['threads']} threads, load average "
        f"{report['load_average']:.1f} after encoding.",
        markdown_table(("", ""), figures.items()),
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of a run")
    parser.add_argument("--photos", type=int, default=512, help="how many to encode")
    parser.add_argument("--steps", type=int, default=20, help="training steps to time")
    parser.add_argument("--report", help="also write the figures to this JSON file, with a table beside it")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("settings", nargs="*", metavar="name=value", help="change any setting of the config")
    options = parser.parse_args(arguments)
    with ending_in_a_line(parser, yaml.YAMLError, writes=options.report):
        settings = parse_overrides(options.settings)
        report = measure(options.config, settings, options.photos, options.steps, options.device)
        given = sys.argv[1:] if arguments is None else arguments
        report = {"command": " ".join(["python -m training.training_speed", *given]), **report}
        tell_report(report, format_report(report), options.report)


if __name__ == "__main__":
    main()
