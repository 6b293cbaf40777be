"""Many questions from the terminal: a folder or a JSON lines file in, JSON lines or Parquet out, resumable."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.terminal.batch_files import (
    FIRST_PREPROCESSING,
    FORMATS,
    NOTHING,
    PREPROCESSING,
    key_of,
    left_out_text,
    parquet_library,
    photo_digest,
    read_answers,
    read_source,
    write_rows,
)
from valm_core.bulk import answer_photos
from valm_core.outputs import Prediction, Predictor


@dataclass(frozen=True)
class Summary:
    """What a run did: the input's rows, those with an error, questions answered now, and the seconds that took.

    ``left_out`` counts a folder's files that are no photos, by ending.
    """

    rows: int
    errors: int
    answered: int
    seconds: float
    left_out: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        speed = f" ({self.answered / self.seconds:.0f} a second)" if self.answered else ""
        return (
            f"{self.rows} rows, {self.errors} of them with an error; {self.answered} questions answered now in "
            f"{self.seconds:.1f} s{speed}.{left_out_text(self.left_out)}"
        )


def answer_batch(
    predictor: Predictor,
    source: str | Path,
    output: str | Path,
    questions: Sequence[str] = (),
    top: int = 5,
    model: str = "",
) -> Summary:
    """Answer every row of ``source``; what ``output`` already has is not asked again, but for rows with an error.

    The output has the input's rows in their order, with all their columns and those of ``NOTHING``; after them stand
    rows that it had from an earlier input. While it works, whole lines are appended: to the output itself, for Parquet
    to a file beside it, so that an interrupted run goes on where it stopped.

    Args:
        predictor: which answers.
        source: a JSON lines file of rows with ``image``, a path relative to the file, and ``question``; or a folder.
        output: a file with an ending of ``FORMATS``.
        questions: what to ask each photo of a folder; none for a file.
        top: how many answers a row gets.
        model: written into each row; an output of another model, another top or other photos under the same names is
            not gone on with.

    Raises:
        ValueError: the source or output can't be used; the message says why.
    """
    source, output = Path(source), Path(output)
    folder = source if source.is_dir() else source.parent
    check_output(source, output)
    working = output if output.suffix == ".jsonl" else output.with_name(output.name + ".partial.jsonl")
    asked = read_source(source, questions, (output, working))
    rows = asked.rows
    output.parent.mkdir(parents=True, exist_ok=True)
    earlier = read_answers(output, working)
    done = {key_of(row): row for row in earlier if row.get("error") is None}
    usable = {key_of(row) for row in rows if row.get("error") is None}
    check_goes_on(output, done, model, top)
    digests = {row["image"]: row["photo_sha256"] for key, row in done.items() if key in usable}
    check_photos(output, folder, ((image, asked.files[image], digest) for image, digest in digests.items()))

    waiting: dict[Path, dict[str, list[dict]]] = {}  # photo -> question -> its rows
    for row in rows:
        if row.get("error") is None and key_of(row) not in done:
            waiting.setdefault(asked.files[row["image"]], {}).setdefault(row["question"], []).append(row)
    started, answered = time.monotonic(), 0
    with working.open("a", encoding="utf-8") as file:
        for path, question, reply in _with_progress(answer_photos(predictor, waiting, top), waiting):
            columns = columns_of(reply, path) | {"model": model or None, "top": top, "preprocessing": PREPROCESSING}
            for row in waiting[path][question]:
                done[key_of(row)] = row | columns
                file.write(json.dumps(done[key_of(row)], ensure_ascii=False) + "\n")
            file.flush()
            answered += columns["error"] is None

    known = {key_of(row) for row in rows}
    finished = [row | {name: done.get(key_of(row), row)[name] for name in NOTHING} for row in rows]
    write_rows(output, finished + [row for row in earlier if key_of(row) not in known])
    if working != output:
        working.unlink()
    errors = sum(row["error"] is not None for row in finished)
    return Summary(len(finished), errors, answered, time.monotonic() - started, asked.left_out)


def check_output(source: Path, output: Path) -> None:
    """Refuse an output that can't be written. Raises ValueError."""
    if output.suffix not in FORMATS:
        raise ValueError(f"--output is {str(output)!r}; its name must end in {' or '.join(FORMATS)}.")
    if output.resolve() == source.resolve():
        raise ValueError(f"--output is the file of the questions, {source}. Name another.")
    if output.suffix == ".parquet":
        parquet_library()


def check_goes_on(output: Path, done: Mapping[Any, dict], model: str, top: int) -> None:
    """Refuse to go on with answers of another model, of photos read otherwise, or with another number of them.

    Raises:
        ValueError: which, with the remedy.
    """
    others = {row["model"] for row in done.values() if row.get("model")} - {model}
    if others:
        raise ValueError(
            f"{output} holds answers of model {min(others)}, and this is model {model}. Name another file."
        )
    read = {row["preprocessing"] or FIRST_PREPROCESSING for row in done.values()} - {PREPROCESSING}
    if read:
        raise ValueError(
            f"{output} holds answers of an earlier version, which read photos or questions otherwise ({min(read)}, now "
            f"{PREPROCESSING}). Name another file, or delete that one to ask all anew."
        )
    tops = {row["top"] for row in done.values() if row["top"] is not None} - {top}
    if tops:
        raise ValueError(
            f"{output} holds the {min(tops)} likeliest answers a row, and --top is {top}. Ask for as many, or name "
            "another file."
        )


def check_photos(output: Path, folder: Path, known: Iterable[tuple[str, Path, str | None]]) -> None:
    """Refuse to go on with answers about other photos that had the same names.

    Args:
        output: where the answers lie.
        folder: where the photos lie.
        known: of photos that answers are about: name, file and digest, None where it wasn't noted.

    Raises:
        ValueError: the first such photo is named, with the remedy.
    """
    for image, file, digest in dict.fromkeys(known):
        if digest and (now := photo_digest(file)) and now != digest:
            raise ValueError(
                f"{output} holds answers about another {image} than lies in {folder} now. Name another file, or delete "
                "that one to ask all anew."
            )


def columns_of(reply: Prediction | str, path: Path) -> dict:
    """A reply about the photo at ``path``, or why there is none, as the columns of ``NOTHING``."""
    if isinstance(reply, str):
        return NOTHING | {"error": reply}
    return NOTHING | {
        "predicted": reply.answers[0].text,
        "probability": reply.answers[0].probability,
        "predictions": [{"answer": answer.text, "probability": answer.probability} for answer in reply.answers],
        "blind_predicted": reply.blind_answers[0].text,
        "gate": reply.gate,
        "unfamiliar": " ".join(reply.unfamiliar),
        "photo_sha256": photo_digest(path),
    }


def _with_progress(replies: Iterable, waiting: dict[Path, dict[str, list[dict]]]) -> Iterable:
    from tqdm import tqdm

    return tqdm(replies, total=sum(map(len, waiting.values())), unit="question", disable=None)


def model_name(predictor: Predictor) -> str:
    """What tells a loaded model's answers from another's: the first 12 digits of its fingerprint."""
    return str(predictor.facts["model_fingerprint"])[:12]
