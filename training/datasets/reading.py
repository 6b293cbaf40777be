"""Pages with their questions as training examples: encoded once, their places moved a little in every batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from training.datasets.readers.documents import DocumentQuestion
from valm_core.inputs.ocr import read_lines
from valm_core.inputs.page import Page, page_of_lines, plain, spans_with_text
from valm_core.model.tasks.page_encoding import EncodedPage, encode_page, pad_pages
from valm_core.model.tasks.reader import ReadModel
from valm_core.outputs import InputError

SHIFT, STRETCH, TILT = 0.03, 0.06, 0.04  # how far places move, at most: shares of the page, and radians
DROPPED = 0.03  # the share of words, no part of an answer, that a batch leaves out, as OCR does


@dataclass(frozen=True)
class AskedPage:
    """A page with its questions; ``page`` and ``encoded`` are None where no word was found on it."""

    page: Page | None
    encoded: EncodedPage | None
    rows: tuple[DocumentQuestion, ...]


def asked_pages(rows: Sequence[DocumentQuestion], model: ReadModel) -> list[AskedPage]:
    """The pages of the rows, each once, read by OCR where their words aren't given, and encoded."""
    by_page: dict[object, list[DocumentQuestion]] = {}
    for row in rows:
        by_page.setdefault(row.lines if row.image is None else (row.image, row.lines is None), []).append(row)
    pages = []
    for own in tqdm(by_page.values(), desc="reading pages", unit="page", leave=False):
        first = own[0]
        try:
            lines = read_lines(first.image)[0] if first.lines is None and first.image else first.lines or ()
            page = page_of_lines(lines)
        except InputError:  # nothing to be read there: whatever is asked, no answer is found
            pages.append(AskedPage(None, None, tuple(own)))
            continue
        pages.append(AskedPage(page, encode_page(model, page), tuple(own)))
    return pages


class AskedPages:
    """Pages for ``BucketedBatches``; ``collate`` turns a list of them into arguments of ``ReadObjective.forward``.

    Args:
        pages: with their questions; a question whose answer stands nowhere on its page is left out.
        model: encodes the questions; none of its weights are kept.
    """

    def __init__(self, pages: Sequence[AskedPage], model: ReadModel):
        texts = sorted({row.question for page in pages for row in page.rows})
        with torch.no_grad():
            vectors = model.encode_questions(texts).cpu()
        self.vectors = dict(zip(texts, vectors, strict=True))
        self.pages: list[tuple[EncodedPage, list[tuple[str, list[tuple[int, int]]]]]] = []
        for asked in pages:
            if asked.page is None or asked.encoded is None:
                continue
            found = [(row.question, right_spans(asked.page, row)) for row in asked.rows]
            if found := [(question, spans) for question, spans in found if spans]:
                self.pages.append((asked.encoded, found))
        self.lengths = [len(encoded.text) for encoded, _ in self.pages]
        self.questions = sum(len(found) for _, found in self.pages)

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, index: int) -> int:
        return index  # everything happens in collate, for the whole batch at once

    def collate(self, indices: list[int]) -> dict[str, Tensor]:
        """Indices -> the pages, their questions, and where the answers begin and end."""
        chosen = [self.pages[index] for index in indices]
        inputs = pad_pages([encoded for encoded, _ in chosen])
        asked = [(place, question, spans) for place, (_, own) in enumerate(chosen) for question, spans in own]
        right = torch.zeros(len(asked), 2, inputs["mask"].shape[1], dtype=torch.bool)
        needed = torch.zeros_like(inputs["mask"])
        for row, (place, _, spans) in enumerate(asked):
            for first, end in spans:
                right[row, 0, first] = right[row, 1, end - 1] = True
                needed[place, first:end] = True
        inputs["boxes"] = moved_boxes(inputs["boxes"])
        inputs["mask"] &= needed | (torch.rand(needed.shape) >= DROPPED)
        inputs["questions"] = torch.stack([self.vectors[question] for _, question, _ in asked])
        inputs["page_index"] = torch.tensor([place for place, _, _ in asked])
        return inputs | {"right": right}


def right_spans(page: Page, row: DocumentQuestion) -> list[tuple[int, int]]:
    """Where a row's answers stand on its page; words of one line alone where they do, for a total or a date."""
    return sorted({span for answer in row.answers if plain(answer) for span in spans_with_text(page, answer)})


def moved_boxes(boxes: Tensor) -> Tensor:
    """Boxes [P, W, 4] of pages as other scans would have them: shifted, stretched and turned a little, by page."""
    pages = len(boxes)
    shift = SHIFT * (2 * torch.rand(pages, 1, 2) - 1)
    stretch = 1 + STRETCH * (2 * torch.rand(pages, 1, 2) - 1)
    tilt = TILT * (2 * torch.rand(pages, 1) - 1)
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2 - 0.5  # [P, W, 2]
    turned = torch.stack([middle[..., 0] - tilt * middle[..., 1], middle[..., 1] + tilt * middle[..., 0]], dim=-1)
    move = turned * stretch + shift - middle
    return boxes + torch.cat([move, move], dim=-1)
