"""What the page does with a photo and a question: plain functions that know nothing of gradio."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from demo.languages.translate import label, say, translated
from demo.rendering.overlay import MAX_SIDE
from demo.rendering.wording import method_name
from demo.visit.follow_up import Understood
from valm_core.explanations import CONTROLS, DEFAULT_METHOD, WITHOUT_HEADS
from valm_core.inputs.text import as_listed
from valm_core.outputs import (
    EncodedImage,
    Evidence,
    Explanation,
    InputError,
    Prediction,
    Predictor,
    UnknownAnswer,
    WordEvidence,
)

GENERAL_QUESTIONS = (
    "What is in the photo?",
    "Is it day or night?",
    "How many people are there?",
    "What color is the background?",
)
MODEL_ANSWERS_FILE = "model_answers.json"  # beside examples.json: what demo.check_examples found
ALL = -1  # in the menus of layers and heads
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
    understood: Understood | None = None  # what was typed, where it was a follow-up

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
    ``described`` is the HTML of a description of the photo, where one was wished for and can be given. ``visit``
    is the number of the visit that it belongs to, see ``history.catch_up``, and ``earlier`` are those before it.
    """

    path: str | None
    reply: Reply | None = None
    message: str = ""
    suggestions: tuple[str, ...] = ()
    described: str = ""
    visit: int = -1
    earlier: tuple[Outcome, ...] = ()


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


def read_examples(folder: Path, checkpoint_sha256: str | None = None) -> tuple[Example, ...]:
    """The photos that ``examples.json`` in ``folder`` lists; none where there is no such file.

    Args:
        folder: of the photos.
        checkpoint_sha256: of the model's weights. What ``model_answers.json`` there says of another model isn't shown.
    """
    index = folder / "examples.json"
    if not index.is_file():
        return ()
    counted = right_counts(folder, checkpoint_sha256)
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


def right_counts(folder: Path, checkpoint_sha256: str | None) -> dict[str, int]:
    """How many of each photo's questions were answered rightly, by file; empty where it wasn't found out."""
    try:
        found = json.loads((folder / MODEL_ANSWERS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not checkpoint_sha256 or found["checkpoint_sha256"] != checkpoint_sha256:
        return {}
    return {file: sum(reply["right"] for reply in replies) for file, replies in found["examples"].items()}


def digest_of(content: bytes) -> str:
    """A name for a file's content: the same photo keeps it under any path."""
    return hashlib.sha256(content).hexdigest()


def right_answer(examples: tuple[Example, ...], reply: Reply) -> str | None:
    """The right answer where the model gets an offered question of an example wrong, None elsewhere."""
    asked = reply.prediction.question.casefold()
    for example in examples:
        if example.digest != reply.photo.digest:
            continue
        accepted = {question.casefold(): answers for question, answers in example.accepted.items()}
        if example.known_wrong:
            accepted.setdefault(example.known_wrong[0].casefold(), example.known_wrong[1:])
        answers = accepted.get(asked, ())
        if answers and reply.prediction.answers[0].text not in answers:
            return answers[0]
    return None


def open_photo(predictor: Predictor, path: str | None, opened: OpenedPhoto | None) -> OpenedPhoto:
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
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    return OpenedPhoto(digest, small, encoded)


def ask(predictor: Predictor, path: str | None, opened: OpenedPhoto | None, question: str | None) -> Reply:
    """Answer a question about the photo at ``path`` and explain the answer. Raises InputError."""
    question = " ".join((question or "").split())
    if not path:
        raise InputError(NO_PHOTO)
    if not question:
        raise InputError(NO_QUESTION)
    photo = open_photo(predictor, path, opened)
    return Reply(photo, *predictor.ask(photo.encoded, question))


def answer(predictor: Predictor, path: str | None, opened: OpenedPhoto | None, question: str | None) -> Outcome:
    """``ask``, with whatever goes wrong turned into a message for the person."""
    try:
        return Outcome(path, ask(predictor, path, opened, question))
    except Exception as error:
        return Outcome(path, message=message_for(error))


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
        return Again(reply, dataclasses.replace(reply, explanation=explanation, evidence=evidence))
    except Exception as error:
        return Again(reply, message=message_for(error))


def judge_word(predictor: Predictor, reply: Reply | None, selection: Selection) -> JudgedWord | None:
    """The evidence for the map of the one word that is selected; None where it is none or several, or not offered."""
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


def part_of(explanation: Explanation, direction: str, layer: int | None = None, head: int | None = None) -> Explanation:
    """The same explanation with the maps of one direction, layer and head in place of the method's own.

    Args:
        explanation: W words, N cells, L layers, H heads.
        direction: "text_to_image", where the words looked, or "image_to_text", which words the cells listened to.
        layer: 0 to L - 1; None for the mean over all.
        head: 0 to H - 1; None for the mean over all. A method without heads is never taken apart.

    Returns:
        Maps that sum to 1. Both None with "text_to_image" is the explanation itself; the map of the whole question is
        the words' maps weighted by ``token_scores`` otherwise.
    """
    layer, head = place_in(explanation, layer, head)
    everything = layer is None and head is None
    if everything and direction == "text_to_image":
        return explanation
    layers = slice(None) if layer is None else slice(layer, layer + 1)
    heads = slice(None) if head is None else slice(head, head + 1)
    listened = explanation.patch_to_token  # [N, W]
    if not everything:
        listened = explanation.image_to_text[layers, heads].mean(axis=(0, 1))
    maps = listened.T  # [W, N]
    if direction == "text_to_image":
        maps = explanation.text_to_image[layers, heads].mean(axis=(0, 1))
    total = maps.sum(axis=1, keepdims=True)
    maps = np.where(total > 0, maps / np.maximum(total, 1e-12), 1 / maps.shape[1])
    return dataclasses.replace(
        explanation,
        token_to_patch=maps,
        patch_to_token=listened,
        image_map=(explanation.token_scores @ maps).reshape(explanation.grid),
    )


def has_heads(explanation: Explanation) -> bool:
    """Whether a map is made of layers and heads, so that it can be shown for one of them."""
    return explanation.method not in WITHOUT_HEADS


def place_in(explanation: Explanation, layer: int | None, head: int | None) -> tuple[int | None, int | None]:
    """The layer and head that can be shown, from what the menus say: None for all, as for a method without heads."""
    return (place_or_all(layer), place_or_all(head)) if has_heads(explanation) else (None, None)


def all_heads(explanation: Explanation, direction: str) -> list[list[Explanation]]:
    """The explanation by layer and head: L lists of H."""
    layers, heads = explanation.text_to_image.shape[:2]
    return [[part_of(explanation, direction, layer, head) for head in range(heads)] for layer in range(layers)]


def place_or_all(number: int | None) -> int | None:
    """The layer or head that a menu gives: from 0, None for ``ALL`` of them."""
    return None if number in (None, ALL) else number


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
