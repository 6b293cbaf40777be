"""What a run is made from: fingerprints of its data, of the checkpoint it starts from and of its settings."""

import dataclasses
import functools
import glob
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.datasets import load_rows
from training.datasets.readers.jsonl import Row
from training.datasets.streaming import STREAM
from training.run_config import RunConfig
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.contents import ANSWERS_FILE, CHECKPOINT_FOLDERS, WEIGHTS_FILE
from valm_core.checkpoints.fingerprints import (
    MADE_FROM_FILE,
    check_same,
    content_fingerprint,
    fingerprint,
    quick_fingerprint,
    read_json,
)
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.config import ValmConfig
from valm_core.learning.resume import FREE_ON_RESUME
from valm_core.learning.training_config import TrainingConfig

# Settings of a run that don't shape what it learns, or whose content counts and not their name.
NOT_COMPARED = (
    "data",
    "validation",
    "rehearsal",
    "answer_data",
    "answers",
    "init",
    "output",
    "cache",
    "weights",
    "data_note",
)


def rows_fingerprint(rows: list[Row]) -> dict:
    """Number and fingerprint of rows in their order: questions, answers, and the photos' names and contents.

    In which folder they lie doesn't count, so a data set may be moved.
    """
    photo = functools.cache(quick_fingerprint)
    content = [
        [row.image and photo(row.image), row.question, row.answers, row.choices, row.source, row.region] for row in rows
    ]
    return {"rows": len(rows), "sha256": fingerprint(content)}


def data_fingerprint(source: str, photos: bool = True, captions: bool = False) -> dict:
    """The same of what ``load_rows`` reads, or of the shards of a stream, which are read whole: rows lie anywhere in
    them, and a run reads them many times."""
    if source.startswith(STREAM):
        shards = sorted(glob.glob(source.removeprefix(STREAM)))
        return {
            "shards": len(shards),
            "sha256": fingerprint([[Path(shard).name, content_fingerprint(shard)] for shard in shards]),
        }
    return rows_fingerprint(load_rows(source, photos, captions))


def checkpoint_fingerprint(name: str | Path) -> str:
    """What tells the weights, answers and tokenizer of a checkpoint from those of another; "" for none."""
    if not name:
        return ""
    folder = fetch_checkpoint(name)
    parts = [folder / WEIGHTS_FILE, folder / ANSWERS_FILE]
    parts += sorted(path for pattern in CHECKPOINT_FOLDERS for path in folder.glob(pattern))
    return fingerprint({path.name: content_fingerprint(path) for path in parts if path.is_file()})


def depends_on(run: RunConfig, model_config: ValmConfig, data: dict[str, dict]) -> dict:
    """What a run shares with the one that it goes on with, beside training settings and answer list.

    Args:
        run, model_config: what it is trained from.
        data: fingerprints of ``data``, ``validation`` and where there is some ``rehearsal``.
    """
    settings = {name: value for name, value in dataclasses.asdict(run).items() if name not in NOT_COMPARED}
    return data | {"init": checkpoint_fingerprint(run.init)} | settings | dataclasses.asdict(model_config)


def of_configs(run: RunConfig, model_config: ValmConfig, training: TrainingConfig) -> dict:
    """What all of a run depends on, from its configs alone: for what trains many runs and keeps their figures.

    Raises:
        DataError: the data can't be read.
    """
    captions = run.objective == "pretraining"
    sources = {"data": run.data, "validation": run.validation, "rehearsal": run.rehearsal}
    data = {name: data_fingerprint(source, not run.blind, captions) for name, source in sources.items() if source}
    if run.answer_data:
        data["answer_data"] = data_fingerprint(run.answer_data, photos=False)
    return depends_on(run, model_config, data) | {"answers": run.answers} | dataclasses.asdict(training)


def of_settings(
    run: RunConfig, model_config: ValmConfig, training: TrainingConfig, data: dict[str, dict]
) -> dict[str, Any]:
    """The same of a task beside answering, whose rows are read already; ``data`` as of ``depends_on``."""
    return depends_on(run, model_config, data) | dataclasses.asdict(training)


def check_finished(folder: Path, finished: bool, now: Mapping[str, Any]) -> None:
    """Refuse figures that another config or other data gave; note of those to come what they are made from.

    Args:
        folder: of one run among many, whose figures are kept.
        finished: whether it has figures.
        now: see ``of_configs``; what may change when a run is resumed may change here too.

    Raises:
        ValueError: in one line, what differs and how to go on.
    """
    now = {name: value for name, value in now.items() if name not in FREE_ON_RESUME}
    path = folder / MADE_FROM_FILE
    if not finished:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(now, indent=2) + "\n")
        return
    go_on = "Name another output, or delete that folder to train it anew."
    stored = read_json(path) if path.is_file() else None
    if not isinstance(stored, dict):
        raise ValueError(f"{folder} doesn't say what it was trained on (an earlier version wrote it). {go_on}")
    check_same(f"{folder} was trained with other", stored, now, go_on)
