"""Give a checkpoint that finds photos a bank of what it learned from, by which it knows what resembles everything.

    python -m training.fill_bank --checkpoint assets/checkpoints/find --data train.jsonl --validation validation.jsonl

The weights stay as they are; ``config.json``, the bank's vectors, the figures and their table in the card are written
anew. A run of ``training.train`` with ``bank: 512`` does the same after every epoch.
"""

import argparse
import dataclasses
import json
import re
import shlex
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from training.datasets.readers.captioned import read_train_and_validation
from training.tasks.retrieval import format_retrieval, measure_retrieval, remember, some_known
from valm_core.checkpoints.atomic_files import saving
from valm_core.checkpoints.contents import CARD_FILE, METRICS_FILE, WEIGHTS_FILE
from valm_core.checkpoints.storage import load_retrieval_checkpoint, save_checkpoint, stored_state
from valm_core.devices import choose_device

TABLE = re.compile(r"```\n.*?\n```", re.DOTALL)
STORED = re.compile(r"\| stored numbers \| .*? million \|")
BANK = 512


def fill_bank(
    checkpoint: str | Path, data: str, validation: str, count: int, seed: int, command: str, device: str
) -> dict:
    """Fill the bank of a checkpoint and measure it; returns its figures, see ``measure_retrieval``.

    Args:
        checkpoint: folder of a retrieval model, which is replaced.
        data: captioned photos that it learned from, see ``read_captioned_photos``.
        validation: others, to measure on.
        count: photos and texts in the bank, at least 1.
        seed: of the draw.
        command: that the card names.
        device: auto, cpu, cuda or mps.

    Raises:
        FileNotFoundError, ValueError: the checkpoint or the data can't be used, or there are fewer photos.
    """
    if count < 1:
        raise ValueError(f"--bank is {count}; a number from 1 is needed.")
    folder = Path(checkpoint)
    photos, held_back = read_train_and_validation(data, validation)
    known = some_known(photos, count, seed)
    model = load_retrieval_checkpoint(folder).to(choose_device(device))
    model.config = dataclasses.replace(model.config, bank=count)
    model.make_bank(count)
    remember(model, known, None)
    figures = measure_retrieval(model, held_back)
    metrics, card = folder / METRICS_FILE, folder / CARD_FILE
    old = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {}
    report = old | figures | {"bank_command": command}
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    table = f"```\n{format_retrieval(figures)}\n```"
    text = TABLE.sub(lambda _: table, text, count=1)
    stored = sum(tensor.numel() for tensor in stored_state(model).values())
    text = STORED.sub(f"| stored numbers | {stored / 1e6:.2f} million |", text)
    extra = {METRICS_FILE: json.dumps(report, indent=2) + "\n", CARD_FILE: text}
    half = any(tensor.dtype == torch.float16 for tensor in load_file(folder / WEIGHTS_FILE).values())
    with saving(folder):
        save_checkpoint(model.cpu(), folder, extra, half)
    return report


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder of a model that finds photos, which is replaced")
    parser.add_argument("--data", required=True, help="captioned photos that it learned from")
    parser.add_argument("--validation", required=True, help="captioned photos to measure it on")
    parser.add_argument("--bank", type=int, default=BANK, help=f"photos and texts to keep as vectors (default {BANK})")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    command = "python -m training.fill_bank " + shlex.join(sys.argv[1:] if arguments is None else arguments)
    try:
        report = fill_bank(
            options.checkpoint, options.data, options.validation, options.bank, options.seed, command, options.device
        )
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    print(format_retrieval(report))


if __name__ == "__main__":
    main()
