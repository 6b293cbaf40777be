"""What a checkpoint says of itself: which one it is, and how often its answers were right on validation questions."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from valm_core.checkpoints.contents import CONFIG_FILE, METRICS_FILE, WEIGHTS_FILE
from valm_core.checkpoints.fingerprints import config_facts, model_fingerprint
from valm_core.config import ValmConfig
from valm_core.model.encoders.packages import sha256_of
from valm_core.model.heads import answer_kind
from valm_core.outputs import Answer, TrackRecord

THRESHOLDS = "verdict_thresholds"  # in metrics.json: the least support for "matters a little" and for "matters"
MIN_ON_RECORD = 30  # validation questions that a track record must rest on


def checkpoint_facts(config: Mapping[str, Any], folder: str | Path | None) -> dict[str, str | float]:
    """``config_facts``, and of a checkpoint on disk the name of its folder, the sha256 of its weights and its
    ``model_fingerprint``."""
    facts = config_facts(config)
    if folder is not None:
        weights = Path(folder).resolve() / WEIGHTS_FILE
        sha256 = sha256_of(weights)
        facts |= {"checkpoint": weights.parent.name, "checkpoint_sha256": sha256}
        facts["model_fingerprint"] = model_fingerprint(sha256, config)
    return facts


def checkpoint_fingerprint(folder: str | Path) -> str:
    """``model_fingerprint`` of a checkpoint's folder. Raises as ``ValmConfig.from_json`` and reading its weights do."""
    config = dataclasses.asdict(ValmConfig.from_json(Path(folder) / CONFIG_FILE))
    return model_fingerprint(sha256_of(Path(folder).resolve() / WEIGHTS_FILE), config)


def read_track_records(folder: str | Path | None) -> tuple[TrackRecord, ...]:
    """What the checkpoint's metrics.json says of its validation; empty where it says nothing usable."""
    try:
        by_kind = _metrics(folder)["reliability_by_kind"]
        records = [TrackRecord(**record, kind=kind) for kind in by_kind for record in by_kind[kind]]
        usable = all(0 <= record.accuracy <= 1 and record.questions > 0 for record in records)
        return tuple(records) if usable else ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def read_thresholds(folder: str | Path | None) -> tuple[float, float] | None:
    """The thresholds of a map's verdict that its metrics.json says were measured on a checkpoint; None where it says
    nothing usable. `python -m training.evidence --write` measures them."""
    try:
        little, much = map(float, _metrics(folder)[THRESHOLDS])
        return (little, much) if 0 < little <= much < math.inf else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _metrics(folder: str | Path | None) -> Any:
    return json.loads((Path(folder or "") / METRICS_FILE).read_text(encoding="utf-8"))


def record_of(answer: Answer, records: tuple[TrackRecord, ...]) -> TrackRecord | None:
    """The record of answers of this one's kind, and as likely; None without one of ``MIN_ON_RECORD`` questions."""
    kind = answer_kind(answer.text)
    for record in records:
        inside = record.kind == kind and record.low <= answer.probability <= record.high
        if inside and record.questions >= MIN_ON_RECORD:
            return record
    return None
