"""The end that all tasks' runs share: train, save the best, measure what was saved, write card and figures beside."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from training.run_config import RunConfig
from training.run_report import read_metrics, write_curves
from training.tasks.cards import task_card
from training.tasks.image_side import remember_mean_photo
from training.tasks.table import find_task
from valm_core.checkpoints.atomic_files import clear_leftovers, saving, write_text
from valm_core.checkpoints.contents import CARD_FILE, METRICS_FILE
from valm_core.checkpoints.storage import AnyModel, load_task_checkpoint, save_checkpoint, stored_state
from valm_core.learning.batches import Batches
from valm_core.learning.trainer import Trainer
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.encoders.frozen_parts import learns
from valm_core.model.encoders.two_encoders import TwoEncoders
from valm_core.model.fusion.fused_encoders import FusedEncoders


def train_to_checkpoint(
    run: RunConfig,
    training: TrainingConfig,
    objective: nn.Module,
    batches: Batches,
    validate: Callable[[Any], dict],
    measure: Callable[[Any], dict],
    facts: dict,
    shared: dict,
    resume: bool,
    device: torch.device,
    photos: Sequence[Path] = (),
) -> dict:
    """Train, and write ``<output>/checkpoint`` with card and figures.

    Args:
        run, training, batches, validate, resume: see ``Trainer``.
        objective: its ``model`` is of the task.
        measure: the finished model -> its figures; ``said`` in them goes to ``<output>/said.json`` and nowhere else.
        facts: what the report says besides; ``command`` among them.
        shared: see ``training.made_from.depends_on``.
        device: where to measure.
        photos: whose average token the model remembers; it is taken anew where the image encoder has learned.

    Returns:
        The figures of what was saved, rounding included, with ``before``, those before training, ``best_epoch``,
        ``epochs`` and the facts.
    """
    output = Path(run.output)
    progress = Trainer(objective, batches, validate, training, output, depends_on=shared).train(resume)
    trained = cast(TwoEncoders, objective.model)
    task = trained.config.task
    best = load_task_checkpoint(output / "best", task)
    if photos and learns(trained.image_encoder):  # it has moved since
        remember_mean_photo(cast(FusedEncoders, best.to(device)), photos)
    checkpoint, half = output / "checkpoint", run.weights == "float16"
    clear_leftovers(checkpoint)
    with saving(checkpoint):
        save_checkpoint(best, checkpoint, half=half)
    best = load_task_checkpoint(checkpoint, task).to(device)
    by_epoch = {row["epoch"]: row for row in read_metrics(output)}
    report = measure(best)
    report |= {"before": by_epoch[0], "best_epoch": progress["best_epoch"], "epochs": progress["epoch"]} | facts
    said = report.pop("said", None)
    with saving(output):
        save_measured(best, checkpoint, report, facts["command"], run.data_note, half)
        if said is not None:
            write_text(output / "said.json", json.dumps(said, indent=1) + "\n")
        write_curves(output)
    return report


def save_measured(model: AnyModel, folder: str | Path, report: dict, command: str, data_note: str, half: bool) -> None:
    """Write a checkpoint with its figures and its task's card.

    Args:
        model: of one of the tasks in the table.
        folder: an existing one is replaced.
        report: its figures.
        command: that made it; several stand in lines of their own.
        data_note: what it learned from, for the card.
        half: see ``save_checkpoint``.
    """
    stored = sum(tensor.numel() for tensor in stored_state(model).values())
    table = find_task(model.config.task).table(report)
    card = task_card(model.config, stored, table, command.replace("\n", "\n    "), data_note)
    save_checkpoint(model, folder, {METRICS_FILE: json.dumps(report, indent=2) + "\n", CARD_FILE: card}, half)
