"""A photo of a printed page: where the first model finds it unfamiliar, a second one reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from demo.visit.asking import message_for
from valm_core.outputs import InputError, Photo, Prediction

if TYPE_CHECKING:  # for real it would load torch
    from demo.visit.asking import Reply
    from valm_core.tasks.reader import PageAnswer, ReadPage

MIN_WORDS = 12  # fewer, and it is a photo with some letters on it
NO_OCR = (
    "If this is a page of printed text: a second model could read it, but no OCR is installed here. "
    "To install it: .venv/bin/pip install -e '.[read]'"
)
QUESTIONS = (  # that the reading model learned
    "What is the total on the receipt?",
    "What is the date on the receipt?",
    "What is the name of the company on the receipt?",
    "What is the address on the receipt?",
)


class PageReader(Protocol):
    """What reads pages; loaded when it is first asked."""

    def open_page(self, document: Photo, number: int = 1) -> ReadPage:
        """The words of a page."""

    def ask_page(self, page: ReadPage, question: str) -> PageAnswer:
        """What a page answers."""


@dataclass(frozen=True, eq=False)
class Printed:
    """What became of reading a photo: its ``page``, None where it is none, and the ``answer`` to a question.

    ``message`` says why it could not be read, "" for no text on it.
    """

    page: ReadPage | None = None
    answer: PageAnswer | None = None
    message: str = ""


def wants_reading(prediction: Prediction) -> bool:
    """Whether a photo may be a page: pages of text are unfamiliar to the model that answers, hardly any photo is."""
    return "photo" in prediction.unfamiliar


def read_printed(reader: PageReader, document: Photo, question: str, known: Printed | None = None) -> Printed:
    """Read a photo, whatever it is, and answer a question from its words.

    Args:
        reader: the second model.
        document: the photo.
        question: in English.
        known: what became of reading the photo before, for another question.
    """
    from valm_core.inputs.ocr import OcrMissing

    if known is not None and known.answer is None:
        return known
    try:
        page = known.page if known and known.page else reader.open_page(document)
        if len(page.page.words) < MIN_WORDS:
            return Printed()
        return Printed(page, reader.ask_page(page, question))
    except OcrMissing:
        return Printed(message=NO_OCR)
    except InputError:  # no words, or too many
        return Printed()
    except Exception as error:
        return Printed(message=message_for(error))


def known_page(replies: Iterable[Reply]) -> Printed | None:
    """What became of reading a photo, from earlier replies about it."""
    return next((reply.read for reply in replies if reply.read is not None and not reply.read.message), None)


def with_read(reply: Reply, read: Printed) -> Reply:
    """The reply with what became of reading its photo."""
    return dataclasses.replace(reply, read=read)
