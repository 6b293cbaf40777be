"""Checkpoints on the Hugging Face hub: fetching one by its name, and putting one there with its card."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from valm_core.checkpoints.contents import (
    ANSWERS_FILE,
    CARD_FILE,
    CHECKPOINT_PATTERNS,
    CONFIG_FILE,
    check_fingerprints,
    files_of_checkpoint,
    missing_file,
)

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)


def is_hub_name(name: str | Path) -> bool:
    """Whether a checkpoint's name means the hub: it reads ``user/model`` or ``user/model@revision``.

    A path into a folder that exists here is local, so that a mistyped ``runs/mine`` is never looked for elsewhere.
    """
    return bool(HUB_NAME.fullmatch(str(name))) and not Path(name).parent.exists()


def fetch_checkpoint(name: str | Path) -> Path:
    """The folder of a checkpoint: ``name`` itself, or what the hub has under ``user/model`` in the local cache.

    A private one needs a token, as ``HF_TOKEN`` or from ``hf auth login``; with ``HF_HUB_OFFLINE=1`` only the cache
    is looked into.

    Args:
        name: a folder, ``user/model``, or ``user/model@revision`` with a branch, tag or commit.

    Raises:
        FileNotFoundError: the hub didn't give it; the message says why.
    """
    return fetch_files(name, CHECKPOINT_PATTERNS)


def fetch_files(name: str | Path, patterns: Sequence[str]) -> Path:
    """``fetch_checkpoint`` for the files that match ``patterns``; a folder is given back as it is."""
    if not is_hub_name(name):
        return Path(name)
    from huggingface_hub import snapshot_download

    repository, _, revision = str(name).partition("@")
    try:
        # Nothing but a checkpoint's files is fetched, and no pickles above all.
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"There is no folder {name}, and the Hugging Face hub did not give it: {reason} Check the name; a private "
            "checkpoint needs HF_TOKEN or `hf auth login`."
        ) from error


def push_folder(folder: str | Path, name: str, private: bool = True) -> str:
    """Upload a checkpoint folder to the hub as one commit, and return the address of that commit.

    The repository is made where it is missing. A folder of a model that answers gets a card there, if it has none.

    Args:
        folder: as ``storage.save_checkpoint`` or a training run wrote it.
        name: ``user/model``.
        private: whether a new repository is for its owner alone; an existing one stays as it is.

    Raises:
        FileNotFoundError: the folder lacks a file of a checkpoint, or a card for a model of another task.
        ValueError: its files were not written together.
        OSError: the hub refused, or can't be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    from valm_core.checkpoints.model_card import checkpoint_card
    from valm_core.config import ValmConfig

    folder = Path(folder)
    if missing := missing_file(folder):
        raise FileNotFoundError(f"{folder} is no VALM checkpoint: {missing} is missing.")
    check_fingerprints(folder)
    files = files_of_checkpoint(folder)
    operations = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
    if not (folder / CARD_FILE).is_file():
        config = ValmConfig.from_json(folder / CONFIG_FILE)
        if config.task != "answer":
            raise FileNotFoundError(
                f"{folder} lacks {CARD_FILE}, its card. Write what the model does and learned from."
            )
        answers = json.loads((folder / ANSWERS_FILE).read_text(encoding="utf-8"))
        card = checkpoint_card(config, len(answers))
        operations.append(CommitOperationAdd(CARD_FILE, card.encode()))
    hub = HfApi(library_name="valm")
    hub.create_repo(name, private=private, exist_ok=True)
    return hub.create_commit(name, operations, commit_message="Upload a VALM checkpoint").commit_url
