"""What the commands that measure explanations share: their options, the model, the sample, the report's files."""

import argparse
import json
import random
from pathlib import Path

import torch

from training.datasets.jsonl import Row
from valm_core.files import write_text
from valm_core.model import ValmModel
from valm_core.predictor import choose_device


def add_measuring_options(parser: argparse.ArgumentParser, report: str) -> None:
    """``--checkpoint``, ``--report`` (with ``report`` as its help), ``--threads`` and ``--device``."""
    parser.add_argument("--checkpoint", required=True, help="folder of a trained model")
    parser.add_argument("--report", help=report)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's own choice")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def load_model(options: argparse.Namespace) -> ValmModel:
    """The checkpoint on its device, with as many threads as asked. Raises what ``from_pretrained`` does."""
    if options.threads:
        torch.set_num_threads(options.threads)
    return ValmModel.from_pretrained(options.checkpoint).to(choose_device(options.device))


def sample(rows: list[Row], limit: int, seed: int) -> list[Row]:
    """At most ``limit`` rows, the same ones every time."""
    return random.Random(seed).sample(rows, min(limit, len(rows)))


def data_name(path: str) -> str:
    """The last two parts of a path: enough to know the data set, nothing about the machine."""
    return "/".join(path.replace("\\", "/").split("/")[-2:])


def tell_report(report: dict, text: str, path: str | None) -> None:
    """Print ``text``, and where a path was asked for write the report there, see ``write_report``."""
    print(text)
    if path:
        write_report(path, report, text)


def write_report(path: str | Path, report: dict, text: str) -> None:
    """``report`` as the JSON file ``path``, and beside it ``text`` as .md."""
    path = Path(path)
    write_text(path, json.dumps(report, indent=1) + "\n")
    write_text(path.with_suffix(".md"), text)
