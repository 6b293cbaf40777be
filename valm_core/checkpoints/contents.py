"""The files of a checkpoint: one list for saving, loading, checking, pushing and fetching, and their fingerprints.

What stands in one file is numbered by another: the answers by the rows of the weights, temperatures, figures and
familiarity by what these weights say. ``fingerprints.json`` names them all, so that files of two checkpoints in one
folder are refused. To write it anew after a change that was meant:

    python -m valm_core.checkpoints.contents FOLDER
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valm_core.checkpoints.atomic_files import replace_folder, write_text
from valm_core.checkpoints.fingerprints import content_fingerprint, fingerprint, read_json
from valm_core.config import LABELLED_TASKS

CONFIG_FILE, ANSWERS_FILE, WEIGHTS_FILE = "config.json", "answers.json", "model.safetensors"
CONCEPTS_FILE = "concepts.json"
FAMILIARITY_FILE, METRICS_FILE, CARD_FILE = "familiarity.safetensors", "metrics.json", "README.md"
FINGERPRINTS_FILE = "fingerprints.json"
REQUIRED_FILES = (CONFIG_FILE, ANSWERS_FILE, WEIGHTS_FILE)
CHECKPOINT_FILES = (*REQUIRED_FILES, CONCEPTS_FILE, FAMILIARITY_FILE, METRICS_FILE, CARD_FILE, FINGERPRINTS_FILE)
# Where the encoders aren't packaged; patterns, since which files a tokenizer has depends on its kind.
CHECKPOINT_FOLDERS = (
    "tokenizer/*.json",
    "tokenizer/*.txt",
    "tokenizer/*.model",
    "tokenizer/*.jinja",
    "text_encoder/config.json",
    "image_encoder/config.json",
)
CHECKPOINT_PATTERNS = (*CHECKPOINT_FILES, *CHECKPOINT_FOLDERS)
ENCODERS = ("text_encoder", "image_encoder")  # names in a config
FREE_FILES = (CARD_FILE, FINGERPRINTS_FILE)  # for people, and what holds the fingerprints: these have none


def files_of_checkpoint(folder: str | Path) -> list[Path]:
    """All files in a folder that belong to a checkpoint; nothing else is pushed, fetched or fingerprinted."""
    folder = Path(folder)
    return sorted({path for pattern in CHECKPOINT_PATTERNS for path in folder.glob(pattern) if path.is_file()})


def missing_file(folder: str | Path) -> str | None:
    """The name of the first file that a checkpoint can't do without and that isn't there.

    Only what answers, or gives labels, needs a list of them.
    """
    missing = [name for name in REQUIRED_FILES if not (Path(folder) / name).is_file()]
    if missing == [ANSWERS_FILE] and task_of(folder) not in LABELLED_TASKS:
        return None
    return missing[0] if missing else None


def task_of(folder: str | Path) -> str:
    """What the model of a checkpoint folder is for, see ``ValmConfig.task``; "answer" where its config doesn't say.

    Raises:
        OSError: it has no config that can be read.
    """
    values = read_json(Path(folder) / CONFIG_FILE)
    return str(values.get("task", "answer")) if isinstance(values, dict) else "answer"


def file_fingerprints(folder: str | Path) -> dict[str, str]:
    """Path in the checkpoint -> fingerprint, of every file whose content another one depends on."""
    folder = Path(folder)
    names = {path.relative_to(folder).as_posix(): path for path in files_of_checkpoint(folder)}
    return {name: _content_fingerprint(path) for name, path in names.items() if name not in FREE_FILES}


def _content_fingerprint(path: Path) -> str:
    """Of a config without where its encoders came from: those are loaded from the checkpoint, or have a sha256."""
    if path.name == CONFIG_FILE and isinstance(values := read_json(path), dict):
        return fingerprint({name: value for name, value in values.items() if name not in ENCODERS})
    return content_fingerprint(path)


def write_fingerprints(folder: str | Path) -> None:
    """Write ``fingerprints.json``; call it once the other files of a checkpoint are written."""
    write_text(Path(folder) / FINGERPRINTS_FILE, json.dumps(file_fingerprints(folder), indent=2) + "\n")


@contextmanager
def changing(folder: str | Path) -> Iterator[Path]:
    """Yield a copy of a checkpoint's folder to change; once whole it takes the folder's place, fingerprints anew."""
    with replace_folder(folder) as fresh:
        shutil.copytree(folder, fresh, dirs_exist_ok=True)
        yield fresh
        write_fingerprints(fresh)


def check_fingerprints(folder: str | Path) -> None:
    """Refuse a checkpoint folder whose files were not written together. One without fingerprints is older: it passes.

    Raises:
        ValueError: naming the file that is another, missing or too many.
    """
    folder = Path(folder)
    path = folder / FINGERPRINTS_FILE
    if not path.is_file():
        return
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}). Copy the whole checkpoint again.") from error
    now = file_fingerprints(folder)
    remedy = (
        "Copy the whole checkpoint again; if the change was meant, run "
        f"`python -m valm_core.checkpoints.contents {folder}`."
    )
    for name in dict.fromkeys([*stored, *now]):
        if name not in now:
            raise ValueError(f"{folder} lacks {name}, which belongs to its weights. {remedy}")
        if name not in stored:
            raise ValueError(f"{folder / name} was not written with this checkpoint's weights. {remedy}")
        if stored[name] != now[name]:
            raise ValueError(f"{folder / name} is not the file that was written with the rest of {folder}. {remedy}")


def main(arguments: list[str] | None = None) -> None:
    """The command line: write a folder's fingerprints anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a checkpoint whose files were changed on purpose")
    options = parser.parse_args(arguments)
    if missing := missing_file(options.folder):
        parser.exit(2, f"{options.folder} is no VALM checkpoint: {missing} is missing.\n")
    write_fingerprints(options.folder)


if __name__ == "__main__":
    main()
