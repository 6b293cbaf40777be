"""Many rows from the terminal for a checkpoint of another task: JSON lines in, the same rows with what was said out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.terminal.batch import check_goes_on, check_output, check_photos
from demo.terminal.batch_files import (
    ADDED_LATER,
    PREPROCESSING,
    Object,
    photo_digest,
    read_objects,
    read_rows,
    writable_value,
    write_rows,
)
from valm_core.checkpoints.facts import checkpoint_fingerprint
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.inputs.photo import as_on_disk
from valm_core.outputs import InputError

TEXTS = ("text", "statement", "tokens")  # what a row's text may be called
ASKED = (*TEXTS, "first", "second", "image", "question", "page")  # what tells a row's answer from another's
OURS = ("said", "model", "top", "photo_sha256", "preprocessing", "error")  # what is added; a row's own are left out

Answerer = Callable[[dict, Path | None], dict]  # a row and its image's file -> what was said


class RowFault(ValueError):
    """A row that can't be asked about."""


@dataclass(frozen=True)
class TaskSummary:
    """The rows of a run, those with an error, and those answered now."""

    rows: int
    errors: int
    answered: int

    def __str__(self) -> str:
        return f"{self.rows} rows, {self.errors} of them with an error; {self.answered} answered now."


def answer_task_batch(task: str, source: str, output: str, options: argparse.Namespace) -> TaskSummary:
    """Say of every row what the checkpoint says; rows that ``output`` has from this model are not asked again.

    The output has the input's rows in their order, each with ``said`` (None where there is an ``error``) and what made
    it: ``model``, ``top`` and ``photo_sha256``. While it works, rows are appended, so that the same command goes on
    after an interruption; answers of another model, another top or another photo of that name are not gone on with.

    Args:
        task: of ``options.checkpoint``, a key of ``ANSWERERS``.
        source: a JSON lines file; images are relative to its folder or the one above.
        output: a file named .jsonl.
        options: of ``demo.terminal.ask``.

    Raises:
        ValueError: the task has no batch, or a file can't be used.
    """
    if task not in ANSWERERS:
        raise ValueError(f"--batch isn't for the task {task!r}; allowed: answer, {', '.join(ANSWERERS)}.")
    place, target = Path(source), Path(output)
    if not place.is_file() or target.suffix != ".jsonl":
        raise ValueError(f"For the task {task!r} --batch needs a JSON lines file, and --output a name with .jsonl.")
    check_output(place, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    rows = [_row(read) for read in read_objects(place)]
    model = checkpoint_fingerprint(fetch_checkpoint(options.checkpoint))[:12]
    done = _done(target)
    check_goes_on(target, done, model, options.top)
    check_photos(target, place.parent, _photos(rows, place.parent, done))
    made = {"model": model, "top": options.top, "preprocessing": PREPROCESSING}
    waiting = [row for row in rows if _key(row) not in done and "error" not in row]
    answered = 0
    if waiting:
        answer = ANSWERERS[task](options)
        with target.open("a", encoding="utf-8") as file:
            for row in waiting:
                result = _result(answer, row, place.parent) | made
                done[_key(row)] = result
                file.write(json.dumps(writable_value(row | result), ensure_ascii=False) + "\n")
                file.flush()
                answered += result["error"] is None
    nothing = dict.fromkeys(OURS) | {"model": model}
    finished = [nothing | row if "error" in row else row | done[_key(row)] for row in rows]
    asked = {_key(row) for row in rows}
    others = [row for row in read_rows(target, set()) if _key(row) not in asked]  # of an earlier input
    write_rows(target, [writable_value(row) for row in (*finished, *others)])
    return TaskSummary(len(rows), sum(row["error"] is not None for row in finished), answered)


def _row(read: Object) -> dict[str, Any]:
    if read.values is None:
        return {"error": read.error}
    return {name: value for name, value in read.values.items() if name not in OURS}


def _key(row: dict) -> str:
    return json.dumps([writable_value(row.get(name)) for name in ASKED])


def _done(target: Path) -> dict[str, dict]:
    """What the output has, by row; rows with an error are asked again. Raises ValueError where it is none of ours."""
    rows = [dict.fromkeys(ADDED_LATER) | row for row in read_rows(target, set(OURS) - set(ADDED_LATER))]
    return {_key(row): {name: row[name] for name in OURS} for row in rows if row["error"] is None}


def _photos(rows: list[dict], folder: Path, done: dict[str, dict]) -> Iterator[tuple[str, Path, str | None]]:
    """Of rows that are done, each photo's name, file and digest, as ``check_photos`` takes them."""
    for row in rows:
        if _key(row) in done and (file := _image(row, folder)):
            yield row["image"], file, done[_key(row)]["photo_sha256"]


def _result(answer: Answerer, row: dict, folder: Path) -> dict:
    result: dict[str, Any] = dict.fromkeys(("said", "photo_sha256", "error"))
    try:
        image = _image(row, folder)
        result["said"] = answer(row, image)
        result["photo_sha256"] = photo_digest(image) if image else None
    except (InputError, RowFault, OSError) as error:
        result["error"] = str(error)
    return result


def _image(row: dict, folder: Path) -> Path | None:
    name = row.get("image")
    if name is None:
        return None
    if not isinstance(name, str):
        raise RowFault(f"`image` is {name!r}; the path of a file is needed.")
    try:
        tried = (as_on_disk(place) for place in (folder / name, folder.resolve().parent / name))
        places = [place for place in tried if place.is_file()]
    except OSError as error:  # a name that no file can have: too long
        raise RowFault(f"There is no file {name[:100]!r}: {error.strerror}.") from error
    return next(iter(places), folder / name)


def _text(row: dict) -> str | list[str]:
    """The text of a row; of tokens with ``first`` and ``second`` one with these parts in brackets."""
    name = next((name for name in TEXTS if name in row), None)
    text: Any = row.get(name or "")
    words = isinstance(text, list) and all(isinstance(word, str) for word in text)
    if not (isinstance(text, str) or words):
        raise RowFault(f"The row has no {' or '.join(TEXTS)}.")
    parts = [row.get(part) for part in ("first", "second")]
    if not words or parts == [None, None]:
        return text
    marked = list(text)
    for part in parts:
        if not (isinstance(part, list) and len(part) == 2 and all(type(end) is int for end in part)):
            raise RowFault(f"A marked part is {part!r}; [first word, end] is needed.")
        if not 0 <= part[0] < part[1] <= len(marked):
            raise RowFault(f"A marked part is {part!r}, of {len(marked)} words.")
        marked[part[0]] = "[" + marked[part[0]]
        marked[part[1] - 1] += "]"
    return " ".join(marked)


def _tagging(options: argparse.Namespace) -> Answerer:
    from valm_core.tasks.tagger import Tagger

    tagger = Tagger.from_checkpoint(options.checkpoint, options.device)

    def answer(row: dict, image: Path | None) -> dict:
        tagged = tagger.tag(_text(row), image, explain=False)
        spans = [
            {name: getattr(span, name) for name in ("first", "end", "type", "text")}
            | {"probability": round(span.probability, 4)}
            for span in tagged.spans
        ]
        return {"words": list(tagged.words), "labels": list(tagged.labels), "spans": spans}

    return answer


def _labelling(options: argparse.Namespace) -> Answerer:
    from valm_core.tasks.labeller import Labeller

    labeller = Labeller.from_checkpoint(options.checkpoint, options.device)

    def answer(row: dict, image: Path | None) -> dict:
        text = _text(row)
        ranked = labeller.rank(text if isinstance(text, str) else " ".join(text), image)
        return {
            "label": ranked[0].text,
            "probability": round(ranked[0].probability, 4),
            "labels": [{"label": one.text, "probability": round(one.probability, 4)} for one in ranked[: options.top]],
        }

    return answer


def _reading(options: argparse.Namespace) -> Answerer:
    from valm_core.tasks.reader import Reader

    reader = Reader.from_checkpoint(options.checkpoint, options.device)
    last: list = [None, None]  # the page of the row before: questions about one mostly stand together

    def answer(row: dict, image: Path | None) -> dict:
        if image is None or not isinstance(row.get("question"), str):
            raise RowFault("The row has no `image` or no `question`.")
        wanted = image, row.get("page", 1)
        if last[0] != wanted:
            last[:] = wanted, reader.open(image, wanted[1])
        said = reader.ask(last[1], row["question"], options.top, explain=False)
        return {
            "answer": said.text,
            "probability": round(said.probability, 4),
            "boxes": said.boxes.astype(float).round(4).tolist(),
            "others": [{"answer": text, "probability": round(value, 4)} for text, value in said.others],
        }

    return answer


ANSWERERS: dict[str, Callable[[argparse.Namespace], Answerer]] = {
    "tag": _tagging,
    "relate": _labelling,
    "judge": _labelling,
    "feel": _labelling,
    "read": _reading,
}
