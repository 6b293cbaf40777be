"""The endpoints of the page More: tag, relate, judge, feel, read, each where the server has a model for it."""

from typing import Any, cast

from demo.downloads.task_json import labelled_json, page_answer_json, tagged_json
from demo.more.models import MoreModels
from demo.server.replies import LabelledText, PageRead, TaggedText, UploadedPhoto
from demo.server.telling import check, tell_errors
from demo.visit.uploads import photo_content
from valm_core.inputs.pdf import MAX_PAGES
from valm_core.inputs.question import MAX_QUESTION_CHARACTERS
from valm_core.tasks.labeller import MAX_TEXT_CHARACTERS
from valm_core.tasks.tagger import MAX_CHARACTERS

_FILE = {"path": "/tmp/gradio/…/receipt.jpg", "meta": {"_type": "gradio.FileData"}}  # noqa: S108
_LIMITS = "an upload (handle_file, or the path from POST /gradio_api/upload), or data:…;base64,… text; at most 20 MB"


def _text(description: str, example: str, most: int = MAX_TEXT_CHARACTERS) -> dict[str, Any]:
    return {
        "description": f"{description}, at most {most} characters",
        "minLength": 1,
        "maxLength": most,
        "examples": [example],
    }


# As ``api.PARAMETERS``.
TASK_PARAMETERS: dict[str, dict[str, dict[str, Any]]] = {
    "tag": {"text": _text("an English sentence", "Angela Merkel visited the U.N. in New York.", MAX_CHARACTERS)},
    "relate": {
        "text": _text(
            "an English text with two parts in brackets", "[Bill Cosby] 's star on the [Hollywood Walk of Fame]"
        )
    },
    "judge": {
        "photo": {"description": f"{_LIMITS} and 32 megapixels (JPEG: 64)", "examples": [_FILE]},
        "text": _text("a statement about the photo, in English", "Two people are outdoors."),
    },
    "feel": {
        "text": _text("a short English text", "What a lovely evening with friends!"),
        "photo": {"description": f"{_LIMITS} and 32 megapixels (JPEG: 64); or null", "examples": [None]},
    },
    "read": {
        "document": {"description": f"a photo or PDF: {_LIMITS}", "examples": [_FILE]},
        "question": {
            "description": f"in English, at most {MAX_QUESTION_CHARACTERS} characters",
            "minLength": 1,
            "maxLength": MAX_QUESTION_CHARACTERS,
            "examples": ["What is the total on the receipt?"],
        },
        "page": {
            "description": f"of a PDF, from 1, at most {MAX_PAGES}",
            "minimum": 1,
            "maximum": MAX_PAGES,
            "examples": [1],
        },
    },
}


class TaskEndpoints:
    """The endpoints; their docstrings, names and types are the API's documentation."""

    def __init__(self, models: MoreModels):
        self.models = models

    @tell_errors
    def tag(self, text: str) -> TaggedText:
        """Mark the people, places, organisations and other names of a sentence.

        Args:
            text: an English sentence, at most 2000 characters and 120 words

        Returns:
            an object with "words", their "labels" (O, B-X, I-X) and "probabilities" in 0..1
            "spans", a list of {"first", "end" (words, the end not included), "type", "text", "probability"
            "without_itself", the probability by the other words alone; "word_scores", how much each word spoke for it
            "support", "verdict"; "map" and "photo_verdict", null without a photo}
        """
        _check_text(text)
        return cast(TaggedText, tagged_json(self.models.tag(text)))

    @tell_errors
    def relate(self, text: str) -> LabelledText:
        """Say how two marked parts of a text are related.

        Args:
            text: an English text with two parts in brackets, at most 1000 characters

        Returns:
            an object with "labels", a list of {"label", "probability" in 0..1}, the likeliest first
            "words", a list of {"text", "effect", how it speaks for the first label in log-odds, "verdict"}
            "marked", [first word, end] of the marked parts
            "without_photo", labels without the photo, "map" [rows][columns] of the photo, which sums to 1, and
            "places_verdict" {"support", "verdict"}: null where there is no photo
        """
        return self._label("relate", text)

    @tell_errors
    def judge(self, photo: UploadedPhoto | str, text: str) -> LabelledText:
        """Say whether a photo supports a statement, contradicts it, or leaves it open.

        Args:
            photo: an upload (handle_file, or the path from POST /gradio_api/upload) or data:image/jpeg;base64,... text
            text: a statement about the photo, in English, at most 1000 characters

        Returns:
            what relate gives
        """
        return self._label("judge", text, photo)

    @tell_errors
    def feel(self, text: str, photo: UploadedPhoto | str | None = None) -> LabelledText:
        """Say whether a short text, with its photo if it has one, sounds positive, neutral or negative.

        Args:
            text: in English, at most 1000 characters
            photo: as for judge, or nothing

        Returns:
            what relate gives
        """
        return self._label("feel", text, photo)

    @tell_errors
    def read(self, document: UploadedPhoto | str, question: str, page: int = 1) -> PageRead:
        """Read a receipt or another printed page, and find the answer to a question among its words.

        Args:
            document: a photo or PDF, sent as a photo is
            question: in English, at most 300 characters
            page: of a PDF, from 1

        Returns:
            an object with "question", "answer", as it stands on the page, and its "probability" in 0..1
            "words" [first, end] of the answer, and "boxes" [lines][left, top, right, bottom], in 0..1 of the page
            as it stands upright; "line_scores", how much each line of the page spoke for it
            "others", a list of {"answer", "probability"}
            "support", "verdict" of the lines; "page" {"number", "pages", "words", "boxes", "lines"}
        """
        check(isinstance(question, str), f"question is {question!r}; send text.")
        check(type(page) is int and 1 <= page <= MAX_PAGES, f"page is {page!r}; allowed: 1 to {MAX_PAGES}.")
        return cast(PageRead, page_answer_json(*self.models.read(photo_content(cast(dict, document)), question, page)))

    def _label(self, task: str, text: str, photo: UploadedPhoto | str | None = None) -> LabelledText:
        _check_text(text)
        content = None if photo is None else photo_content(cast(dict, photo))
        return cast(LabelledText, labelled_json(self.models.label(task, text, content)))


def _check_text(text: object) -> None:
    check(isinstance(text, str), f"text is {text!r}; send text.")
