"""Tagger: a sentence in, a label for each word out, and for every span which words and cells spoke for it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import load_task_checkpoint
from valm_core.devices import choose_device
from valm_core.evidence.rules import hidden_variants, is_flat, log_falls, split_variants, support, verdict
from valm_core.inputs.photo import open_photo
from valm_core.inputs.text import clean_text, clean_word
from valm_core.inputs.word_windows import sentence_pieces, window_tensors
from valm_core.model.tasks.span_labels import spans_of
from valm_core.model.tasks.tagger import TagModel
from valm_core.outputs import InputError, Photo

MAX_CHARACTERS = 2000
MAX_WORDS = 120  # of a sentence: each is hidden once for every explanation
VARIANTS_AT_ONCE = 64
# Addresses, names and tags as they are; numbers and words with their inner marks; abbreviations; else one mark alone.
WORDS = re.compile(
    r"https?://\S+|[@#]\w+|(?:[A-Za-z]\.){2,}|'s\b|n't\b|\d+(?:[.,:/-]\d+)*|\w+(?:[-&]\w+)*(?:'(?!s\b)\w+)?|[^\w\s]"
)


@dataclass(frozen=True)
class TaggedSpan:
    """Words ``first`` to before ``end`` that are one thing of one type.

    ``probability`` is the least of its labels', 0..1; ``without_itself`` the same while its own words are hidden, so
    what the others alone say. ``word_scores`` [W] say by how much the logarithm of the probability falls as each word
    of the sentence is hidden (0 where it rises); ``support`` and ``verdict`` are what they are worth, see
    ``evidence.rules``: words hidden by these scores against as many hidden at random. With a photo, ``cell_map``
    [rows, columns] has what hiding each part of the photo costs, with its own ``photo_verdict``.
    """

    first: int
    end: int
    type: str
    text: str
    probability: float
    without_itself: float
    word_scores: np.ndarray
    support: float
    verdict: str
    cell_map: np.ndarray | None = None
    photo_verdict: str = ""


@dataclass(frozen=True)
class Tagged:
    """A sentence's W ``words`` with their ``labels`` in BIO form, each label's probability, and the spans they mark."""

    words: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    spans: tuple[TaggedSpan, ...]


class Tagger:
    """Labels words; safe to share between threads.

    Args:
        model: a trained tagger; it is moved to ``device`` and put in evaluation mode.
        device: where to compute; arrays lie on the CPU.
    """

    def __init__(self, model: TagModel, device: torch.device):
        self.model = model.to(device).eval()
        self.device = device

    @classmethod
    def from_checkpoint(cls, name: str | Path, device: str = "auto") -> "Tagger":
        """Load a checkpoint: its folder, or ``user/model`` on the Hugging Face hub.

        Raises:
            FileNotFoundError, ValueError: see ``load_checkpoint`` and ``choose_device``.
        """
        return cls(cast(TagModel, load_task_checkpoint(fetch_checkpoint(name), "tag")), choose_device(device))

    @torch.no_grad()
    def tag(self, text: str | Sequence[str], photo: Photo | None = None, explain: bool = True) -> Tagged:
        """Label the words of a sentence.

        Args:
            text: a sentence, which is split into words; or its words.
            photo: file, content or opened picture beside it, for a model that sees photos.
            explain: compute what each span rests on, too; without it their scores are 0 and they have no verdict.

        Raises:
            InputError: there is no word, there are too many, or the photo can't be used or the model sees none.
        """
        words = _checked_words(text)
        if photo is not None and not self.model.sees_photos:
            raise InputError("This model reads texts alone. Leave the photo out.")
        cells = None
        if photo is not None:
            pixels = self.model.pixels(open_photo(photo))
            cells = self.model.cells(pixels[None].to(self.device))  # [1, N, D_image]
        logits, mask = self._logits(words, np.zeros((1, len(words)), dtype=bool), cells)
        best = self.model.chain.best(logits, mask)[0]
        likely = self.model.chain.marginals(logits, mask)[0]  # [W, K]
        labels = tuple(self.model.answers[label] for label in best.tolist())
        probabilities = likely.gather(1, best[:, None]).squeeze(1).tolist()
        spans = tuple(
            self._explained(words, best, (first, end, name), float(min(probabilities[first:end])), cells, explain)
            for first, end, name in spans_of(labels)
        )
        return Tagged(words, labels, tuple(probabilities), spans)

    def _explained(
        self,
        words: tuple[str, ...],
        labels: Tensor,
        span: tuple[int, int, str],
        probability: float,
        cells: Tensor | None,
        explain: bool,
    ) -> TaggedSpan:
        first, end, name = span
        text, count = " ".join(words[first:end]), len(words)
        if not explain:
            return TaggedSpan(first, end, name, text, probability, 0.0, np.zeros(count), 0.0, "")
        alone = np.eye(count, dtype=bool)
        own = np.zeros((1, count), dtype=bool)
        own[0, first:end] = True
        probabilities = self._span_probabilities(words, labels, span, np.concatenate([own, alone]), cells)
        scores = log_falls(probability, probabilities[1:])
        moved, said = 0.0, "cannot tell"
        if count > 1 and not is_flat(scores):
            hidden = hidden_variants(count, labels.tolist(), [scores])
            whole, (hottest,), random = split_variants(self._span_probabilities(words, labels, span, hidden, cells))
            moved, said = support(hottest, random), verdict(whole, hottest, random)
        cell_map, photo_said = None, ""
        if cells is not None:
            cell_map, photo_said = self._photo_evidence(words, labels, span, probability, cells)
        parts = (first, end, name, text, probability, float(probabilities[0]), scores, moved, said)
        return TaggedSpan(*parts, cell_map=cell_map, photo_verdict=photo_said)

    def _photo_evidence(
        self, words: tuple[str, ...], labels: Tensor, span: tuple[int, int, str], probability: float, cells: Tensor
    ) -> tuple[np.ndarray, str]:
        """What hiding each cell and its neighbours costs a span [rows, columns], and whether the test bears it out."""
        rows, columns = self.model.grid
        row, column = (axis.ravel() for axis in np.indices((rows, columns)))
        near = np.maximum(abs(row[:, None] - row), abs(column[:, None] - column)) <= 1  # [N, N]
        variants = _without(cells, near, self.model.mean_image_token)
        heat = log_falls(probability, self._span_probabilities(words, labels, span, None, variants))
        if is_flat(heat):
            return heat.reshape(rows, columns), "cannot tell"
        hidden = hidden_variants(rows * columns, labels.tolist(), [heat])
        variants = _without(cells, hidden, self.model.mean_image_token)
        whole, (hottest,), random = split_variants(self._span_probabilities(words, labels, span, None, variants))
        return heat.reshape(rows, columns), verdict(whole, hottest, random)

    def _span_probabilities(
        self,
        words: tuple[str, ...],
        labels: Tensor,
        span: tuple[int, int, str],
        hidden: np.ndarray | None,
        cells: Tensor | None,
    ) -> np.ndarray:
        """The least probability [F] of a span's labels in variants: with words ``hidden`` [F, W], or of F photos."""
        first, end, _ = span
        count = len(hidden) if hidden is not None else len(cast(Tensor, cells))
        probabilities = []
        for start in range(0, count, VARIANTS_AT_ONCE):
            part = slice(start, start + VARIANTS_AT_ONCE)
            now = np.zeros((len(range(count)[part]), len(words)), dtype=bool) if hidden is None else hidden[part]
            photos = cells[part] if cells is not None and hidden is None else cells
            likely = self.model.chain.marginals(*self._logits(words, now, photos))  # [F, W, K]
            own = likely[:, torch.arange(first, end), labels[first:end]]  # [F, span]
            probabilities.append(own.amin(dim=1).float().cpu().numpy())
        return np.concatenate(probabilities)

    def _logits(self, words: tuple[str, ...], hidden: np.ndarray, cells: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits and mask [F, W, K] and [F, W] of a sentence's variants, with the words hidden [F, W].

        A hidden word's pieces are masks, and nothing is known of how it is written. ``cells`` [1 or F, N, D_image] are
        of the photo beside all of them, or beside each.
        """
        most = self.model.config.max_question_tokens
        parts = sentence_pieces(self.model.tokenizer, words, most)
        inputs = window_tensors([[part] for part in parts] * len(hidden), self.model.tokenizer)
        flat = torch.from_numpy(hidden).flatten()  # of F times W words, as they lie in all parts
        of_piece = inputs["word_index"]  # in the padded order; brought to that of the words
        order = torch.zeros(inputs["word_mask"].numel() + 1, dtype=torch.bool)
        order[1 + inputs["word_mask"].flatten().nonzero().squeeze(1)] = flat
        inputs["token_ids"][order[of_piece]] = self.model.tokenizer.tokenizer.mask_token_id
        inputs["letters"][flat] = 0
        inputs["shapes"][flat] = 0.0
        if cells is not None:
            inputs["image_tokens"] = cells
            photos = torch.arange(len(cells)) if len(cells) > 1 else torch.zeros(len(hidden), dtype=torch.long)
            inputs["photo_index"] = photos.repeat_interleave(len(parts))
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        logits, mask = self.model(**inputs).logits, inputs["word_mask"]
        logits = logits[mask].unflatten(0, (len(hidden), len(words)))  # parts of a long sentence in a row again
        return logits, mask.new_ones(logits.shape[:2])


def split_words(text: str) -> tuple[str, ...]:
    """A sentence's words as the training data has them: marks stand alone, and so does a 's."""
    return tuple(WORDS.findall(text))


def _checked_words(text: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(text, str):
        if len(text) > MAX_CHARACTERS:
            raise InputError(
                "The text is too long: {length} characters, at most {allowed}. Shorten it.",
                length=len(text),
                allowed=MAX_CHARACTERS,
            )
        words = split_words(clean_text(text))
    else:
        words = tuple(map(clean_word, text))
    if not any(letter.isalnum() for word in words for letter in word):
        raise InputError("The text is empty. Write some words.")
    if len(words) > MAX_WORDS:
        raise InputError(
            "The text has {count} words, at most {allowed} words. Give one sentence.",
            count=len(words),
            allowed=MAX_WORDS,
        )
    return words


def _without(cells: Tensor, hidden: np.ndarray, average: Tensor) -> Tensor:
    """A photo's cells [1, N, D] with the average token in place of those hidden [F, N]: [F, N, D]."""
    gone = torch.from_numpy(hidden).to(cells.device)[..., None]
    return torch.where(gone, average.to(cells), cells)
