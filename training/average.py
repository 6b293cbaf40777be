"""Average the weights of checkpoints that learned on from the same one: often better than each of them, at no cost.

Example:
    python -m training.average --checkpoint runs/a/checkpoint runs/b/checkpoint --data validation.jsonl \\
        --output runs/mean/checkpoint

The mean lies well only where the runs began at the same weights (Wortsman et al. 2022, "Model soups"). For all tasks
but answering, whose temperatures would have to be fitted anew.
"""

import argparse
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from training.tasks.ending import save_measured
from training.tasks.table import MODULES, find_task
from valm_core.checkpoints.atomic_files import saving
from valm_core.checkpoints.contents import CARD_FILE, METRICS_FILE, WEIGHTS_FILE, task_of
from valm_core.checkpoints.fingerprints import read_json
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import (
    AnyModel,
    load_stored_state,
    load_task_checkpoint,
    save_checkpoint,
    stored_state,
)
from valm_core.commands import ending_in_a_line
from valm_core.devices import choose_device


def average(checkpoints: Sequence[str], data: str, output: str, command: str, device: str = "auto") -> dict:
    """Write the mean of checkpoints with card and figures; weights are stored as the first one's are.

    Args:
        checkpoints: two or more of one task, with the same config, answers and concepts.
        data: validation rows to measure the mean on.
        output: the checkpoint's folder to write.
        command: what the card says made it, beside the commands of the parts.

    Returns:
        The figures of what was saved.

    Raises:
        ValueError: fewer than two, or they aren't of the same shape.
        OSError: one can't be read.
    """
    if len(checkpoints) < 2:
        raise ValueError(f"{len(checkpoints)} checkpoint to average; at least 2 are needed.")
    folders = [fetch_checkpoint(name) for name in checkpoints]
    task = task_of(folders[0])
    if task not in MODULES:
        raise ValueError(f"{folders[0]} is for the task {task!r}; allowed: {', '.join(MODULES)}.")
    models = [load_task_checkpoint(folder, task) for folder in folders]
    for folder, other in zip(folders[1:], models[1:], strict=True):
        check_same_shape(str(folders[0]), models[0], str(folder), other)
    model = models[0]
    load_stored_state(model, mean_state([stored_state(part) for part in models]), f"the mean of {len(models)}")
    with safe_open(folders[0] / WEIGHTS_FILE, framework="pt") as file:
        half = any(file.get_slice(name).get_dtype() == "F16" for name in file.keys())  # noqa: SIM118, it is no dict
    with tempfile.TemporaryDirectory() as scratch:  # nothing stays in the output where the rows can't be read
        save_checkpoint(model, f"{scratch}/mean", half=half)
        report = find_task(task).measure(f"{scratch}/mean", data, choose_device(device))  # rounding included
    report.pop("said", None)
    report |= {"command": command, "averaged": [made for folder in folders for made in commands_of(folder)]}
    commands = "\n".join([*dict.fromkeys(report["averaged"]), command])
    with saving(output):
        save_measured(model, output, report, commands, data_note(folders[0]), half)
    return report


def mean_state(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor; of whole numbers, which count something, the first one's."""
    return {
        name: torch.stack([state[name].float() for state in states]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }


def check_same_shape(first_name: str, first: AnyModel, other_name: str, other: AnyModel) -> None:
    """Refuse to average two models whose numbers mean different things.

    Raises:
        ValueError: naming what differs.
    """
    for part in ("config", "answers", "concepts"):
        mine, theirs = getattr(first, part), getattr(other, part)
        if mine != theirs:
            detail = ""
            if part == "config":
                names = [name for name in vars(mine) if getattr(mine, name) != getattr(theirs, name)]
                detail = f" ({', '.join(names)})"
            raise ValueError(
                f"{other_name} has another {part} than {first_name}{detail}. Average checkpoints of one kind only."
            )


def commands_of(folder: Path) -> list[str]:
    """The commands that made a checkpoint, as its figures tell; none where they don't."""
    file = folder / METRICS_FILE
    figures = read_json(file) if file.is_file() else None
    if not isinstance(figures, dict) or "command" not in figures:
        return []
    return [*map(str, figures.get("averaged", [])), str(figures["command"])]


def data_note(folder: Path) -> str:
    """What a checkpoint's card says of its data; "" for nothing."""
    card = folder / CARD_FILE
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    found = re.search(r"^## Data\n\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found.group(1).strip() if found else ""


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, nargs="+", help="two or more folders, or names on the hub")
    parser.add_argument("--data", required=True, help="validation rows, to measure the mean on")
    parser.add_argument("--output", required=True, help="folder of the checkpoint to write")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    command = (
        f"python -m training.average --checkpoint {' '.join(options.checkpoint)} --data {options.data} "
        f"--output {options.output}"
    )
    with ending_in_a_line(parser):
        report = average(options.checkpoint, options.data, options.output, command, options.device)
    print(find_task(task_of(options.output)).table(report))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
