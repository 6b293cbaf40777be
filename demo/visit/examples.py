"""The packaged photos with their questions, and which of these the model gets right."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from demo.visit.asking import OpenedPhoto, Reply, digest_of
from demo.visit.mentions import words_of
from valm_core.outputs import InputError, Prediction

NO_SUCH_EXAMPLE = "This link names no example that is here, so nothing of it was opened."
MODEL_ANSWERS_FILE = "model_answers.json"  # beside examples.json: what demo.check_examples found


@dataclass(frozen=True)
class Example:
    """A packaged photo and its suggested questions; ``known_wrong`` is (question, expected answer) or nothing.

    ``accepted`` has, of each question, the answers that are right. ``right`` is how many of the questions the model
    answered rightly when ``demo.check_examples`` asked it, None where it didn't.
    """

    path: Path
    digest: str
    title: str
    questions: tuple[str, ...]
    known_wrong: tuple[str, str] | None = None
    accepted: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    right: int | None = None


def read_examples(folder: Path, model_fingerprint: str | None = None) -> tuple[Example, ...]:
    """The photos that ``examples.json`` in ``folder`` lists; none where there is no such file.

    Args:
        folder: of the photos.
        model_fingerprint: of the model's facts. What ``model_answers.json`` there says of another model isn't shown.
    """
    index = folder / "examples.json"
    if not index.is_file():
        return ()
    counted = right_counts(folder, model_fingerprint)
    examples = []
    for entry in json.loads(index.read_text(encoding="utf-8")):
        wrong = entry.get("known_wrong")
        known_wrong = (wrong["question"], wrong["expected"]) if wrong else None
        questions = tuple(entry["questions"])
        if known_wrong and known_wrong[0] not in questions:
            questions += (known_wrong[0],)
        path = folder / entry["file"]
        accepted = {question: tuple(answers) for question, answers in entry.get("accepted", {}).items()}
        digest, right = digest_of(path.read_bytes()), counted.get(entry["file"])
        examples.append(Example(path, digest, entry["title"], questions, known_wrong, accepted, right))
    return tuple(examples)


def right_counts(folder: Path, model_fingerprint: str | None) -> dict[str, int]:
    """How many of each photo's questions were answered rightly, by file; empty where it wasn't found out."""
    try:
        found = json.loads((folder / MODEL_ANSWERS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not model_fingerprint or found.get("model_fingerprint") != model_fingerprint:
        return {}
    return {file: sum(reply["right"] for reply in replies) for file, replies in found["examples"].items()}


def example_of(examples: tuple[Example, ...], photo: OpenedPhoto) -> Example | None:
    """The packaged example that a photo is, None for any other."""
    return next((example for example in examples if example.digest == photo.digest), None)


def example_named(examples: tuple[Example, ...], name: str | None) -> Example:
    """The example whose file has this name, without its ending. Raises InputError where there is none."""
    for example in examples:
        if example.path.stem == name:
            return example
    raise InputError(NO_SUCH_EXAMPLE)


def right_answer(examples: tuple[Example, ...], reply: Reply) -> str | None:
    """The right answer where the model gets an offered question of an example wrong, None elsewhere."""
    example = example_of(examples, reply.photo)
    if example is None:
        return None
    accepted = {question.casefold(): answers for question, answers in example.accepted.items()}
    if example.known_wrong:
        accepted.setdefault(example.known_wrong[0].casefold(), example.known_wrong[1:])
    answers = accepted.get(reply.prediction.question.casefold(), ())
    return answers[0] if answers and not is_right(reply.prediction, answers) else None


def is_right(prediction: Prediction, accepted: tuple[str, ...]) -> bool:
    """Whether the likeliest answer is one of those accepted; an open model, which writes freely, may say more."""
    text = prediction.answers[0].text
    if not prediction.any_language:
        return text in accepted
    words = " ".join(words_of(text.casefold()))
    return any(f" {' '.join(words_of(answer.casefold()))} " in f" {words} " for answer in accepted)
