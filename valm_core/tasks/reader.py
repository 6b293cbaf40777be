"""Reader: a document and a question in, the words of the answer out, with their places and what spoke for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image

from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import load_task_checkpoint
from valm_core.devices import choose_device
from valm_core.evidence.rules import (
    MIN_PROBABILITY,
    hidden_variants,
    is_flat,
    log_falls,
    split_variants,
    support,
    verdict,
)
from valm_core.inputs.ocr import read_lines
from valm_core.inputs.page import Line, Page, page_of_lines
from valm_core.inputs.pdf import is_pdf, open_pdf_page
from valm_core.inputs.photo import open_photo
from valm_core.inputs.question import clean_question
from valm_core.model.tasks.page_encoding import EncodedPage, encode_page, pad_pages
from valm_core.model.tasks.reader import ReadModel, span_scores
from valm_core.outputs import InputError, Photo

VARIANTS_AT_ONCE = 32


@dataclass(frozen=True)
class ReadPage:
    """A page ready for questions: its ``page`` of words, what the encoder says of them, and its picture, if any.

    The picture is upright, as it was read. ``number`` is the page's own, ``pages`` how many the document has.
    """

    page: Page
    encoded: EncodedPage
    picture: Image.Image | None
    number: int = 1
    pages: int = 1


@dataclass(frozen=True)
class PageAnswer:
    """What a page answers.

    ``text`` are its words ``first`` to before ``end``, as they stand there; ``boxes`` [R, 4] the places (x0, y0, x1,
    y1) in 0..1, one a line. ``probability`` is 0..1, that of all places where the text stands; after no temperature, so
    it is as sure as it sounds only on pages like those learned from. ``line_scores`` [L] say by how much its logarithm
    falls as each other line of the page is hidden (0 for the answer's own lines, and where it rises); ``support`` and
    ``verdict`` are what they are worth, see ``evidence.rules``. ``others`` are the next likeliest answers with their
    probabilities.
    """

    question: str
    text: str
    first: int
    end: int
    boxes: np.ndarray
    probability: float
    line_scores: np.ndarray
    support: float
    verdict: str
    others: tuple[tuple[str, float], ...]


class Reader:
    """Reads documents; safe to share between threads.

    Args:
        model: a trained reader; it is moved to ``device`` and put in evaluation mode.
        device: where to compute; arrays lie on the CPU.
    """

    def __init__(self, model: ReadModel, device: torch.device):
        self.model = model.to(device).eval()
        self.device = device

    @classmethod
    def from_checkpoint(cls, name: str | Path, device: str = "auto") -> "Reader":
        """Load a checkpoint: its folder, or ``user/model`` on the Hugging Face hub.

        Raises:
            FileNotFoundError, ValueError: see ``load_checkpoint`` and ``choose_device``.
        """
        return cls(cast(ReadModel, load_task_checkpoint(fetch_checkpoint(name), "read")), choose_device(device))

    def open(self, document: Photo, page: int = 1, lines: Sequence[Line] | None = None) -> ReadPage:
        """Read a page once, for any number of questions.

        Args:
            document: a photo, scan or PDF: file, content or opened picture.
            page: of a PDF, from 1; a picture has one.
            lines: its lines of text, where they are known; without them OCR finds them.

        Raises:
            InputError: it can't be read, has no words, or no such page.
        """
        count = 1
        if is_pdf(document):
            picture, count = open_pdf_page(cast(str | Path | bytes, document), page)
        else:
            picture = open_photo(document)
            if page != 1:
                raise InputError("There is no page {page} in a picture; it has 1.", page=page)
        if lines is None:
            lines, turn = read_lines(picture)
            picture = picture.rotate(turn, expand=True) if turn else picture  # as the places of its words are
        words = page_of_lines(lines)
        return ReadPage(words, encode_page(self.model, words), picture, page, count)

    def open_lines(self, lines: Sequence[Line]) -> ReadPage:
        """A page of which only the lines are known. Errors as of ``page_of_lines``."""
        words = page_of_lines(lines)
        return ReadPage(words, encode_page(self.model, words), None)

    @torch.no_grad()
    def ask(self, page: ReadPage, question: str, top: int = 3, explain: bool = True) -> PageAnswer:
        """Answer a question with words of the page.

        Args:
            page: from ``open``.
            question: in English.
            top: how many answers, the others included, at least 1.
            explain: compute what the answer rests on, too; without it line scores are 0 and there is no verdict.

        Raises:
            InputError: the question can't be used.
        """
        question = clean_question(question)
        vector = self.model.encode_questions([question])
        likely = self._likely(page, vector, None)[0]  # [W, W]
        answers = self._answers(page.page, likely, top)
        first, end, text, probability = answers[0]
        scores, moved, said = np.zeros(page.page.line_count, dtype=np.float32), 0.0, ""
        if explain:
            scores, moved, said = self._evidence(page, vector, first, end, likely[first, end - 1].exp().item())
        return PageAnswer(
            question=question,
            text=text,
            first=first,
            end=end,
            boxes=boxes_of(page.page, first, end),
            probability=probability,
            line_scores=scores,
            support=moved,
            verdict=said,
            others=tuple((text, value) for _, _, text, value in answers[1:]),
        )

    @staticmethod
    def _answers(page: Page, likely: torch.Tensor, top: int) -> list[tuple[int, int, str, float]]:
        """The likeliest answers (first word, word behind the last, text, probability), the likeliest first.

        Args:
            page: its words.
            likely: log-probability [W, W] of each span.
            top: how many at most. The same text at several places is one answer, as likely as those places together;
                its words are those of the likeliest place.
        """
        spans: list[tuple[int, int]] = []
        found: dict[str, tuple[int, int, str, float]] = {}
        values, places = likely.flatten().sort(descending=True)
        for value, place in zip(values.exp().tolist(), places.tolist(), strict=True):
            first, last = divmod(place, len(likely))
            if found and value < MIN_PROBABILITY:
                break
            if any(last >= one and first < end for one, end in spans):  # the same words, cut otherwise
                continue
            text = page.text(first, last + 1)
            key = text.casefold()
            if len(found) == top and key not in found:
                break
            spans.append((first, last + 1))
            begin, end, shown, before = found.get(key, (first, last + 1, text, 0.0))
            found[key] = begin, end, shown, before + value
        return sorted(found.values(), key=lambda one: -one[3])

    def _evidence(
        self, page: ReadPage, vector: torch.Tensor, first: int, end: int, probability: float
    ) -> tuple[np.ndarray, float, str]:
        """Line scores, support and verdict of an answer: other lines are hidden one by one, then by these scores."""
        lines, count = page.page.lines, page.page.line_count
        others = np.setdiff1d(np.arange(count), lines[first:end])
        scores = np.zeros(count, dtype=np.float32)
        if len(others) < 2:
            return scores, 0.0, "cannot tell"

        def probability_without(hidden: np.ndarray) -> np.ndarray:
            """The answer's probability [F] without the other lines hidden [F, len(others)]."""
            gone = np.zeros((len(hidden), count), dtype=bool)
            gone[:, others] = hidden
            values = []
            for start in range(0, len(gone), VARIANTS_AT_ONCE):
                likely = self._likely(page, vector, gone[start : start + VARIANTS_AT_ONCE][:, lines])
                values.append(likely[:, first, end - 1].exp().float().cpu().numpy())
            return np.concatenate(values)

        scores[others] = log_falls(probability, probability_without(np.eye(len(others), dtype=bool)))
        if is_flat(scores[others]):
            return scores, 0.0, "cannot tell"
        hidden = hidden_variants(len(others), (first, end), [scores[others]])
        whole, (hottest,), random = split_variants(probability_without(hidden))
        return scores, support(hottest, random), verdict(whole, hottest, random)

    def _likely(self, page: ReadPage, vector: torch.Tensor, hidden: np.ndarray | None) -> torch.Tensor:
        """The log-probability [F, W, W] of each span, of the whole page (F = 1) or without the words hidden [F, W]."""
        inputs = pad_pages([page.encoded])
        count = 1 if hidden is None else len(hidden)
        inputs = {name: value.expand(count, *value.shape[1:]).to(self.device) for name, value in inputs.items()}
        if hidden is not None:
            inputs["mask"] = inputs["mask"] & ~torch.from_numpy(hidden).to(self.device)
        return span_scores(self.model(**inputs, questions=vector.expand(count, -1)))


def boxes_of(page: Page, first: int, end: int) -> np.ndarray:
    """The places [R, 4] of some words of a page, those of a line in one box."""
    lines = page.lines[first:end]
    boxes = [page.boxes[first:end][lines == line] for line in dict.fromkeys(lines.tolist())]
    return np.stack([np.concatenate([box[:, :2].min(axis=0), box[:, 2:].max(axis=0)]) for box in boxes])
