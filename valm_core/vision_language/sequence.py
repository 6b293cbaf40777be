"""Models that write: image tokens stand among the words of one sequence, or query tokens that read the photo do."""

import copy
import dataclasses
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from valm_core.inputs.question import MAX_PROMPT
from valm_core.outputs import Answer, InputError
from valm_core.vision_language.answers import (
    BATCH_TOKENS,
    BEAMS,
    MAX_NEW_TOKENS,
    Written,
    answers_apart,
    extended,
    forms,
    merged,
    normal_form,
    piece_log_probabilities,
    write,
    write_on,
)
from valm_core.vision_language.attention_rows import Collector, collecting
from valm_core.vision_language.families import SHORT, UNKNOWN, Family, Seen
from valm_core.vision_language.geometry import Places
from valm_core.vision_language.prompts import (
    NEUTRAL,
    image_marker,
    own_prompt,
    pieces_of_words,
    prompt_text,
    question_pieces,
    without_special_tokens,
    word_spans,
)
from valm_core.vision_language.reader import PieceLikelihood, WordRows

LEFT_OUT = ("labels",)  # of what processors give: for training only
MIN_SHARE = 0.05  # of a uniform map: what relative attention divides by at least


PLACES_OF_A_PROMPT = "A prompt needs {image}, where the photo goes, and {question}, once each."


class SequenceReader:
    """A ``Reader`` around a model of ``AutoModelForImageTextToText`` and its processor.

    Args:
        model: in evaluation mode, without gradients of its parameters, with the attention of ``attention_rows``.
        processor: of the same checkpoint.
        family: ``UNKNOWN`` where the table has none: then there are no places and no rows, and neither where answers
            come from a decoder of their own (T5).
        prompt: in place of the family's, with ``{image}`` and ``{question}``.
    """

    labels: list[str] = []  # noqa: RUF012  (never written to)

    def __init__(self, model: Any, processor: Any, family: Family, prompt: str | None = None):
        self.model, self.processor, self.family, self.prompt = model, processor, family, prompt
        self.title = family.title
        self.sees_words = self.gradients = self.relative = family is not UNKNOWN and not answers_apart(model)
        self.suffix_type = int(model.config.model_type == "paligemma")

    @property
    def asks(self) -> str:
        """The prompt with ``{image}`` and ``{question}``, without the chat template around it."""
        return self.prompt or own_prompt(self.processor, self.family)

    @property
    def short(self) -> bool:
        """Whether the prompt asks for short answers: the family's own does, and every other that says so."""
        return self.asks == own_prompt(self.processor, self.family) or SHORT in self.asks

    def asked_by(self, prompt: str | None) -> "SequenceReader":
        """The same model, asked by a visitor's prompt, in which special tokens are words; None for its own.

        Raises:
            InputError: it is too long, or lacks ``{image}`` or ``{question}``.
        """
        if prompt is None or prompt == self.asks:
            return self
        if len(prompt) > MAX_PROMPT:
            raise InputError("This prompt is too long: {most} characters at most.", most=MAX_PROMPT)
        images = prompt.count("{image}")
        if prompt.count("{question}") != 1 or images > 1 or (not images and "{image}" in self.asks):
            raise InputError(PLACES_OF_A_PROMPT, image="{image}", question="{question}")
        other = copy.copy(self)
        other.prompt = without_special_tokens(prompt, self.processor.tokenizer)
        return other

    @property
    def asked(self) -> str:
        """The whole prompt, with ``{question}`` in place of a question."""
        return prompt_text(self.processor, self.family, "{question}", self.prompt)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return cast(torch.device, self.model.device)

    def inputs(self, pictures: Sequence[Image.Image], question: str, prompt: str | None = None) -> dict[str, Tensor]:
        """What the model gets for one question about photos of one size, one row a photo."""
        text = prompt_text(self.processor, self.family, question, prompt or self.prompt)
        begin = getattr(self.processor.tokenizer, "bos_token", None)
        once = {"add_special_tokens": False} if begin and text.startswith(begin) else {}  # the template has them
        made = [self.processor(text=text, images=[picture], return_tensors="pt", **once) for picture in pictures]
        inputs = {
            name: torch.cat([one[name] for one in made]).to(self.device) for name in made[0] if name not in LEFT_OUT
        }
        floating = {name: value.to(self.model.dtype) for name, value in inputs.items() if value.is_floating_point()}
        return inputs | floating

    def image_positions(self, ids: Tensor) -> Tensor:
        """Where image tokens (or queries) stand in one sequence of ids [T]."""
        return (ids == self.model.config.image_token_id).nonzero().flatten()

    def places(self, picture: Image.Image) -> Places | None:
        """Where image tokens lie on a photo; of a model with queries, where the patches lie that these read."""
        return self._places(picture, self.inputs([picture], "?")) if self.sees_words else None

    def _places(self, picture: Image.Image, inputs: dict[str, Tensor]) -> Places | None:
        if self.family.places is None:
            return None
        count = len(self.image_positions(inputs["input_ids"][0]))
        seen = Seen(picture.size, inputs, self.processor, self.model.config, count)
        places = self.family.places(seen)
        if self.family.reads == "sequence" and len(places.boxes) != count:
            logging.getLogger("valm").warning(
                "%s put %d image tokens where %d were expected for a photo of %d x %d: no attention map for it.",
                self.title,
                count,
                len(places.boxes),
                *picture.size,
            )
            return None
        return places

    def answers(self, picture: Image.Image, question: str, top: int) -> tuple[Answer, ...]:
        """The likeliest answers by beams, those of one normal form as one."""
        written = write(self.model, self.processor.tokenizer, self.inputs([picture], question), max(BEAMS, top))
        return merged(written[0], top)

    def written(
        self,
        picture: Image.Image,
        question: str,
        tell: Callable[[str], None] | None = None,
        left: Callable[[], bool] | None = None,
    ) -> Written | None:
        """What the model writes as long as it likes, with one token's probability; None where it is to be short."""
        if self.short:
            return None
        inputs = self.inputs([picture], question)
        text = write_on(self.model, self.processor.tokenizer, inputs, tell, left)
        if not text.long:
            return text
        with torch.no_grad():
            pieces = piece_log_probabilities(self.model, inputs, text.ids, self.suffix_type)
        return dataclasses.replace(text, probability=float(pieces.mean().exp()))

    def as_written(self, answer: str) -> str:
        """A given answer in its normal form; a text longer than short answers are as it is."""
        ids = self.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return normal_form(answer) if self.short or len(ids) <= MAX_NEW_TOKENS else " ".join(answer.split())

    def first_answers(self, pictures: Sequence[Image.Image], question: str) -> list[str]:
        """What the model writes first, greedily, for each photo."""
        texts: list[str] = []
        for part in self._batches(pictures, question):
            written = write(self.model, self.processor.tokenizer, part, beams=1)
            texts += [normal_form(one[0].text) for one in written]
        return texts

    def likelihood(self, pictures: Sequence[Image.Image], question: str, answer: str) -> PieceLikelihood:
        """How likely an answer is, in the one of its ``forms`` that is likeliest for the first photo."""
        ids = self.answer_ids(pictures[0], question, answer)
        with torch.no_grad():
            parts = [
                piece_log_probabilities(self.model, part, ids, self.suffix_type)
                for part in self._batches(pictures, question)
            ]
        words = tuple(tuple(word) for word in self._answer_pieces(ids))
        long = not self.short and len(ids) > MAX_NEW_TOKENS
        return PieceLikelihood(torch.cat(parts).double().cpu().numpy(), words, long)

    @torch.no_grad()
    def answer_ids(self, picture: Image.Image, question: str, answer: str) -> tuple[int, ...]:
        """The tokens of an answer in its likeliest form for a photo and question."""
        inputs = self.inputs([picture], question)
        candidates = forms(answer, self.processor.tokenizer, self._spaced(question))
        if len(candidates) == 1:
            return candidates[0]
        likely = [float(piece_log_probabilities(self.model, inputs, ids, self.suffix_type).sum()) for ids in candidates]
        return candidates[int(np.argmax(likely))]

    def word_rows(self, picture: Image.Image, question: str, answer: str, how: str) -> WordRows:
        """Where the words of the question, and of the answer as it is written, looked.

        A word of the question is the row of its own tokens; a word of the answer is the rows that lead to its tokens,
        one before each.

        Args:
            picture, question, answer: what was asked and is explained.
            how: "attention"; "gradients", attention times the gradient of the answer's log-probability where that is
                positive (as Grad-CAM; Selvaraju et al. 2017); "relative", attention divided by that of a neutral
                prompt's last token.
        """
        ids = self.answer_ids(picture, question, answer)
        inputs = self.inputs([picture], question)
        prompt = prompt_text(self.processor, self.family, question, self.prompt)
        sequence = inputs["input_ids"][0].tolist()
        of_question = question_pieces(self.processor, prompt, question, sequence)
        before = len(sequence) - 1
        of_answer = [[before + piece for piece in word] for word in self._answer_pieces(ids)]
        words = of_question + of_answer
        queries = sorted({piece for word in words for piece in word})
        places = self._places(picture, inputs)
        if places is None:
            raise ValueError("this photo's image tokens lie in no known place; ask `places` first.")
        weights = self._rows(inputs, ids, queries, places, gradients=how == "gradients")
        if how == "relative":
            weights = self._relative(weights, picture, places)
        row_of = {query: row for row, query in enumerate(queries)}
        nothing = np.zeros((*weights.shape[:2], weights.shape[3]), dtype=np.float32)
        merged_rows = [
            weights[:, :, [row_of[piece] for piece in word]].mean(axis=2) if word else nothing for word in words
        ]
        return WordRows(np.stack(merged_rows, axis=2), len(of_answer))

    def _relative(self, weights: np.ndarray, picture: Image.Image, places: Places) -> np.ndarray:
        """Rows [L, H, R, N] by how much more they look at a cell than a neutral prompt does, keeping each row's sum."""
        inputs = self.inputs([picture], NEUTRAL, prompt="{image}\n{question}")
        last = inputs["input_ids"].shape[1] - 1
        neutral = self._rows(inputs, (), [last], places)  # [L, H, 1, N]
        cells = weights.shape[3]
        neutral = neutral / np.maximum(neutral.sum(axis=3, keepdims=True), 1e-12)
        ratio = weights / (neutral + MIN_SHARE / cells)
        scale = weights.sum(axis=3, keepdims=True) / np.maximum(ratio.sum(axis=3, keepdims=True), 1e-12)
        return cast(np.ndarray, ratio * scale)

    def _rows(
        self,
        inputs: dict[str, Tensor],
        ids: Sequence[int],
        queries: Sequence[int],
        places: Places,
        gradients: bool = False,
    ) -> np.ndarray:
        """Attention of some tokens on the photo's cells, [L, H, R, N], times its gradient where asked."""
        image = self.image_positions(inputs["input_ids"][0])
        wanted = torch.tensor(list(queries), device=self.device)
        decoder = self.model.get_decoder()
        readers = [part for name, part in self.model.named_modules() if name.endswith("crossattention.attention")]
        with (
            torch.set_grad_enabled(gradients),
            collecting([decoder], wanted, gradients) as rows,
            collecting(readers if self.family.reads == "queries" else []) as read,
        ):
            if gradients:
                score = piece_log_probabilities(self.model, inputs, ids, self.suffix_type).sum()
                slopes = torch.autograd.grad(score, rows.rows, allow_unused=True)
            else:
                longer = extended(inputs, ids, self.suffix_type) if ids else inputs
                self.model(**longer, use_cache=False)
        projection = self._projection(places, read)  # [I, N]
        found = []
        for layer, row in enumerate(rows.rows):
            row = row.detach().float()
            if gradients:
                slope = slopes[layer]
                row = (row * slope.float()).clamp_min(0) if slope is not None else torch.zeros_like(row)
            found.append((row[0][:, :, image] @ projection).cpu().numpy())  # [H, R, N]
        return np.stack(found)

    def _projection(self, places: Places, read: Collector) -> Tensor:
        projection = torch.from_numpy(places.projection()).to(self.device)  # [I or patches, N]
        if self.family.reads != "queries":
            return projection
        queries = self.model.config.num_query_tokens
        patches = read.rows[-1][0].float().mean(dim=0)[:queries]  # [Q, patches], of the last layer
        return patches @ projection

    def _batches(self, pictures: Sequence[Image.Image], question: str) -> list[dict[str, Tensor]]:
        first = self.inputs(pictures[:1], question)
        size = max(1, math.floor(BATCH_TOKENS / first["input_ids"].shape[1]))
        if len(pictures) == 1:
            return [first]
        return [self.inputs(pictures[start : start + size], question) for start in range(0, len(pictures), size)]

    def _answer_pieces(self, ids: Sequence[int]) -> list[list[int]]:
        """For each word of an answer the places of its tokens."""
        tokenizer = self.processor.tokenizer
        ends = [len(tokenizer.decode(list(ids[: place + 1]))) for place in range(len(ids))]
        starts = [0, *ends[:-1]]
        text = tokenizer.decode(list(ids))
        return pieces_of_words(list(zip(starts, ends, strict=True)), word_spans(text))

    def _spaced(self, question: str) -> bool:
        prompt = prompt_text(self.processor, self.family, question, self.prompt)
        return not prompt[-1:].isspace() and image_marker(self.processor) != prompt
