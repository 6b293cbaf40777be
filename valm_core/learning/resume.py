"""What the state of a run depends on, and whether another run may go on with it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from valm_core.checkpoints.fingerprints import MADE_FROM_FILE, check_same, read_json
from valm_core.learning.training_config import TrainingConfig

# May differ when a run is resumed: how it computes and what it keeps, not what comes out.
FREE_ON_RESUME = ("workers", "threads", "tracker", "save_every")


def made_from(
    config: TrainingConfig, answers: list[str], depends_on: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """What the state of a run depends on, as JSON keeps it: settings, the answer list, and what else is given."""
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in FREE_ON_RESUME}
    return {"settings": settings, "answers": list(answers), "depends_on": dict(depends_on or {})}


def check_resume(output: str | Path, now: dict[str, Any]) -> None:
    """Refuse to go on with a run under other settings, answers or data: its weights would be read as something else.

    Args:
        output: folder of the run.
        now: what ``made_from`` gives today.

    Raises:
        FileNotFoundError: there is nothing to resume.
        ValueError: in one line, what differs and how to go on.
    """
    folder = Path(output) / "last"
    if not folder.exists():
        raise FileNotFoundError(f"There is nothing to resume in {output}. Start without --resume.")
    go_on = "Resume with the same ones, or start a new run in another --output" + (
        f", from these weights with --init {Path(output) / 'best'}." if (Path(output) / "best").exists() else "."
    )
    stored = read_json(folder / MADE_FROM_FILE) if (folder / MADE_FROM_FILE).is_file() else None
    if not isinstance(stored, dict) or not now.keys() <= stored.keys():
        raise ValueError(f"{folder} doesn't say what it was trained on (an earlier version wrote it). {go_on}")
    parts = {}
    for state, values in (("stored", stored), ("now", now)):
        answers = {f"answer {place}": answer for place, answer in enumerate(values["answers"], 1)}
        parts[state] = {**values["settings"], **values["depends_on"], "answers": len(answers), **answers}
    check_same(f"{folder} was trained with other settings or data:", parts["stored"], parts["now"], go_on)
