"""What the page does with a photo and a question: plain functions that know nothing of gradio."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from demo.figures import LONGEST_SIDE, WHOLE_QUESTION
from valm_core.outputs import EncodedImage, Evidence, Explanation, InputError, Prediction

GENERAL_QUESTIONS = (
    "What is in the photo?",
    "Is it day or night?",
    "How many people are there?",
    "What color is the background?",
)
NO_PHOTO = "Add a photo first: drop one, take one, or pick an example."
NO_QUESTION = "Type a question first, for example “What is in the photo?”"
LOST_PHOTO = "This photo is no longer on the server. Please add it again."
OUR_FAULT = "Something went wrong on our side. Please try again, perhaps with another photo."


# eq=False (here and below): gradio hashes what its State keeps, and arrays can't be hashed; identity can.
@dataclass(frozen=True, eq=False)
class OpenedPhoto:
    """A photo ready for questions: its ``digest`` tells it from every other, ``picture`` is what overlays lie on."""

    digest: str
    picture: Image.Image
    encoded: EncodedImage


@dataclass(frozen=True, eq=False)
class Reply:
    """Everything that the result panel shows and redraws without the model."""

    photo: OpenedPhoto
    prediction: Prediction
    explanation: Explanation
    evidence: Evidence | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a question about the photo at ``path``: a reply, or a message that says why there is none."""

    path: str | None
    reply: Reply | None = None
    message: str = ""


@dataclass(frozen=True)
class Example:
    """A packaged photo and its suggested questions; ``known_wrong`` is (question, expected answer) or nothing."""

    path: Path
    digest: str
    title: str
    questions: tuple[str, ...]
    known_wrong: tuple[str, str] | None = None


def read_examples(folder: Path) -> tuple[Example, ...]:
    """The photos that ``examples.json`` in ``folder`` lists; none where there is no such file."""
    index = folder / "examples.json"
    if not index.is_file():
        return ()
    examples = []
    for entry in json.loads(index.read_text(encoding="utf-8")):
        wrong = entry.get("known_wrong")
        known_wrong = (wrong["question"], wrong["expected"]) if wrong else None
        questions = tuple(entry["questions"])
        if known_wrong and known_wrong[0] not in questions:
            questions += (known_wrong[0],)
        path = folder / entry["file"]
        examples.append(Example(path, digest_of(path.read_bytes()), entry["title"], questions, known_wrong))
    return tuple(examples)


def digest_of(content: bytes) -> str:
    """A name for a file's content: the same photo keeps it under any path."""
    return hashlib.sha256(content).hexdigest()


def right_answer(examples: tuple[Example, ...], reply: Reply) -> str | None:
    """The right answer where an example is packaged with a question that the model is known to get wrong."""
    for example in examples:
        if example.digest == reply.photo.digest and example.known_wrong:
            question, expected = example.known_wrong
            if question.casefold() == reply.prediction.question.casefold():
                return expected
    return None


def open_photo(predictor, path: str | None, opened: OpenedPhoto | None) -> OpenedPhoto:
    """The photo at ``path``, encoded; ``opened`` itself when it is the same photo. Raises InputError."""
    if not path:
        raise InputError(NO_PHOTO)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(LOST_PHOTO) from error
    digest = digest_of(content)
    if opened is not None and opened.digest == digest:
        return opened
    picture = predictor.open_photo(content)
    encoded = predictor.encode(picture)
    small = picture.copy()
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return OpenedPhoto(digest, small, encoded)


def ask(predictor, path: str | None, opened: OpenedPhoto | None, question: str | None) -> Reply:
    """Answer a question about the photo at ``path`` and explain the answer. Raises InputError."""
    question = " ".join((question or "").split())
    if not path:
        raise InputError(NO_PHOTO)
    if not question:
        raise InputError(NO_QUESTION)
    photo = open_photo(predictor, path, opened)
    prediction = predictor.answer(photo.encoded, question)
    best = prediction.answers[0].text
    explanation = predictor.explain(photo.encoded, question, answer=best)
    evidence = predictor.evidence(photo.encoded, question, answer=best, explanation=explanation)
    return Reply(photo, prediction, explanation, evidence)


def answer(predictor, path: str | None, opened: OpenedPhoto | None, question: str | None) -> Outcome:
    """``ask``, with whatever goes wrong turned into a message for the person."""
    try:
        return Outcome(path, ask(predictor, path, opened, question))
    except Exception as error:
        return Outcome(path, message=message_for(error))


def word_choices(explanation: Explanation) -> list[tuple[str, int]]:
    """What can be clicked: the whole question, then its words, each with its index."""
    return [("whole question", WHOLE_QUESTION), *((word, index) for index, word in enumerate(explanation.tokens))]


def known_word(explanation: Explanation, word: int | None) -> int:
    """``word`` if the question has it, else the whole question."""
    return word if word is not None and 0 <= word < len(explanation.tokens) else WHOLE_QUESTION


def message_for(error: Exception) -> str:
    """What to tell the person: an InputError speaks for itself, anything else is ours and goes to the log."""
    if isinstance(error, InputError):
        return str(error)
    logging.getLogger("valm").error("the page failed", exc_info=error)
    return OUR_FAULT
