"""The API beside the page: answer, explain, examples, for gradio_client, curl and, where mcp is installed, MCP."""

import functools
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, cast

import gradio as gr
from PIL import Image

from demo.downloads.files import answers_json, description_json, reply_json
from demo.finding.collection import MAX_FOUND_BY_API, Collection
from demo.more.models import MoreModels
from demo.server.replies import (
    Answers,
    Described,
    Explained,
    FoundPhoto,
    KnownWrong,
    Method,
    PackagedExample,
    UploadedPhoto,
    Written,
)
from demo.server.task_api import TASK_PARAMETERS, TaskEndpoints
from demo.server.telling import check, tell_errors, tell_errors_between
from demo.visit import asking
from demo.visit.examples import Example
from demo.visit.printed import PageReader, Printed, read_printed, wants_reading
from demo.visit.uploads import photo_content
from valm_core.asking import MAX_CANDIDATES, MAX_SCORED_CANDIDATES
from valm_core.captions.captioner import Captioner
from valm_core.captions.describing import MAX_BEAMS
from valm_core.inputs.question import MAX_QUESTION_CHARACTERS
from valm_core.method_names import DEFAULT_METHOD
from valm_core.outputs import EncodedImage, InputError, Prediction, Predictor

MAX_ANSWERS = 100

PHOTO = {
    "description": "an upload (handle_file, or the path from POST /gradio_api/upload), or data:image/jpeg;base64,… "
    "text; at most 20 MB and 32 megapixels (JPEG: 64)",
    "examples": [{"path": "/tmp/gradio/…/cat.jpg", "meta": {"_type": "gradio.FileData"}}],  # noqa: S108
}
QUESTION = {
    "description": f"in English, at most {MAX_QUESTION_CHARACTERS} characters",
    "minLength": 1,
    "maxLength": MAX_QUESTION_CHARACTERS,
    "examples": ["What animal is this?"],
}
# What /gradio_api/info says of each parameter, in the words of JSON schema; the first of "examples" is shown.
PARAMETERS: dict[str, dict[str, dict[str, Any]]] = {
    **TASK_PARAMETERS,
    "answer": {
        "photo": PHOTO,
        "question": QUESTION,
        "top": {
            "description": f"how many answers, 1 to {MAX_ANSWERS}",
            "minimum": 1,
            "maximum": MAX_ANSWERS,
            "examples": [5],
        },
        "candidates": {
            "description": f"the only answers allowed, 2 to {MAX_CANDIDATES} (open models: {MAX_SCORED_CANDIDATES}), "
            "or null for all that the model can say",
            "minItems": 2,
            "maxItems": MAX_CANDIDATES,
            "examples": [["cat", "dog"]],
        },
    },
    "describe": {
        "photo": PHOTO,
        "beams": {
            "description": f"descriptions followed side by side, 1 to {MAX_BEAMS}",
            "minimum": 1,
            "maximum": MAX_BEAMS,
            "examples": [3],
        },
    },
    "explain": {
        "photo": PHOTO,
        "question": QUESTION,
        "method": {"description": "how the maps are made", "examples": [DEFAULT_METHOD]},
        "answer": {
            "description": "the answer to explain, one of the model's list, or null for the likeliest",
            "examples": ["cat"],
        },
    },
    "write": {
        "photo": PHOTO,
        "question": QUESTION,
        "prompt": {
            "description": "what the model is asked, with {image} and {question}; null: its own, for a short answer",
            "examples": ["{image}\n{question} Answer in two sentences."],
        },
    },
    "find": {
        "words": {**QUESTION, "examples": ["a dog on grass"]},
        "top": {
            "description": f"how many photos, 1 to {MAX_FOUND_BY_API}",
            "minimum": 1,
            "maximum": MAX_FOUND_BY_API,
            "examples": [10],
        },
    },
}


def build_api(
    page: gr.Blocks,
    predictor: Predictor,
    examples: Sequence[Example],
    captioner: Captioner | None = None,
    collection: Collection | None = None,
    more: MoreModels | None = None,
) -> None:
    """Give a page its endpoints, and hide the page's own events from the API's documentation.

    Call it within the page's block, after every event was added.

    Args:
        page: what to add them to.
        predictor: that answers.
        examples: the packaged photos.
        captioner: describes photos, by "describe".
        collection: "find" looks through it.
        more: models for other tasks, each with an endpoint; the one that reads also reads printed pages for "answer".
    """
    for event in page.fns.values():
        event.api_visibility = "private"
        event.api_name = f"page_{event._id}"  # the names below stay free for the endpoints
    endpoints = Endpoints(predictor, examples, captioner, more if more and more.can_read else None)
    on_model = {"concurrency_id": "model", "concurrency_limit": 1}  # they wait in the page's own line
    gr.api(endpoints.answer, api_name="answer", **on_model)
    gr.api(endpoints.explain, api_name="explain", **on_model)
    gr.api(endpoints.examples, api_name="examples")
    if "write" in predictor.offers:
        gr.api(endpoints.write, api_name="write", **on_model)
    if captioner is not None:
        gr.api(endpoints.describe, api_name="describe", **on_model)
    if collection is not None:
        gr.api(FindEndpoint(collection).find, api_name="find", concurrency_id="find", concurrency_limit=1)
    if more is not None:
        of_tasks = TaskEndpoints(more)
        for task in more.tasks:
            gr.api(getattr(of_tasks, task), api_name=task, concurrency_id="more", concurrency_limit=1)
    for event in page.fns.values():
        for component, (name, facts) in zip(
            event.inputs, PARAMETERS.get(str(event.api_name), {}).items(), strict=False
        ):
            component._api_info = {**component._api_info, **facts, "additional_description": facts["description"]}
            component.label = name
            component.example_payload = component.example_value = functools.partial(facts["examples"].__getitem__, 0)


def mcp_wanted(allowed: bool) -> bool:
    """Whether the endpoints are tools of an MCP server too: it is allowed, and ``mcp`` is installed."""
    return allowed and find_spec("mcp") is not None


class Endpoints:
    """The endpoints; their docstrings, names and types are the API's documentation."""

    def __init__(
        self,
        predictor: Predictor,
        packaged: Sequence[Example],
        captioner: Captioner | None = None,
        reader: PageReader | None = None,
    ):
        self.predictor, self.packaged, self.captioner, self.reader = predictor, packaged, captioner, reader

    def opened(self, photo) -> Image.Image:
        """What a caller sent as a photo. Raises InputError."""
        return self.predictor.open_photo(photo_content(photo))

    def encoded(self, photo) -> EncodedImage:
        """What a caller sent as a photo, ready for questions. Raises InputError."""
        return self.predictor.encode(self.opened(photo))

    def printed(self, photo, prediction: Prediction) -> Printed | None:
        """What a second model reads on a photo that may be a printed page; None for all others."""
        if self.reader is None or not wants_reading(prediction):
            return None
        return read_printed(self.reader, photo_content(photo), prediction.question)

    @tell_errors
    def answer(
        self, photo: UploadedPhoto | str, question: str, top: int = 5, candidates: list[str] | None = None
    ) -> Answers:
        """Answer a question about a photo: the likeliest short answers with calibrated probabilities.

        A photo has at most 20 MB and 32 megapixels (JPEG: 64). Web addresses are not fetched.

        Args:
            photo: an upload (handle_file, or the path from POST /gradio_api/upload) or data:image/jpeg;base64,... text
            question: in English, at most 300 characters
            top: how many answers, 1 to 100
            candidates: the only answers allowed, 2 to 100; their probabilities sum to 1 and are not calibrated

        Returns:
            an object with "question"; "answers", a list of {"answer", "probability" in 0..1}, the likeliest first;
            beside "yes" or "no" those below 0.01 are left out
            "blind_answers", the same for the question without the photo
            "guessed_from_question", true where the first answers are about as likely without the photo
            "gate", the share of the question in the answer, 0..1; the photo has the rest; null of an open model
            "kinds", the probability in 0..1 of each kind of answer that the question may ask for, {} where not known
            "unfamiliar", a list with "photo" or "question" where those are unlike what the model learned from
            "read", of an unfamiliar photo with printed words on it what a second model reads there, as read gives it;
            {"error"} where no OCR is installed; null of all other photos
        """
        check(isinstance(question, str), f"question is {question!r}; send text.")
        check(type(top) is int and 1 <= top <= MAX_ANSWERS, f"top is {top!r}; allowed: 1 to {MAX_ANSWERS}.")
        texts = candidates or []
        check(
            isinstance(texts, list) and all(isinstance(text, str) for text in texts),
            "candidates must be a list of texts, for example ['cat', 'dog'].",
        )
        if texts:
            prediction = self.predictor.what_if(self.encoded(photo), question, candidates=texts, top=top)
        else:
            prediction = self.predictor.answer(self.encoded(photo), question, top)
        return cast(Answers, answers_json(prediction, self.printed(photo, prediction)))

    @tell_errors
    def explain(
        self, photo: UploadedPhoto | str, question: str, method: Method = DEFAULT_METHOD, answer: str | None = None
    ) -> Explained:
        """Answer a question about a photo, show where the model looked, and measure whether that can be believed.

        Args:
            photo: as for answer
            question: in English, at most 300 characters
            method: how the maps are made
            answer: the answer to explain, one of the model's list; by default the likeliest

        Returns:
            an object with what answer gives, and "explanation": "method"; "words" of the question
            "grid" [rows, columns] of the maps; "box" [left, top, right, bottom] in 0..1, what they cover
            "image_map" [rows][columns] for the whole question; "word_maps" [words][rows][columns]; each map sums to 1
            "word_scores", how much each word counts, they sum to 1
            "cells_read_words" [cells][words], what each cell read, cells in row-major order
            "layer_head_maps": "text_to_image" [layers][heads][words][cells], "image_to_text" with the last two swapped
            "evidence": "answer", the explained one, and its "probability"
            "hottest_hidden", its probability once the map's hottest cells are hidden, for each of "hidden_shares"
            "random_hidden", the same with as many random cells hidden, mean of "random_draws" draws
            "support", how far the first lie below the second, in deviations of the draws
            "verdict": "matters", "matters a little", "no difference" or "cannot tell" (nothing moves the answer)
            "agreement" with other methods' maps, -1..1; "evenness" of the map, 0..1, 1 where it is the same everywhere
            "blind_answer", the likeliest without the photo, and "same_as_blind", whether it is the explained one
            "model", what answered: checkpoint, its sha256, encoders; "valm_version"
        """
        check(isinstance(question, str), f"question is {question!r}; send text.")
        methods = self.predictor.explanation_methods
        method = asking.default_method(self.predictor) if method == DEFAULT_METHOD else method  # it may lack this one
        check(method in methods, f"method is {method!r}; allowed: {', '.join(methods)}.")
        check(answer is None or isinstance(answer, str), f"answer is {answer!r}; send text, or nothing.")
        asked = self.predictor.ask(self.encoded(photo), question, method, answer or None)
        return cast(Explained, reply_json(*asked, self.predictor.facts, self.printed(photo, asked[0])))

    @tell_errors_between
    def write(  # type: ignore[misc]  # gradio documents what is yielded
        self, photo: UploadedPhoto | str, question: str, prompt: str | None = None
    ) -> Written:
        """Answer a question at any length: the text comes word by word, at last with its maps and evidence.

        Args:
            photo: as for answer
            question: in English, at most 300 characters
            prompt: what the model is asked, with {image} and {question}; by default its own, for a short answer

        Returns:
            several objects, one after the other, each with "text", the answer as far as it is written
            "explained", null but in the last: what explain gives, "words" being those of the question and the answer
        """
        check(isinstance(question, str), f"question is {question!r}; send text.")
        check(prompt is None or isinstance(prompt, str), f"prompt is {prompt!r}; send text, or nothing.")
        picture = self.opened(photo)
        opened = asking.OpenedPhoto("", picture, self.predictor.encode(picture))
        image = asking.with_prompt(opened, prompt or None).encoded
        for part in self.predictor.write(image, question):
            if isinstance(part, str):
                yield {"text": part, "explained": None}
            else:
                prediction, explanation, evidence = self.predictor.ask(image, question, prediction=part)
        explained = reply_json(prediction, explanation, evidence, self.predictor.facts)
        yield {"text": prediction.answers[0].text, "explained": explained}

    @tell_errors
    def describe(self, photo: UploadedPhoto | str, beams: int = 3) -> Described:
        """Describe a photo in an English sentence, with the place in the photo where each word was read.

        Args:
            photo: as for answer
            beams: descriptions followed side by side, 1 to 10; 1 is quickest

        Returns:
            an object with "description", a sentence, and "others", further ones that the search found
            "words", a list of {"word", "probability" in 0..1 after the words before it, "support", "verdict"}
            "word_maps" [words][rows][columns], each sums to 1; "grid" [rows, columns]
        """
        if self.captioner is None:
            raise InputError("This server has no model that describes photos.")
        return cast(Described, description_json(self.captioner.describe(self.opened(photo), beams)))

    @tell_errors
    def examples(self) -> list[PackagedExample]:
        """The packaged example photos, each with questions about it; a photo can be sent to answer and explain.

        Returns:
            a list of {"title", "photo", "questions", "known_wrong": {"question", "expected"} or null}
        """
        return [
            {
                "title": example.title,
                "photo": {"path": str(example.path), "meta": {"_type": "gradio.FileData"}},
                "questions": list(example.questions),
                "known_wrong": KnownWrong(question=example.known_wrong[0], expected=example.known_wrong[1])
                if example.known_wrong
                else None,
            }
            for example in self.packaged
        ]


class FindEndpoint:
    """The endpoint of a server with a collection of photos."""

    def __init__(self, collection: Collection):
        self.collection = collection

    @tell_errors
    def find(self, words: str, top: int = 10) -> list[FoundPhoto]:
        """Find photos of this server's collection by words.

        Args:
            words: what the photo shows, in English, at most 300 characters
            top: how many photos, 1 to 100

        Returns:
            a list of {"photo", its name; "score", higher is better; "found_share" in 0..1 or null}, the best first
        """
        check(isinstance(words, str), f"words is {words!r}; send text.")
        check(type(top) is int and 1 <= top <= MAX_FOUND_BY_API, f"top is {top!r}; allowed: 1 to {MAX_FOUND_BY_API}.")
        found = self.collection.by_words(words, top).found
        return [{"photo": one.name, "score": one.score, "found_share": one.found_share} for one in found]
