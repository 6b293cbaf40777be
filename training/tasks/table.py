"""The tasks beside answering: what trains each, what measures it, what shows its figures. One line a task."""

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.datasets.readers.jsonl import DataError, RowWithPhoto
from training.run_config import RunConfig
from valm_core.config import ValmConfig
from valm_core.learning.training_config import TrainingConfig

TrainTask = Callable[[RunConfig, ValmConfig, TrainingConfig, str, bool, torch.device], dict]


@dataclass(frozen=True)
class Task:
    """What one task does in a command.

    Args:
        train: run, model and training config, command line, whether to resume, device -> the validation figures; writes
            ``<output>/checkpoint``.
        measure: a checkpoint's folder, a data source, device -> its figures there; ``said``, what was said of every
            row, is for a file alone.
        table: figures -> lines of text.
        scan: a data source -> (file:line, row or its fault), for ``--check-data``.
        reads: the settings of ``RunConfig`` and ``TrainingConfig`` that it reads beside ``READ_BY_ALL``.
    """

    train: TrainTask
    measure: Callable[[str | Path, str, torch.device], dict[str, Any]]
    table: Callable[[dict], str]
    scan: Callable[[str], Iterator[tuple[str, RowWithPhoto | DataError]]]
    reads: tuple[str, ...]


READ_BY_ALL = (  # settings that every task reads
    *("data", "validation", "output", "init", "weights", "data_note"),
    *("epochs", "batch_size", "accumulation_steps", "optimizer", "learning_rate", "encoder_learning_rate", "schedule"),
    *("warmup_steps", "weight_decay", "gradient_clipping", "early_stopping_patience", "accuracy_to_spare"),
    *("save_every", "precision", "tracker", "threads", "seed"),
)
NOT_FOR_ANSWERS = ("learned_image_layers", "label_balance")  # what answering doesn't read
MODULES = {  # task -> the module that has it in its ``TASKS``
    "retrieval": "retrieval",
    "caption": "captioning",
    "relate": "classifying",
    "judge": "classifying",
    "feel": "classifying",
    "tag": "tagging",
    "read": "reading",
}


def find_task(name: str) -> Task:
    """The task of this name, its module imported now.

    Raises:
        ValueError: there is none.
    """
    if name not in MODULES:
        raise ValueError(f"task is {name!r}; allowed: answer, {', '.join(MODULES)}. Change `task` in the config.")
    return importlib.import_module(f"training.tasks.{MODULES[name]}").TASKS[name]


def settings_read(task: str) -> set[str]:
    """The settings of ``RunConfig`` and ``TrainingConfig`` that a task reads; "answer" is one too.

    Raises:
        ValueError: there is no such task.
    """
    if task == "answer":
        known = {field.name for config in (RunConfig, TrainingConfig) for field in dataclasses.fields(config)}
        return known - set(NOT_FOR_ANSWERS)
    return {*READ_BY_ALL, *find_task(task).reads}


def check_settings_read(task: str, run: RunConfig, training: TrainingConfig) -> None:
    """Refuse a setting that was changed although the task doesn't read it.

    Raises:
        ValueError: naming it, its value, what is allowed and the tasks that read it.
    """
    own = settings_read(task)
    for config in (run, training):
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if field.name in own or value == field.default:
                continue
            readers = [name for name in ("answer", *MODULES) if field.name in settings_read(name)]
            raise ValueError(
                f"{field.name} is {value!r}, but the task {task!r} doesn't read it; allowed: {field.default!r}. Leave "
                f"it out; it is for {', '.join(readers)}."
            )
