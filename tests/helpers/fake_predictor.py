"""A stand-in for ``VqaPredictor``: the same methods, made-up but repeatable answers and maps, no model, no files."""

import hashlib
import io
import threading
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from patience import PATIENCE
from PIL import Image, ImageOps, UnidentifiedImageError

from valm_core.asking import answer_each, not_offered
from valm_core.method_names import METHOD_NAMES
from valm_core.outputs import (
    OFFERS,
    Answer,
    Counterfactual,
    EncodedImage,
    Evidence,
    Explanation,
    InputError,
    Prediction,
    TrackRecord,
    WordEvidence,
)
from valm_core.stopping import Stopped, stop_if_unwanted

GRID = (8, 10)
VOCABULARY = ("yes", "no", "red", "blue", "2", "bus", "cat", "on the table", "standing", "outside")


def words_of(question: str) -> tuple[str, ...]:
    """The words of a question as the page shows them; the errors of the real predictor."""
    words = tuple(question.split())
    if not words:
        raise InputError("Please type a question.")
    if len(words) > 32:
        raise InputError("This question is too long: 32 words at most.")
    return words


def planted_cell(word: str, position: int) -> tuple[int, int]:
    """The cell (row, column) where the fake map of a word is hottest."""
    digest = hashlib.sha256(f"{word}/{position}".encode()).digest()
    return digest[0] % GRID[0], digest[1] % GRID[1]


def bump(cell: tuple[int, int], width: float = 1.2) -> np.ndarray:
    """A map [rows, columns] that sums to 1 and is hottest in ``cell``."""
    rows, columns = np.mgrid[: GRID[0], : GRID[1]]
    heat = np.exp(-((rows - cell[0]) ** 2 + (columns - cell[1]) ** 2) / (2 * width**2)) + 0.02
    return (heat / heat.sum()).astype(np.float32)


def good_evidence(method: str | None, answer: str | None) -> Evidence:
    """Evidence that speaks for a map."""
    return Evidence(
        method=method or "grad_cam",
        answer=answer or "yes",
        probability=0.81,
        hidden_shares=(0.05, 0.2, 0.5, 0.9),
        hottest_hidden=(0.61, 0.45, 0.32, 0.2),
        random_hidden=(0.8, 0.8, 0.79, 0.7),
        random_draws=16,
        blind_answer=Answer("yes", 0.41),
        same_as_blind=answer == "yes",
        agreement=0.5,
        evenness=0.9,
        support=9.0,
        verdict="matters",
    )


class FakePredictor:
    """Answers at once (or after ``delay`` seconds), counts its calls, keeps nothing about the person who asks."""

    def __init__(self, delay: float = 0.0, box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)):
        self.delay = delay
        self.box = box
        self.calls = {"open_photo": 0, "encode": 0, "answer": 0, "explain": 0, "evidence": 0, "what_if": 0}

    @classmethod
    def from_checkpoint(cls, path, device: str = "auto") -> "FakePredictor":
        """A predictor, whatever the path."""
        return cls()

    @property
    def answers(self) -> list[str]:
        """Every answer that it can give."""
        return list(VOCABULARY)

    def open_photo(self, photo) -> Image.Image:
        """The photo as upright RGB, at most 1600 pixels on its long side."""
        self.calls["open_photo"] += 1
        if isinstance(photo, Image.Image):
            picture = photo
        else:
            source = io.BytesIO(photo) if isinstance(photo, bytes) else Path(photo)
            try:
                picture = Image.open(source)
                if picture.width * picture.height > 40_000_000:
                    raise InputError("This photo is too large: 40 megapixels at most.")
                picture.load()
            except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
                raise InputError("This file can't be read as a photo. Try a JPEG, PNG or WebP file.") from error
        picture = ImageOps.exif_transpose(picture).convert("RGB")
        picture.thumbnail((1600, 1600))
        return picture

    def encode(self, photo) -> EncodedImage:
        """Tokens that are the mean colours of the grid's cells."""
        self.calls["encode"] += 1
        small = self.open_photo(photo).resize((GRID[1], GRID[0]), Image.Resampling.BOX)
        tokens = torch.from_numpy(np.asarray(small, dtype=np.float32).reshape(1, -1, 3) / 255)  # [1, N, 3]
        return EncodedImage(tokens, GRID, self.box)

    def encode_many(self, photos) -> list[EncodedImage]:
        """What ``encode`` gives for each photo."""
        return [self.encode(photo) for photo in photos]

    def answer_many(self, images, questions, top: int = 5) -> list[Prediction]:
        """What ``answer`` gives for each photo and its question."""
        return answer_each(self, images, questions, top)

    def answer(self, image: EncodedImage, question: str, top: int = 5) -> Prediction:
        """Five answers whose order depends on the question and the photo."""
        self.calls["answer"] += 1
        time.sleep(self.delay)
        words_of(question)
        seed = int(image.tokens.sum().item() * 10) + sum(question.encode())
        generator = np.random.default_rng(seed)
        texts = generator.permutation(VOCABULARY)
        weights = np.sort(generator.dirichlet(np.full(len(texts), 0.4)))[::-1]
        answers = tuple(Answer(str(text), float(weight)) for text, weight in zip(texts, weights, strict=True))
        blind = (Answer("yes", 0.41), Answer("no", 0.22), Answer("red", 0.08))
        return Prediction(question, answers[:top], blind, float(generator.uniform(0.3, 0.8)))

    write = not_offered("It writes no answers.")

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
        """Answer, explanation and evidence together; None for the last without ``weigh``."""
        prediction = prediction or self.answer(image, question, top)
        answer = answer or prediction.answers[0].text
        explanation = self.explain(image, question, method, answer)
        judged = self.evidence(image, question, method, answer, explanation) if weigh else None
        return prediction, explanation, judged

    def explain(
        self, image: EncodedImage, question: str, method: str | None = None, answer: str | None = None
    ) -> Explanation:
        """One bump on the grid for each word, at ``planted_cell``."""
        self.calls["explain"] += 1
        words = words_of(question)
        maps = np.stack([bump(planted_cell(word, position)) for position, word in enumerate(words)])  # [W, rows, cols]
        token_to_patch = maps.reshape(len(words), -1)  # [W, N]
        lengths = np.array([len(word) for word in words], dtype=np.float32)
        token_scores = lengths / lengths.sum()
        patch_to_token = token_to_patch.T / token_to_patch.T.sum(axis=1, keepdims=True)  # [N, W]
        return Explanation(
            method=method or "grad_cam",
            tokens=words,
            image_map=np.tensordot(token_scores, maps, axes=1),
            token_scores=token_scores,
            token_to_patch=token_to_patch,
            patch_to_token=patch_to_token,
            text_to_image=np.tile(token_to_patch, (2, 2, 1, 1)),
            image_to_text=np.tile(patch_to_token, (2, 2, 1, 1)),
            grid=GRID,
            box=self.box,
        )

    def evidence(
        self,
        image: EncodedImage,
        question: str,
        method: str | None = None,
        answer: str | None = None,
        explanation: Explanation | None = None,
    ) -> Evidence:
        """The same good evidence for every map."""
        self.calls["evidence"] += 1
        return good_evidence(method, answer)

    def word_evidence(
        self,
        image: EncodedImage,
        question: str,
        word: int,
        method: str | None = None,
        answer: str | None = None,
        explanation: Explanation | None = None,
    ) -> WordEvidence:
        """The same good evidence for every word but the last, which is said to look like the first."""
        last = len(words_of(question)) - 1
        if word == last > 0:
            return WordEvidence(word, False, 0, None)
        return WordEvidence(word, False, None, good_evidence(method, answer))

    facts: ClassVar = {
        "checkpoint": "fake",
        "checkpoint_sha256": "00ff",
        "model_fingerprint": "ff00",
        "temperature": 1.25,
        "fusion": "none",
    }
    notice = ""
    offers = frozenset(OFFERS) - {"write"}
    explanation_methods = METHOD_NAMES
    attention_heads = (("text_to_image", 0, 0), ("text_to_image", 0, 1), ("image_to_text", 0, 0))

    def what_if(
        self,
        image: EncodedImage,
        question: str,
        hidden_cells: np.ndarray | None = None,
        hidden_words=(),
        masked_heads=(),
        candidates=(),
        top: int = 5,
    ) -> Prediction:
        """The answers to the question without the words; the candidates in their order; "silent" with a head off."""
        self.calls["what_if"] += 1
        left = " ".join(word for place, word in enumerate(words_of(question)) if place not in hidden_words)
        prediction = self.answer(image, left, top)
        texts = list(candidates) or (["silent"] if masked_heads else [])
        if not texts:
            return prediction
        answers = tuple(Answer(text, 1 / len(texts)) for text in texts)
        return Prediction(left, answers, prediction.blind_answers, prediction.gate)

    def concepts(self, image: EncodedImage, top: int = 20) -> tuple[tuple[str, float], ...]:
        """A bus on a street, surely; a cat, hardly; whatever the photo."""
        return (("bus", 0.97), ("street", 0.95), ("driving", 0.9), ("cat", 0.02))[:top]

    def track_record(self, answer: Answer) -> TrackRecord:
        """The same for every answer."""
        return TrackRecord(0.2, 0.3, 812, 0.27, "other")

    def masks(self, candidates) -> bool:
        """Whether all candidates are in the vocabulary."""
        return set(candidates) <= set(VOCABULARY)

    def counterfactual(self, image: EncodedImage, question: str, answer: str | None = None) -> Counterfactual:
        """The upper left cell and the first word, always."""
        region = np.zeros(GRID, dtype=bool)
        region[0, 0] = True
        return Counterfactual(answer or "yes", region, "no", (0,), "red")


class HeldPredictor(FakePredictor):
    """Answers nothing before ``go_on`` is set; ``questions`` are those that reached it, in their order.

    It explains by ``held_method``, if that is set, only once ``explain_on`` is, and has evidence once ``weigh_on`` is.
    What would change an answer it searches without end, as long as anybody waits for it: ``searching`` and ``stopped``
    say when it began and ended.
    """

    def __init__(self):
        super().__init__()
        self.go_on, self.explain_on = threading.Event(), threading.Event()
        self.weigh_on = threading.Event()
        self.weigh_on.set()
        self.searching, self.stopped = threading.Event(), threading.Event()
        self.questions: list[str] = []
        self.held_method = ""

    def counterfactual(self, image: EncodedImage, question: str, answer: str | None = None) -> Counterfactual:
        """Nothing, in steps as the real predictor's. Raises Stopped."""
        self.searching.set()
        end = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < end:
                stop_if_unwanted()
                time.sleep(0.02)
        except Stopped:
            self.stopped.set()
            raise
        raise AssertionError("Nobody stopped the search.")

    def answer(self, image: EncodedImage, question: str, top: int = 5) -> Prediction:
        """As the fake predictor, once it may."""
        self.questions.append(question)
        assert self.go_on.wait(PATIENCE)
        return super().answer(image, question, top)

    def explain(
        self, image: EncodedImage, question: str, method: str | None = None, answer: str | None = None
    ) -> Explanation:
        """As the fake predictor, once it may."""
        if method == self.held_method:
            assert self.explain_on.wait(PATIENCE)
        return super().explain(image, question, method, answer)

    def evidence(self, *asked) -> Evidence:
        """As the fake predictor, once it may."""
        assert self.weigh_on.wait(PATIENCE)
        return super().evidence(*asked)
