"""Pages as the arguments of ReadModel: what the text encoder says of each line's words, how and where they stand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from valm_core.inputs.page import Page
from valm_core.inputs.word_windows import sentence_pieces, window_tensors
from valm_core.model.tasks.reader import ReadModel

LINES_AT_ONCE = 64


@dataclass(frozen=True)
class EncodedPage:
    """A page's W words on the CPU: ``text`` [W, D_text], ``letters`` [W, C], ``shapes`` [W, F], ``boxes`` [W, 4]."""

    text: Tensor
    letters: Tensor
    shapes: Tensor
    boxes: Tensor


@torch.no_grad()
def encode_page(model: ReadModel, page: Page) -> EncodedPage:
    """Run the text encoder over a page, each line alone, so that a line that is hidden later has left no trace."""
    most = model.tokenizer.max_tokens
    parts = [part for line in page.words_of_lines() for part in sentence_pieces(model.tokenizer, line, most)]
    order = sorted(range(len(parts)), key=lambda place: len(parts[place].pieces))  # little padding
    found: dict[int, Tensor] = {}
    for first in range(0, len(order), LINES_AT_ONCE):
        chosen = order[first : first + LINES_AT_ONCE]
        inputs = window_tensors([[parts[place]] for place in chosen], model.tokenizer)
        names = ("token_ids", "text_mask", "word_index", "word_mask")
        words = model.encode_words(*(inputs[name].to(model.device) for name in names)).float().cpu()
        found |= dict(zip(chosen, words.split([parts[place].count for place in chosen]), strict=True))
    text = torch.cat([found[place] for place in range(len(parts))])
    letters = torch.from_numpy(np.concatenate([part.letters for part in parts]))
    shapes = torch.from_numpy(np.concatenate([part.shapes for part in parts]))
    return EncodedPage(text, letters, shapes, torch.from_numpy(page.boxes))


def pad_pages(pages: Sequence[EncodedPage]) -> dict[str, Tensor]:
    """Pages as ``text``, ``letters``, ``shapes``, ``boxes`` [P, W, ...] and ``mask`` [P, W], padded to the longest."""
    longest = max(len(page.text) for page in pages)
    tensors = {}
    for name in ("text", "letters", "shapes", "boxes"):
        rows = [getattr(page, name) for page in pages]
        padded = rows[0].new_zeros(len(pages), longest, rows[0].shape[1])
        for place, row in enumerate(rows):
            padded[place, : len(row)] = row
        tensors[name] = padded.float() if padded.is_floating_point() else padded
    tensors["mask"] = torch.arange(longest) < torch.tensor([len(page.text) for page in pages])[:, None]
    return tensors
