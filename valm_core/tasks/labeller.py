"""Labeller: texts and photos in, labels with probabilities out, and which words and places spoke for them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from valm_core.answers import differ
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import load_task_checkpoint
from valm_core.devices import choose_device
from valm_core.evidence.rules import hidden_variants, is_flat, log_odds, split_variants, support, verdict
from valm_core.inputs.marked_text import Span, marked_text, span_masks
from valm_core.inputs.photo import open_photo
from valm_core.inputs.text import clean_text
from valm_core.model.encoders.folding import ready_for_inference
from valm_core.model.tasks.classifier import Classifier
from valm_core.outputs import Answer, Explanation, InputError, Photo, in_shares

LABEL_TASKS = ("relate", "judge", "feel")
PHOTO_TASKS = ("judge",)  # that mean nothing without a photo
MAX_TEXT_CHARACTERS = 1000
VARIANTS = 64  # computed at once
TWO_PARTS = re.compile(r"([^\[\]]*\[[^\[\]]*\]){2}[^\[\]]*", re.DOTALL)
METHOD = "label_evidence"  # how maps and scores are made


@dataclass(frozen=True)
class Judged:
    """What hiding the places that spoke most for a label does to it.

    ``support`` is how far the label falls compared with hiding random ones, in deviations, and ``verdict`` what that
    means, see ``evidence.rules``.
    """

    support: float
    verdict: str


@dataclass(frozen=True)
class Labelled:
    """The label of a text, and why.

    ``labels`` are all labels, the likeliest first; ``blind_labels`` the same without the photo, None where there is
    none. ``effects`` [W] say for each of the W ``words`` how far the likeliest label falls without it, in log-odds:
    below 0 spoke against it; ``word_verdicts`` are "matters" where the label is noticeably less or more likely without
    the word (``answers.differ``), else "no difference", and "cannot tell" for a marked word, which is never hidden.
    ``spans`` are the marked parts, in words. ``image_map`` [rows, columns] sums to 1 and says
    which places spoke for the label; None without a photo.
    """

    labels: tuple[Answer, ...]
    blind_labels: tuple[Answer, ...] | None
    words: tuple[str, ...]
    spans: tuple[Span, ...]
    effects: np.ndarray
    word_verdicts: tuple[str, ...]
    image_map: np.ndarray | None
    places_judged: Judged | None

    def explanation(self) -> Explanation:
        """The map in the form that pictures are drawn from; every word has the map of the whole.

        Raises:
            ValueError: there was no photo.
        """
        if self.image_map is None:
            raise ValueError("There is no map: the text was read without a photo.")
        words, cells = len(self.words), self.image_map.size
        scores = in_shares(np.clip(self.effects, 0, None))
        everywhere = np.broadcast_to(self.image_map.reshape(1, cells), (words, cells))
        return Explanation(
            method=METHOD,
            tokens=self.words,
            image_map=self.image_map,
            token_scores=scores,
            token_to_patch=everywhere,
            patch_to_token=np.broadcast_to(scores, (cells, words)),
            text_to_image=everywhere[None, None],
            image_to_text=np.broadcast_to(scores, (1, 1, cells, words)),
            grid=(self.image_map.shape[0], self.image_map.shape[1]),
        )


def parse_marked(text: str) -> tuple[tuple[str, ...], tuple[Span, Span]]:
    """``[Bill Cosby] 's star on [Hollywood Walk of Fame]`` -> its words, and the two marked parts.

    Raises:
        InputError: there are not two marked parts with a word each.
    """
    words: list[str] = []
    spans: list[Span] = []
    for number, part in enumerate(re.split(r"[\[\]]", clean_text(text))):
        first = len(words)
        words += part.split()
        if number % 2:
            spans.append((first, len(words)))
    if not TWO_PARTS.fullmatch(text) or any(first == end for first, end in spans):
        raise InputError(
            "Mark two parts of the text with brackets, for example: {example}",
            example="[Bill Cosby] 's star on [Hollywood Walk of Fame]",
        )
    return tuple(words), (spans[0], spans[1])


class Labeller:
    """Labels texts and photos with one trained classifier; safe to share between threads.

    Args:
        model: a trained classifier; it is moved to ``device`` and put in evaluation mode.
        device: where to compute; arrays lie on the CPU.
    """

    def __init__(self, model: Classifier, device: torch.device):
        self.model = model.to(device).eval()
        self.device = device

    @classmethod
    def from_checkpoint(cls, name: str | Path, device: str = "auto", fold: bool = True) -> "Labeller":
        """Load a checkpoint that relates, judges or feels: its folder, or ``user/model`` on the Hugging Face hub.

        Args:
            name: its folder or its name.
            device: see ``choose_device``.
            fold: make the image encoder faster on a CPU. That traces it, so not while another thread runs a model.

        Raises:
            FileNotFoundError, ValueError: see ``load_checkpoint`` and ``choose_device``.
        """
        model = cast(Classifier, load_task_checkpoint(fetch_checkpoint(name), *LABEL_TASKS))
        chosen = choose_device(device)
        if fold and chosen.type == "cpu":
            ready_for_inference(model.image_encoder.backbone)  # this model is ours alone: never trained, never saved
        return cls(model, chosen)

    @property
    def task(self) -> str:
        """What the model is for, one of ``LABEL_TASKS``."""
        return self.model.config.task

    def label(self, text: str, photo: Photo | None = None) -> Labelled:
        """Label a text, and tell which words and places spoke for the likeliest label.

        Args:
            text: as a person wrote it; of ``relate`` with two parts in brackets, see ``parse_marked``.
            photo: file, content or opened picture; None for none.

        Raises:
            InputError: the text is empty or too long, the photo can't be used, or is missing or too many.
        """
        asked, cells = self._asked(text, photo)
        words, spans = asked.words, asked.marked
        probabilities = asked.probabilities(cells=cells)[0]  # [labels]
        likeliest = int(probabilities.argmax())
        effects, word_verdicts = _judge_words(asked, cells, likeliest)
        image_map, places_judged, blind = None, None, None
        if cells is not None:
            image_map, places_judged = _judge_places(asked, cells, likeliest)
            blind = self._ranked(asked.probabilities(cells=None)[0])
        return Labelled(
            self._ranked(probabilities), blind, words, spans, effects, word_verdicts, image_map, places_judged
        )

    def rank(self, text: str, photo: Photo | None = None) -> tuple[Answer, ...]:
        """The labels alone, the likeliest first: for many texts. Arguments and errors as of ``label``."""
        asked, cells = self._asked(text, photo)
        return self._ranked(asked.probabilities(cells=cells)[0])

    def _asked(self, text: str, photo: Photo | None) -> tuple["_Asked", Tensor | None]:
        """A text ready to be read, and the photo's cells [1, N, D_image]."""
        words, spans = self._words(text)
        if photo is None and self.task in PHOTO_TASKS:
            raise InputError("A photo is needed to judge a statement. Give one.")
        if photo is not None and not self.model.sees_photos:
            raise InputError("This model reads texts alone. Leave the photo out.")
        asked = _Asked(self.model, words, spans, self.device)
        if photo is None:
            return asked, None
        with torch.no_grad():
            return asked, self.model.cells(self.model.pixels(open_photo(photo))[None].to(self.device)).float()

    def _words(self, text: str) -> tuple[tuple[str, ...], tuple[Span, ...]]:
        if len(text) > MAX_TEXT_CHARACTERS:
            raise InputError(
                "The text is too long: {length} characters, at most {allowed}. Shorten it.",
                length=len(text),
                allowed=MAX_TEXT_CHARACTERS,
            )
        words, spans = parse_marked(text) if self.model.has_spans else (tuple(clean_text(text).split()), ())
        if not any(letter.isalnum() for word in words for letter in word):
            raise InputError("The text is empty. Write some words.")
        pieces = len(self.model.tokenizer.words(marked_text(words, spans)[0])[1])
        if pieces > self.model.config.max_question_tokens:
            raise InputError(
                "The text is too long: {length} word pieces (a word has one or more), at most {allowed}. Shorten it.",
                length=pieces,
                allowed=self.model.config.max_question_tokens,
            )
        return words, spans

    def _ranked(self, probabilities: np.ndarray) -> tuple[Answer, ...]:
        order = np.argsort(-probabilities, kind="stable")
        return tuple(Answer(self.model.answers[place], float(probabilities[place])) for place in order)


class _Asked:
    """A text ready to be read again and again, with words and cells hidden."""

    def __init__(self, model: Classifier, words: tuple[str, ...], spans: tuple[Span, ...], device: torch.device):
        text, places = marked_text(words, spans)
        ids, mask = model.tokenizer([text])
        self.model, self.words, self.marked = model, words, spans
        self.ids, self.mask = ids.to(device), mask.to(device)
        owners = model.tokenizer.words(text)[1]
        of_words = [None if word is None else places[word] for word in owners]
        self.belongs = np.array([[place == word for place in of_words] for word in range(len(words))])  # [W, T]
        masks = span_masks(model.tokenizer, words, spans)[None] if spans else None
        self.spans = None if masks is None else torch.from_numpy(masks).to(device)  # [1, 2, T]
        marked = {word for first, end in spans for word in range(first, end)}
        self.free = [word for word in range(len(words)) if word not in marked and self.belongs[word].any()]

    def logits(self, cells: Tensor | None, hidden_words: np.ndarray | None = None) -> Tensor:
        """Logits [F, labels] with cells [1 or F, N, D_image], and words hidden, [F, W] True where so."""
        mask = self.mask
        if hidden_words is not None:
            mask = mask & ~torch.from_numpy(hidden_words @ self.belongs).to(mask.device)  # [F, T]
        count = max(len(mask), 1 if cells is None else len(cells))
        mask, ids = mask.expand(count, -1), self.ids.expand(count, -1)
        spans = None if self.spans is None else self.spans.expand(count, -1, -1)
        photos = None if cells is None else cells.expand(count, -1, -1)
        return self.model(mask, ids, image_tokens=photos, spans=spans)[0].float()

    @torch.no_grad()
    def probabilities(
        self, cells: Tensor | None, hidden_words: np.ndarray | None = None, hidden_cells: np.ndarray | None = None
    ) -> np.ndarray:
        """Probabilities [F, labels] with words [F, W] or cells [F, N] hidden: average cells stand in for those."""
        if hidden_cells is not None and cells is not None:
            hidden = torch.from_numpy(hidden_cells)[..., None].to(cells.device)
            cells = torch.where(hidden, self.model.mean_image_token.to(cells), cells)
            parts = [self.logits(part) for part in cells.split(VARIANTS)]
        elif hidden_words is not None:
            starts = range(0, len(hidden_words), VARIANTS)
            parts = [self.logits(cells, hidden_words[first : first + VARIANTS]) for first in starts]
        else:
            parts = [self.logits(cells)]
        return torch.cat(parts).softmax(dim=-1).cpu().numpy()


def _judge_words(asked: _Asked, cells: Tensor | None, label: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """How far the label falls without each word [W], in log-odds, and the verdict on each; see ``Labelled``."""
    effects, verdicts = np.zeros(len(asked.words), dtype=np.float32), ["cannot tell"] * len(asked.words)
    if len(asked.words) < 2:  # nothing would be left to read
        return effects, tuple(verdicts)
    hidden = np.zeros((1 + len(asked.free), len(asked.words)), dtype=bool)
    hidden[np.arange(1, len(hidden)), asked.free] = True
    likely = asked.probabilities(cells, hidden_words=hidden)[:, label]  # [1 + free words], nothing hidden first
    for word, without in zip(asked.free, likely[1:], strict=True):
        effects[word] = log_odds(likely[0]) - log_odds(without)
        verdicts[word] = "matters" if differ(float(likely[0]), float(without)) else "no difference"
    return effects, tuple(verdicts)


def _judge_places(asked: _Asked, cells: Tensor, label: int) -> tuple[np.ndarray, Judged]:
    """Which cells spoke for the label, a map [rows, columns] that sums to 1; and what hiding the hottest does.

    A cell's share is its gradient times its difference to the average cell, as far as that speaks for the label.
    """
    with torch.enable_grad():
        leaf = cells.detach().requires_grad_(True)
        chances = asked.logits(leaf).log_softmax(dim=-1)[0]
        others = torch.cat([chances[:label], chances[label + 1 :]]).logsumexp(dim=0)
        (gradient,) = torch.autograd.grad(chances[label] - others, leaf)
    spoke = (gradient * (leaf.detach() - asked.model.mean_image_token)).sum(dim=-1)[0]  # [N]
    heat = in_shares(spoke.clamp(min=0).cpu().numpy())
    variants = hidden_variants(cells.shape[1], asked.ids[0].tolist(), [heat])
    whole, (hottest,), random = split_variants(asked.probabilities(cells, hidden_cells=variants)[:, label])
    said = "cannot tell" if is_flat(heat) else verdict(whole, hottest, random)
    return heat.reshape(asked.model.grid), Judged(support(hottest, random), said)
