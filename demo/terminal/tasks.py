"""What ``valm-ask`` does with a checkpoint for another task than answering: one entry a task."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from demo.downloads.task_json import labelled_json
from demo.terminal.spans import read_document, tag_text
from valm_core.commands import bar

if TYPE_CHECKING:  # imported for real where they are used, so that -h answers at once
    from valm_core.tasks.labeller import Labelled

SHOWN_WORDS = 5
CONFIG_FILE = "config.json"


def task_of_checkpoint(name: str) -> str:
    """The task of a checkpoint; "answer" for all that isn't a folder with a config of ours, which is told elsewhere."""
    from valm_core.checkpoints.contents import task_of

    if not (Path(name) / CONFIG_FILE).is_file():
        return "answer"
    return task_of(name)


def ask_task(task: str, given: list[str], options: argparse.Namespace) -> str:
    """What the checkpoint says to what was given on the command line.

    Args:
        task: of ``options.checkpoint``, a key of ``TASKS``.
        given: a photo and a text, or one of them.
        options: of ``demo.terminal.ask``.

    Raises:
        OSError, ValueError: it can't be used, or the checkpoint has no such task.
    """
    if task not in TASKS:
        raise ValueError(f"{options.checkpoint} is for the task {task!r}, which valm-ask doesn't know.")
    if options.figure and TASKS[task] in (_describe, _find):
        raise ValueError(f"--figure isn't for the task {task!r}. Leave it out.")
    return TASKS[task](given, options)


def _label(given: list[str], options: argparse.Namespace) -> str:
    """The label of a text, the last thing given, with the photo before it, where there is one."""
    from valm_core.inputs.photo import open_photo
    from valm_core.tasks.labeller import Labeller

    labeller = Labeller.from_checkpoint(options.checkpoint, options.device)
    photo = open_photo(given[0]) if len(given) == 2 else None
    labelled = labeller.label(given[-1], photo)
    if options.figure:
        from demo.rendering.overlay import Look, overlay

        if photo is None:
            raise ValueError("--figure shows places of a photo; give one.")
        overlay(photo, labelled.explanation(), (), Look()).save(options.figure)
    return json.dumps(labelled_json(labelled)) if options.json else format_labelled(labelled, options.top)


def format_labelled(labelled: Labelled, top: int = 5) -> str:
    """The likeliest labels with bars, what the photo changed, and which words and places spoke for the first."""
    width = max(len(answer.text) for answer in labelled.labels[:top])
    lines = [
        f"{answer.text:<{width}}  {100 * answer.probability:5.1f} %  {bar(answer.probability)}"
        for answer in labelled.labels[:top]
    ]
    if labelled.blind_labels:
        blind = labelled.blind_labels[0]
        lines.append(f"Without the photo: {blind.text} ({100 * blind.probability:.1f} %)")
    order = sorted(range(len(labelled.words)), key=lambda word: -labelled.effects[word])
    telling = [word for word in order if labelled.word_verdicts[word] == "matters"]
    for name, sign in (("for", 1), ("against", -1)):
        words = [word for word in telling[::sign] if sign * labelled.effects[word] > 0][:SHOWN_WORDS]
        named = ", ".join(f"{labelled.words[word]} ({labelled.effects[word]:+.1f})" for word in words)
        lines.append(f"Words that matter {name} it: {named or 'none'}")
    if labelled.places_judged:
        lines.append(f"Places of the photo: {labelled.places_judged.verdict}")
    return "\n".join(lines)


def _describe(given: list[str], options: argparse.Namespace) -> str:
    """A description of the photo."""
    from demo.downloads.files import description_json
    from demo.terminal.describe import format_description
    from valm_core.captions.captioner import Captioner

    described = Captioner.from_checkpoint(options.checkpoint, options.device).describe(given[0])
    if options.json:
        return json.dumps({"photo": given[0]} | description_json(described))
    return format_description(given[0], described)


def _find(given: list[str], options: argparse.Namespace) -> str:
    """How well a photo and a text belong together."""
    from valm_core.retrieval.finder import PhotoFinder

    if len(given) != 2:
        raise ValueError("Give a photo and words; to look through a folder use valm-find FOLDER WORDS.")
    ((text, score),) = PhotoFinder.from_checkpoint(options.checkpoint, options.device).rank_texts([given[1]], given[0])
    return json.dumps({"text": text, "score": score}) if options.json else f"{score:7.2f}  {text}"


TASKS: dict[str, Callable[[list[str], argparse.Namespace], str]] = {
    "relate": _label,
    "judge": _label,
    "feel": _label,
    "tag": tag_text,
    "read": read_document,
    "caption": _describe,
    "retrieval": _find,
}
