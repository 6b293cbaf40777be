"""The files of an export: ``metadata.json``, read and held against the files it names and against its checkpoint."""

import dataclasses
from pathlib import Path
from typing import Any

from valm_core.checkpoints.contents import CONFIG_FILE, WEIGHTS_FILE
from valm_core.checkpoints.fingerprints import answer_list_fingerprint, changeable_settings, check_same, fingerprint
from valm_core.config import ValmConfig, without_removed
from valm_core.exported.runtimes import RUNTIMES
from valm_core.inputs.text import parse_json, read_text
from valm_core.model.encoders.packages import sha256_of

METADATA_FILE = "metadata.json"
METADATA_VERSION = 2
NEEDED = {"config", "sha256", "checkpoint_sha256"}
# What loads the export of a model for each task; others aren't exported.
LOADED_BY = {
    "answer": "valm_core.exported.predictor.OnnxPredictor",
    "retrieval": "valm_core.exported.finder.OnnxFinder",
    "caption": "valm_core.exported.captioner.OnnxCaptioner",
}


def read_metadata(folder: Path, task: str) -> dict[str, Any]:
    """What the ``metadata.json`` of an export of a model for ``task`` holds, checked.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an export of an unknown format or of a model for another task, a file that isn't the exported
            one, or a checkpoint that was trained on since, see ``check_metadata``.
    """
    if not (folder / METADATA_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} is no exported model: {METADATA_FILE} is missing. Make one with "
            f"`python -m training.export --checkpoint {folder} --output FOLDER`."
        )
    metadata = parse_json(read_text(folder / METADATA_FILE))
    if not isinstance(metadata, dict):
        raise ValueError(f"{folder / METADATA_FILE} is no JSON object. Export it again.")
    runtime = metadata.get("format")
    if metadata.get("version") != METADATA_VERSION or runtime not in RUNTIMES:
        raise ValueError(
            f"{folder} is an export of format {runtime!r}, version {metadata.get('version')!r}; "
            f"allowed: {', '.join(RUNTIMES)}, version {METADATA_VERSION}. Export it again."
        )
    if missing := NEEDED - metadata.keys():
        raise ValueError(f"{folder / METADATA_FILE} lacks {', '.join(sorted(missing))}. Export it again.")
    if "resize" in without_removed(metadata):
        raise ValueError(f"{folder} shows its model {metadata['resize']!r} photos, which is gone. Export it again.")
    check_metadata(folder, metadata)
    if (found := metadata["config"].get("task", "answer")) != task:
        raise ValueError(f"{folder} is for the task {found!r}, not {task!r}. Load it by `{LOADED_BY[found]}`.")
    check_files(folder, metadata["sha256"])
    return metadata


def metadata_fingerprint(metadata: dict[str, Any]) -> str:
    """What ``fingerprint`` in an export's metadata must be: of all the rest, answers, settings and files' sha256."""
    return fingerprint({name: value for name, value in metadata.items() if name != "fingerprint"})


def check_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    """Make sure that answers and settings are those of the exported graphs, and that their checkpoint is still the one.

    The checkpoint is looked for in the export's own folder and where ``checkpoint`` says that it lay, seen from there.

    Raises:
        ValueError: in one line, what doesn't belong together and how to go on.
    """
    path = folder / METADATA_FILE
    if metadata.get("answers_sha256") != answer_list_fingerprint(metadata.get("answers", [])):
        raise ValueError(f"{path} holds the answers of another model than its graphs. Copy the export again.")
    if metadata.get("fingerprint") != metadata_fingerprint(metadata):
        raise ValueError(f"{path} isn't the one that was written with its graphs. Copy the export again.")
    places = [folder] + ([folder / metadata["checkpoint"]] if metadata.get("checkpoint") else [])
    for place in places:
        weights = (place / WEIGHTS_FILE).resolve()
        if weights.is_file() and (found := sha256_of(weights)) != metadata["checkpoint_sha256"]:
            raise ValueError(
                f"{folder} was exported from weights {metadata['checkpoint_sha256'][:12]}, and {weights.parent} holds "
                f"{found[:12]}: it was trained again since. Export it again with `python -m training.export`, or move "
                "the export elsewhere to keep the former model."
            )
        if weights.is_file() and (place / CONFIG_FILE).is_file():
            check_same(
                f"{folder} was exported when {weights.parent} had another",
                changeable_settings(metadata["config"]),
                changeable_settings(dataclasses.asdict(ValmConfig.from_json(place / CONFIG_FILE))),
                "Export it again with `python -m training.export`, or move the export elsewhere to keep it.",
            )


def check_files(folder: Path, sha256: dict[str, str]) -> None:
    """Make sure that every file of an export is the one that was written.

    Raises:
        FileNotFoundError, ValueError: one is missing, or another; the message names it.
    """
    for name, expected in sha256.items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} lacks {name}, which its {METADATA_FILE} names. Copy the export again.")
        found = sha256_of(folder / name)
        if found != expected:
            raise ValueError(f"{folder / name} has sha256 {found}, expected {expected}. Copy the export again.")
