"""What the page does with a photo and a question: plain functions that know nothing of gradio."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from demo.languages.translate import label, say, translated
from demo.rendering.overlay import MAX_SIDE
from demo.rendering.wording import method_name
from demo.visit.follow_up import Understood
from valm_core.inputs.photo import file_content
from valm_core.inputs.text import as_listed
from valm_core.method_names import CONTROLS, DEFAULT_METHOD
from valm_core.outputs import (
    EncodedImage,
    Evidence,
    Explanation,
    InputError,
    Prediction,
    Predictor,
    UnknownAnswer,
    UnreachablePhoto,
    WordEvidence,
)
from valm_core.stopping import Stopped

if TYPE_CHECKING:
    from demo.visit.printed import Printed

GENERAL_QUESTIONS = (
    "What is in the photo?",
    "Is it daytime?",
    "How many people are there?",
    "What color is the background?",
)
NO_PHOTO = "Add a photo first: drop one, take one, or pick an example."
NO_QUESTION = "Type a question first, for example “What is in the photo?”"
LOST_PHOTO = "This photo is no longer on the server: photos are deleted after a few hours. Upload it again."
NO_ANSWER = "Type the answer that you want explained, or pick one from the list."
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
    awaited: bool = False  # the evidence is still to come, see ``weigh``
    understood: Understood | None = None  # what was typed, where it was a follow-up
    read: Printed | None = None  # what became of reading the photo, where that was tried

    @property
    def answer(self) -> str:
        """The answer that the map explains."""
        return self.evidence.answer if self.evidence else self.prediction.answers[0].text


@dataclass(frozen=True, eq=False)
class Again:
    """What became of the wish for another explanation of ``asked``: a new reply, or a message why there is none."""

    asked: Reply
    reply: Reply | None = None
    message: str = ""


@dataclass(frozen=True, eq=False)
class Later:
    """What a panel found out about ``asked``, to be shown if the page still has that answer by then."""

    asked: Reply | None
    updates: dict

    def if_still(self, current: Reply | None) -> dict:
        """The updates; none where the page meanwhile shows another answer."""
        same = self.asked is current or (self.asked and current and self.asked.prediction is current.prediction)
        return self.updates if same else {}


@dataclass(frozen=True)
class Selection:
    """What the person selected: words of the question (none: the whole of it) and cells of the photo, by number."""

    words: tuple[int, ...] = ()
    cells: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class JudgedWord:
    """How far the map of one selected word of a reply can be believed."""

    reply: Reply
    words: tuple[int, ...]
    evidence: WordEvidence


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a question about the photo at ``path``: a reply, or a message that says why there is none.

    A reply may come with a message too: what the person should know beside it, and with questions to offer.
    ``described`` is the HTML of a description of the photo, where one was wished for and can be given, and ``said`` its
    sentence. ``visit``
    is the number of the visit that it belongs to, see ``history.catch_up``, and ``earlier`` are those before it.
    """

    path: str | None
    reply: Reply | None = None
    message: str = ""
    suggestions: tuple[str, ...] = ()
    described: str = ""
    said: str = ""
    visit: int = -1
    earlier: tuple[Outcome, ...] = ()


def digest_of(content: bytes) -> str:
    """A name for a file's content: the same photo keeps it under any path."""
    return hashlib.sha256(content).hexdigest()


def content_of(path: str) -> bytes:
    """What the file of a photo holds. Raises InputError where it is gone, or far too large."""
    try:
        return file_content(Path(path))
    except UnreachablePhoto as error:
        raise InputError(LOST_PHOTO) from error


def holds(path: str | None, photo: OpenedPhoto) -> bool | None:
    """Whether the file at ``path`` holds just this photo; None where it can't be read."""
    try:
        return digest_of(content_of(path)) == photo.digest if path else None
    except InputError:
        return None


def open_photo(predictor: Predictor, path: str | None, opened: OpenedPhoto | None) -> OpenedPhoto:
    """The photo at ``path``, encoded; ``opened`` itself when it is the same photo. Raises InputError."""
    if not path:
        raise InputError(NO_PHOTO)
    content = content_of(path)
    digest = digest_of(content)
    if opened is not None and opened.digest == digest:
        return opened
    picture = predictor.open_photo(content)
    encoded = predictor.encode(picture)
    small = picture.copy()
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    return OpenedPhoto(digest, small, encoded)


def prompt_of(photo: OpenedPhoto) -> str | None:
    """The prompt that a photo is asked about by, of an open model; None for the model's own."""
    return getattr(photo.encoded, "prompt", None)


def with_prompt(photo: OpenedPhoto, prompt: str | None) -> OpenedPhoto:
    """A photo to be asked about by another prompt; itself where it is that already, or where models have none."""
    encoded: Any = photo.encoded
    if not hasattr(encoded, "prompt") or encoded.prompt == prompt:
        return photo
    return dataclasses.replace(photo, encoded=dataclasses.replace(encoded, prompt=prompt))


def photo_and_question(
    predictor: Predictor, path: str | None, opened: OpenedPhoto | None, question: str | None, prompt: str | None
) -> tuple[OpenedPhoto, str]:
    """The photo at ``path``, to be asked about by a prompt, and the question with single spaces. Raises InputError."""
    question = " ".join((question or "").split())
    if not path:
        raise InputError(NO_PHOTO)
    if not question:
        raise InputError(NO_QUESTION)
    return with_prompt(open_photo(predictor, path, opened), prompt), question


def ask(
    predictor: Predictor,
    path: str | None,
    opened: OpenedPhoto | None,
    question: str | None,
    prompt: str | None = None,
) -> Reply:
    """Answer a question about the photo at ``path`` and explain the answer; ``weigh`` goes on. Raises InputError."""
    photo, question = photo_and_question(predictor, path, opened, question, prompt)
    return new_reply(photo, *predictor.ask(photo.encoded, question, weigh=False))


def new_reply(photo: OpenedPhoto, prediction: Prediction, explanation: Explanation, evidence: Evidence | None) -> Reply:
    """A reply that awaits its evidence, unless that came with it."""
    return Reply(photo, prediction, explanation, evidence, awaited=evidence is None)


def weigh(predictor: Predictor, reply: Reply) -> Reply:
    """A reply with the evidence that it awaits; without any, where none can be had. Raises Stopped."""
    try:
        # Not by ``evidence``, which would answer without the photo once more: an open model writes for seconds.
        _, _, evidence = predictor.ask(
            reply.photo.encoded,
            reply.prediction.question,
            reply.explanation.method,
            reply.answer,
            prediction=reply.prediction,
        )
    except Stopped:
        raise
    except Exception as error:
        message_for(error)  # logged; the answer stands without it
        evidence = None
    return dataclasses.replace(reply, evidence=evidence, awaited=False)


def with_evidence(current: Reply, weighed: Reply | None) -> Reply:
    """A reply with what was found out of the same map of the same answer; itself where that is of another."""
    if weighed is None or not current.awaited or weighed.explanation is not current.explanation:
        return current
    return dataclasses.replace(current, evidence=weighed.evidence, awaited=False)


def answer(
    predictor: Predictor,
    path: str | None,
    opened: OpenedPhoto | None,
    question: str | None,
    prompt: str | None = None,
) -> Outcome:
    """``ask``, with whatever goes wrong turned into a message for the person."""
    try:
        return Outcome(path, ask(predictor, path, opened, question, prompt))
    except Exception as error:
        return Outcome(path, message=message_for(error))


def write(
    predictor: Predictor,
    path: str | None,
    opened: OpenedPhoto | None,
    question: str | None,
    prompt: str | None = None,
) -> Iterator[str | Outcome]:
    """What ``answer`` gives of a model that writes, after its text as far as it is written."""
    try:
        photo, question = photo_and_question(predictor, path, opened, question, prompt)
        prediction = None
        for part in predictor.write(photo.encoded, question):
            if isinstance(part, str):
                yield part
            else:
                prediction = part
        asked = predictor.ask(photo.encoded, question, prediction=prediction, weigh=False)
        yield Outcome(path, new_reply(photo, *asked))
    except Exception as error:
        yield Outcome(path, message=message_for(error))


def explain_again(predictor: Predictor, reply: Reply, method: str, answer: str | None) -> Again:
    """Explain another answer, or by another method, with its evidence; nothing else is asked again.

    Args:
        predictor: as the page has it.
        reply: what is on the page.
        method: one of the predictor's ``explanation_methods``.
        answer: what the person chose or typed.
    """
    try:
        answer = known_answer(reply, answer)
        if (answer, method) == (reply.answer, reply.explanation.method):  # gradio tells of a typed answer twice
            return Again(reply, reply)
        try:
            _, explanation, evidence = predictor.ask(
                reply.photo.encoded, reply.prediction.question, method, answer, prediction=reply.prediction
            )
        except UnknownAnswer as error:
            raise InputError(unknown_answer(reply, answer)) from error
        return Again(reply, dataclasses.replace(reply, explanation=explanation, evidence=evidence, awaited=False))
    except Exception as error:
        return Again(reply, message=message_for(error))


def judge_word(predictor: Predictor, reply: Reply | None, selection: Selection) -> JudgedWord | None:
    """The evidence for the map of the one word that is selected; None where it is none or several, or not offered.

    Raises Stopped.
    """
    if reply is None or len(selection.words) != 1 or "word_evidence" not in predictor.offers:
        return None
    (word,), explanation = selection.words, reply.explanation
    if word >= len(explanation.tokens) - explanation.answer_words:  # a word of the answer has none
        return None
    try:
        judged = predictor.word_evidence(
            reply.photo.encoded,
            reply.prediction.question,
            word,
            explanation.method,
            reply.answer,
            explanation,
        )
    except Stopped:
        raise
    except (InputError, ValueError):
        return None  # the map stands without it
    return JudgedWord(reply, selection.words, judged)


def known_answer(reply: Reply, answer: str | None) -> str:
    """A typed answer as the model writes them, see ``valm_core.inputs.text.as_listed``. Raises InputError for none."""
    answer = as_listed(answer or "", [candidate.text for candidate in reply.prediction.answers])
    if not answer:
        raise InputError(NO_ANSWER)
    return answer


def unknown_answer(reply: Reply, answer: str) -> str:
    """The message for an answer that isn't in the model's list."""
    given = ", ".join(f"“{candidate.text}”" for candidate in reply.prediction.answers)
    return say(
        "“{answer}” is not in the model’s list of answers, so it has no probability that could be explained. Pick one "
        "of its answers ({given}), or type another short one.",
        answer=answer[:80],
        given=given,
    )


def default_method(predictor: Predictor) -> str:
    """The method that a predictor explains by unless told otherwise."""
    methods = predictor.explanation_methods
    return DEFAULT_METHOD if DEFAULT_METHOD in methods else methods[0]


def method_choices(predictor: Predictor) -> list[tuple]:
    """The predictor's explanation methods, its default first and the controls last, with gradio's labels."""
    first = default_method(predictor)
    names = sorted(predictor.explanation_methods, key=lambda name: (name in CONTROLS, name != first))
    return [(label(name.replace("_", " ") + (" (control)" if name in CONTROLS else "")), name) for name in names]


def method_label(name: str) -> str:
    """A method's name for people; controls say that they are one."""
    return say(f"{name} (control)") if name in CONTROLS else method_name(name)


def select(old: tuple[int, ...], items, add: bool, count: int, most: int | None = None) -> tuple[int, ...]:
    """What is selected after a click on some items, in the order of selecting.

    Args:
        old: what was selected before.
        items: numbers as the browser sent them; those outside 0 to count - 1 are left out. None clears all.
        add: keep the old ones; a single item that was already selected is taken back.
        count: how many items there are.
        most: how many can be selected at once; one more, and the oldest gives way.
    """
    if items == []:  # nothing is to be selected, whatever was
        return ()
    items = items if isinstance(items, list) else []
    items = tuple(dict.fromkeys(item for item in items if type(item) is int and 0 <= item < count))
    if len(items) == 1 and items[0] in old and (add or len(old) == 1):
        return tuple(item for item in old if item != items[0])
    selected = tuple(dict.fromkeys((*old, *items))) if add else items
    return selected[-most:] if most else selected


def message_for(error: Exception) -> str:
    """What to tell the person in their language: an InputError's own text; anything else is ours, for the log."""
    if isinstance(error, InputError):
        return translated(error)
    logging.getLogger("valm").error("the page failed", exc_info=error)
    return OUR_FAULT
