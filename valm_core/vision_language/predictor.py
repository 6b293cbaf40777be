"""TransformersPredictor: an open vision-language model behind the ``Predictor`` protocol, asked in pixels."""

import copy
import functools
import queue
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from valm_core.asking import (
    MAX_SCORED_CANDIDATES,
    answer_each,
    check_cells,
    chosen_method,
    different_choices,
    not_offered,
    words_left,
)
from valm_core.evidence.rules import check_method, gather_evidence, hidden_variants, split_variants
from valm_core.inputs.photo import open_photo
from valm_core.inputs.question import clean_question
from valm_core.method_names import OPEN_MODEL_METHOD
from valm_core.outputs import (
    Answer,
    Counterfactual,
    EncodedImage,
    Evidence,
    Explanation,
    InputError,
    NotOffered,
    Photo,
    Prediction,
    TrackRecord,
)
from valm_core.vision_language.calibration import Calibration, read_calibration
from valm_core.vision_language.changes import fewest_words, smallest_region
from valm_core.vision_language.geometry import WHOLE, coarse_grid
from valm_core.vision_language.maps import from_cells, from_rows
from valm_core.vision_language.pixels import blind_picture, cell_colours, stretched, without_regions
from valm_core.vision_language.reader import Reader, WordRows

ROW_METHODS = {"grad_cam": "gradients", "raw_attention": "attention", OPEN_MODEL_METHOD: "relative"}
ANY_MODEL = ("occlusion", "random", "center")  # need nothing but answers

NO_MEMORY = "The GPU’s memory is full. Ask again with a smaller photo, or for a shorter answer."


@dataclass(frozen=True)
class EncodedPhoto(EncodedImage):
    """A photo as such a model is asked about it: in pixels. ``tokens`` are the cells' mean colours [1, N, 3].

    ``prompt`` is what is asked in place of the model's own, with ``{image}`` and ``{question}``; None for that.
    """

    picture: Image.Image | None = None
    prompt: str | None = None

    def to(self, device: torch.device | str) -> "EncodedPhoto":
        """Itself: a photo lies on no device."""
        return self


class _NobodyWaits(Exception):
    """Whoever asked has left."""


def _one_at_a_time(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that waits until no other question is being answered, and asks by the prompt of its photo.

    It raises InputError where the GPU has no memory left.
    """

    @functools.wraps(method)
    def alone(self: "TransformersPredictor", *arguments: Any, **named: Any) -> Any:
        with self.turn:
            first = arguments[0] if arguments else named.get("image")
            asker = self._asking_by(first.prompt) if isinstance(first, EncodedPhoto) else self
            try:
                return method(asker, *arguments, **named)
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                raise InputError(NO_MEMORY) from error

    return alone


class TransformersPredictor:
    """Answers and explains with an open model; safe to share between threads, which take turns.

    Its probabilities are those of answers as texts; without a ``calibration`` they are no chances of being right. What
    it can't do isn't in ``offers`` and ``explanation_methods``.

    Args:
        reader: the model.
        facts: what a report must say of it.
        calibration: makes its probabilities those of being right.
    """

    notice = ""
    attention_heads: tuple[tuple[str, int, int], ...] = ()  # none can be masked
    prompt: str | None = None  # of the photo that is being asked about, where it has one of its own

    def __init__(self, reader: Reader, facts: dict[str, str | float], calibration: Calibration | None = None):
        self.reader, self.facts, self.calibration = reader, facts, calibration
        if calibration:
            self.facts = facts | {"probabilities": f"calibrated on {calibration.questions} questions"}
        self.answers = reader.labels
        self.turn = threading.RLock()

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        device: torch.device,
        prompt: str | None = None,
        calibration: str | Path | None = None,
    ) -> "TransformersPredictor":
        """Load a folder or ``user/model`` of the hub. Raises what ``load_reader`` and ``read_calibration`` do."""
        from valm_core.vision_language.loading import facts_of, fetch_model, load_reader

        folder = fetch_model(name, device)
        reader = load_reader(folder, device, str(name), prompt)
        facts = facts_of(folder, reader)
        return cls(reader, facts, read_calibration(calibration, facts) if calibration else None)

    @property
    def offers(self) -> frozenset[str]:
        """Which of ``outputs.OFFERS`` this model can do; ``write`` where it has a prompt."""
        return frozenset({"what_if", "counterfactual"} | ({"write"} if self.reader.asks else set()))

    def _asking_by(self, prompt: str | None) -> "TransformersPredictor":
        """The same predictor with another prompt, which no calibration holds for. Raises InputError."""
        reader = self.reader.asked_by(prompt)
        if reader is self.reader:
            return self
        other = copy.copy(self)
        other.reader, other.prompt, other.calibration = reader, prompt, None
        return other

    @property
    def explanation_methods(self) -> tuple[str, ...]:
        """The names that ``explain``, ``evidence`` and ``ask`` take as ``method``; the first is the default."""
        rows = [
            name
            for name, how in ROW_METHODS.items()
            if self.reader.sees_words
            and (how != "gradients" or self.reader.gradients)
            and (how != "relative" or self.reader.relative)
        ]
        return (*rows, *ANY_MODEL)

    def open_photo(self, photo: Photo) -> Image.Image:
        """A photo as upright RGB, at most 1600 pixels long. Raises InputError."""
        return open_photo(photo)

    @_one_at_a_time
    def encode(self, photo: Photo) -> EncodedPhoto:
        """The photo and the grid that its maps will have; nothing of it is computed yet. Raises InputError."""
        picture = open_photo(photo)
        places = self.reader.places(picture)
        grid, box = (places.grid, places.box) if places else (coarse_grid(*picture.size), WHOLE)
        return EncodedPhoto(torch.from_numpy(cell_colours(picture, grid, box)), grid, box, picture=picture)

    def encode_many(self, photos: Sequence[Photo]) -> list[EncodedImage]:
        """What ``encode`` gives for each photo."""
        return [self.encode(photo) for photo in photos]

    @_one_at_a_time
    def answer(self, image: EncodedImage, question: str, top: int = 5) -> Prediction:
        """The ``top`` likeliest answers, with the photo and with its mean colour in its place. Raises InputError."""
        return self._predict(_picture(image), clean_question(question), top)

    def _predict(
        self,
        picture: Image.Image,
        question: str,
        top: int,
        tell: Callable[[str], None] | None = None,
        left: Callable[[], bool] | None = None,
    ) -> Prediction:
        """What ``answer`` gives; ``tell`` and ``left`` as in ``write_on``. Raises InputError, _NobodyWaits."""
        text = self.reader.written(picture, question, tell, left)
        if left is not None and left():
            raise _NobodyWaits
        long = text is not None and text.long
        answers = (
            (Answer(text.text, text.probability),) if text and long else self.reader.answers(picture, question, top)
        )
        if not answers:
            raise InputError("The model wrote nothing. Ask in other words.")
        return Prediction(
            question=question,
            answers=self.calibration.answers(answers) if self.calibration and not long else answers,
            blind_answers=self._blind(picture, question, top, left),
            gate=None,
            calibrated=self.calibration is not None and not long,
            prompt=self.prompt,
            long=long,
            any_language=True,
        )

    def write(self, image: EncodedImage, question: str, top: int = 5) -> Iterator[str | Prediction]:
        """What ``answer`` gives, after the text as far as it is written, where the prompt lets it be long.

        It is written in a thread of its own, and ends there once nobody waits for it any more.

        Raises:
            InputError: the question or the prompt can't be asked.
        """
        _picture(image)
        return self._parts(image, clean_question(question), top)

    def _parts(self, image: EncodedImage, question: str, top: int) -> Iterator[str | Prediction]:
        parts: queue.SimpleQueue[str | Prediction | Exception] = queue.SimpleQueue()
        left = threading.Event()

        def work() -> None:
            try:
                parts.put(self._write(image, question, top, parts.put, left.is_set))
            except Exception as error:
                parts.put(error)

        threading.Thread(target=work, name="valm-writes", daemon=True).start()
        try:
            while True:
                part = parts.get()
                if isinstance(part, Exception):
                    raise part
                yield part
                if isinstance(part, Prediction):
                    return
        finally:
            left.set()

    @_one_at_a_time
    def _write(
        self, image: EncodedImage, question: str, top: int, tell: Callable[[str], None], left: Callable[[], bool]
    ) -> Prediction:
        if left():
            raise _NobodyWaits
        return self._predict(_picture(image), question, top, tell, left)

    def answer_many(self, images: Sequence[EncodedImage], questions: Sequence[str], top: int = 5) -> list[Prediction]:
        """What ``answer`` gives for each photo and its question."""
        return answer_each(self, images, questions, top)

    @_one_at_a_time
    def ask(
        self,
        image: EncodedImage,
        question: str,
        method: str | None = None,
        answer: str | None = None,
        top: int = 5,
        prediction: Prediction | None = None,
        weigh: bool = True,
    ) -> tuple[Prediction, Explanation, Evidence | None]:
        """What ``answer``, ``explain`` and ``evidence`` give together; None for the last without ``weigh``."""
        method = self._chosen(method, image)
        prediction = prediction or self.answer(image, question, top)
        answer = prediction.answers[0].text if answer is None else self._answer(image, clean_question(question), answer)
        explanation = self.explain(image, question, method, answer)
        if not weigh:
            return prediction, explanation, None
        blind = prediction.blind_answers[0]
        return prediction, explanation, self._evidence(image, question, answer, explanation, blind)

    @_one_at_a_time
    def explain(
        self, image: EncodedImage, question: str, method: str | None = None, answer: str | None = None
    ) -> Explanation:
        """Where the model looked, for every word of the question and of the answer.

        Raises:
            InputError: the question can't be asked, or a photo's tokens don't lie where the family's do.
            ValueError: an unknown method.
            UnknownAnswer: an answer that a model with a list doesn't have.
        """
        method = self._chosen(method, image)
        question, picture = clean_question(question), _picture(image)
        answer = self._answer(image, question, answer)
        words = (*question.split(), *answer.split())
        if method == "occlusion":
            return self._occlusion(picture, question, answer, image)
        if method in ROW_METHODS:
            if self.reader.places(picture) is None:
                raise InputError("This photo has no attention map with this model. Choose occlusion.")
            rows = self.reader.word_rows(picture, question, answer, ROW_METHODS[method])
            if rows.weights.shape[2] != len(words):  # the tokenizer splits the answer otherwise than at spaces
                rows = WordRows(rows.weights[:, :, : len(question.split())], 0)
                words = tuple(question.split())
            return from_rows(method, words, rows, image.grid, image.box)
        asked = tuple(question.split())  # a control reads no answer
        return from_cells(
            method, asked, [], _control(method, question, image), np.ones(len(asked)), image.grid, image.box
        )

    @_one_at_a_time
    def evidence(
        self,
        image: EncodedImage,
        question: str,
        method: str | None = None,
        answer: str | None = None,
        explanation: Explanation | None = None,
    ) -> Evidence:
        """How far a map can be believed, by hiding in pixels what it marks. Raises what ``explain`` does."""
        method = self._chosen(method, image)
        answer = self._answer(image, clean_question(question), answer)
        if explanation is None:
            explanation = self.explain(image, question, method, answer)
        check_method(explanation, method)
        (blind,) = self._blind(_picture(image), clean_question(question), 1)
        return self._evidence(image, question, answer, explanation, blind)

    @_one_at_a_time
    def what_if(
        self,
        image: EncodedImage,
        question: str,
        hidden_cells: np.ndarray | None = None,
        hidden_words: Collection[int] = (),
        masked_heads: Collection[tuple[str, int, int]] = (),
        candidates: Sequence[str] = (),
        top: int = 5,
    ) -> Prediction:
        """Answer once more with cells in the photo's mean colour, without words, or among given answers only.

        Given answers are scored exactly, by their likelihood, scaled to sum to 1.

        Raises:
            InputError: no word is left, or there are too few or too many candidates.
            ValueError: cells of another shape, or a word that isn't there.
            NotOffered: heads, which can't be masked in such a model.
        """
        if masked_heads:
            raise NotOffered("The attention heads of this model can't be switched off.")
        left, picture = words_left(question, hidden_words), _picture(image)
        if hidden_cells is not None:
            check_cells(hidden_cells, image)
            picture = without_regions(picture, hidden_cells, image.box)
        choices = different_choices(candidates, self.reader.as_written, MAX_SCORED_CANDIDATES)
        if not choices:
            return self._predict(picture, left, top)
        shown, blind = (self._among(choices, seen, left, top) for seen in (picture, blind_picture(picture)))
        return Prediction(left, shown, blind, None, calibrated=False, prompt=self.prompt, any_language=True)

    @_one_at_a_time
    def counterfactual(self, image: EncodedImage, question: str, answer: str | None = None) -> Counterfactual:
        """A small region and a few words whose hiding makes the model write another answer first, found greedily.

        The answer to flip is always the one that it writes first, whatever ``answer`` is.

        Raises:
            InputError: the question can't be asked.
            NotOffered: the answer is a longer text, which changes with everything that is hidden.
        """
        question, picture = clean_question(question), _picture(image)
        if (text := self.reader.written(picture, question)) is not None and text.long:
            raise NotOffered("A longer text changes with everything that is hidden. Ask for a short answer first.")
        answer = self.reader.first_answers([picture], question)[0]
        cells, _ = self._falls(picture, question, answer, image)
        region = smallest_region(self.reader, picture, question, answer, cells, image.box)
        words = fewest_words(self.reader, picture, question, answer)
        shown = stretched(region[0].astype(np.float32), image.grid) > 0 if region else None
        return Counterfactual(
            answer=answer,
            region=shown,
            region_answer=region[1] if region else None,
            words=words[0] if words else None,
            words_answer=words[1] if words else None,
        )

    # A word's would take as many runs of the model as the evidence for the whole question.
    word_evidence = not_offered("With this model only the map of the whole question is checked. Look at its evidence.")
    concepts = not_offered("This model names no concepts. Ask it what is in the photo instead.")

    def masks(self, candidates: Sequence[str]) -> bool:
        """True: every given answer is scored exactly. Raises InputError."""
        return bool(different_choices(candidates, self.reader.as_written, MAX_SCORED_CANDIDATES))

    def track_record(self, answer: Answer) -> TrackRecord | None:
        """None: how often such answers are right isn't known."""
        return None

    def _chosen(self, method: str | None, image: EncodedImage) -> str:
        """A method of this model: the one that is asked for, else the first that this photo has maps of."""
        if method is None:
            return self._methods_for(image)[0]  # reads the photo's places, so only where it is asked for
        return chosen_method(method, self.explanation_methods, method)

    def _methods_for(self, image: EncodedImage) -> tuple[str, ...]:
        """The methods that have maps of a photo: of one whose tokens lie elsewhere than the family's do, few have."""
        methods = self.explanation_methods
        known = methods[0] in ROW_METHODS and self.reader.places(_picture(image)) is not None
        return methods if known else ANY_MODEL

    def _answer(self, image: EncodedImage, question: str, answer: str | None) -> str:
        if answer is not None and (text := self.reader.as_written(answer)):
            return text
        return self.answer(image, question, 1).answers[0].text

    def _blind(
        self, picture: Image.Image, question: str, top: int, left: Callable[[], bool] | None = None
    ) -> tuple[Answer, ...]:
        """The likeliest answers with the photo's mean colour in its place; one at least."""
        picture = blind_picture(picture)
        if (text := self.reader.written(picture, question, left=left)) is not None and text.long:
            return (Answer(text.text, text.probability),)
        answers = self.reader.answers(picture, question, top) or (Answer("nothing", 0.0),)
        return self.calibration.answers(answers) if self.calibration else answers

    def _among(self, choices: tuple[str, ...], picture: Image.Image, question: str, top: int) -> tuple[Answer, ...]:
        levels = np.array([self.reader.likelihood([picture], question, text).pieces[0].sum() for text in choices])
        likely = np.exp(levels - levels.max())  # in logarithms: long answers are less likely than a number can say
        shares = likely / likely.sum()
        best = np.argsort(-shares, kind="stable")[:top]
        return tuple(Answer(choices[place], float(shares[place])) for place in best)

    def _falls(
        self, picture: Image.Image, question: str, answer: str, image: EncodedImage
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """How far the answer's probability falls without each cell of a coarse grid; the same of each of its words."""
        rows, columns = grid = coarse_grid(*picture.size)
        each = np.eye(rows * columns, dtype=bool).reshape(-1, rows, columns)
        pictures = [picture, *(without_regions(picture, hidden, image.box) for hidden in each)]
        found = self.reader.likelihood(pictures, question, answer)
        whole = found.probabilities
        by_word = [found.pieces[:, list(word)].sum(axis=1) for word in found.words if word]
        falls = [(word[0] - word[1:]).clip(0).reshape(grid) for word in by_word]
        return (whole[0] - whole[1:]).clip(0).reshape(grid), falls

    def _occlusion(self, picture: Image.Image, question: str, answer: str, image: EncodedImage) -> Explanation:
        """Hide each cell of a coarse grid, and each word, in turn (Zeiler & Fergus 2014)."""
        cells, of_answer = self._falls(picture, question, answer, image)
        asked, answered = question.split(), answer.split()
        of_answer = of_answer if len(of_answer) == len(answered) else []
        words = (*asked, *(answered if of_answer else ()))
        whole = self.reader.likelihood([picture], question, answer).probabilities[0]
        scores = np.zeros(len(words))
        for place in range(len(asked) if len(asked) > 1 else 0):
            left = " ".join(asked[:place] + asked[place + 1 :])
            scores[place] = max(whole - self.reader.likelihood([picture], left, answer).probabilities[0], 0)
        scores[: len(asked)] += 0 if scores.any() else 1
        return from_cells("occlusion", words, of_answer, cells, scores, image.grid, image.box)

    def _evidence(
        self, image: EncodedImage, question: str, answer: str, explanation: Explanation, blind: Answer
    ) -> Evidence:
        heat = stretched(explanation.image_map, coarse_grid(*_picture(image).size))
        probabilities = self.hiding(image, question, answer, [heat])
        thresholds = self.calibration.thresholds if self.calibration else None
        others = [
            self.explain(image, question, name, answer).image_map
            for name in self._methods_for(image)
            if name in ROW_METHODS and name != explanation.method
        ] or [_control("center", question, image)]
        return gather_evidence(
            explanation.method,
            answer,
            probabilities,
            blind,
            explanation.image_map,
            others,
            thresholds,
        )

    @_one_at_a_time
    def hiding(
        self, image: EncodedImage, question: str, answer: str, maps: Sequence[np.ndarray]
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """What hiding does to an answer's probability, see ``split_variants``: that many photos are read.

        Args:
            image, question, answer: what was asked.
            maps: M maps of the photo's ``coarse_grid``.
        """
        picture, question = _picture(image), clean_question(question)
        grid = coarse_grid(*picture.size)
        hidden = hidden_variants(grid[0] * grid[1], question.encode(), list(maps))
        pictures = [without_regions(picture, cells.reshape(grid), image.box) for cells in hidden]
        found = self.reader.likelihood(pictures, question, answer)
        if self.calibration is None or found.long:
            return split_variants(found.probabilities)
        return split_variants(self.calibration.apply(found.probabilities))


def _picture(image: EncodedImage) -> Image.Image:
    """The photo that ``TransformersPredictor.encode`` kept."""
    if not isinstance(image, EncodedPhoto) or image.picture is None:
        raise TypeError("image was encoded by another predictor; encode the photo with this one.")
    return image.picture


def _control(method: str, question: str, image: EncodedImage) -> np.ndarray:
    """A map that knows nothing of the model: "random", the same every time, or "center"."""
    rows, columns = image.grid
    if method == "random":
        return np.random.default_rng(list(question.encode())).random(image.grid)
    down = (np.arange(rows) + 0.5) / rows - 0.5
    across = (np.arange(columns) + 0.5) / columns - 0.5
    return np.exp(-(down[:, None] ** 2 + across[None] ** 2) / (2 * 0.25**2))
