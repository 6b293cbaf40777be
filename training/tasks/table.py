"""The tasks beside answering: what trains each, what measures it, what shows its figures. One line a task."""

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
    """

    train: TrainTask
    measure: Callable[[str | Path, str, torch.device], dict[str, Any]]
    table: Callable[[dict], str]
    scan: Callable[[str], Iterator[tuple[str, RowWithPhoto | DataError]]]


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
