"""VqaPredictor: photos and questions in, answers and explanations out, nothing kept of users.

A door: what is computed stands in ``answering``, ``explanations`` and ``evidence``, as functions of a model.
"""

import dataclasses
import functools
import itertools
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch.utils.weak import WeakTensorKeyDictionary

from valm_core import answering
from valm_core.asking import check_cells, chosen_method, not_offered, words_left
from valm_core.checkpoints.facts import checkpoint_facts, read_thresholds, read_track_records, record_of
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.devices import choose_device
from valm_core.evidence.measure import compared_explanations, explain_and_judge, judge_map
from valm_core.evidence.rules import check_method, word_without_evidence
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.explanations.counterfactual import counterfactual
from valm_core.explanations.hiding import without_cells
from valm_core.familiarity import load_familiarity
from valm_core.gpu_failures import on_cpu_when_gpu_fails
from valm_core.inputs.photo import open_photo
from valm_core.inputs.word_pieces import merge_word_pieces
from valm_core.method_names import DEFAULT_METHOD
from valm_core.model.encoders.concepts import surest_concepts
from valm_core.model.fusion.streams import AttentionHead
from valm_core.model.model import ValmModel
from valm_core.model.prepared_cells import PreparedCells
from valm_core.outputs import (
    OFFERS,
    Answer,
    Counterfactual,
    EncodedImage,
    EncodedText,
    Evidence,
    Explanation,
    NotOffered,
    Photo,
    Prediction,
    TrackRecord,
    WordEvidence,
)

MAX_PREPARED = 32  # photos of which is kept what is made before a question, 0.7 MB each


class VqaPredictor:
    """Answers and explains with one trained model; safe to share between threads.

    Methods take a photo as ``encode`` gave it, a question, one of the ``explanation_methods`` (None for
    ``DEFAULT_METHOD``) and the answer of the list to explain (None for the likeliest). They raise InputError where the
    question is empty or too long, ValueError for an unknown method, UnknownAnswer for an answer that isn't listed.

    Args:
        model: a trained model; it is moved to ``device`` and put in evaluation mode.
        device: where to compute; what is returned lies on the CPU. When a GPU runs out of memory or vanishes, the CPU
            takes over for good, and ``notice`` says so.
        folder: the checkpoint that the model came from, for ``facts``, and to load it again when its GPU is lost.
    """

    def __init__(self, model: ValmModel, device: torch.device, folder: str | Path | None = None):
        self.model = model.to(device).eval()
        self.device = device
        self.folder = folder
        self.familiar = {} if folder is None else load_familiarity(folder)
        self.track_records = read_track_records(folder)
        self.thresholds = read_thresholds(folder)
        self.prepared = WeakTensorKeyDictionary()  # a photo's tokens -> PreparedCells
        self.notice = ""  # for people: why answers come more slowly now
        self.falling_back = threading.Lock()

    @classmethod
    def from_checkpoint(cls, name: str | Path, device: str = "auto") -> "VqaPredictor":
        """Load a checkpoint: its folder, or ``user/model`` on the hub; for all else see ``load_predictor``.

        Raises:
            FileNotFoundError, ValueError: see ``load_checkpoint`` and ``choose_device``.
        """
        folder = fetch_checkpoint(name)
        chosen = choose_device(device)
        return cls(load_checkpoint(folder, for_inference=chosen.type == "cpu"), chosen, folder)

    @property
    def answers(self) -> list[str]:
        """Every answer that the model can give."""
        return self.model.answers

    @property
    def offers(self) -> frozenset[str]:
        """Which of ``outputs.OFFERS`` this model can do: all but ``write``, ``concepts`` where it learned any."""
        return frozenset(OFFERS) - {"write"} - (frozenset() if self.model.concepts else {"concepts"})

    @property
    def explanation_methods(self) -> tuple[str, ...]:
        """The names that ``explain``, ``evidence`` and ``ask`` take as ``method``; None takes ``DEFAULT_METHOD``."""
        return tuple(EXPLANATION_METHODS)

    @functools.cached_property
    def facts(self) -> dict[str, str | float]:
        """What a report must say of the model, as plain values: what it is made of, and which checkpoint it is."""
        return checkpoint_facts(dataclasses.asdict(self.model.config), self.folder)

    def track_record(self, answer: Answer) -> TrackRecord | None:
        """How often answers of its kind, and as likely, were right on validation questions; None where unknown."""
        return record_of(answer, self.track_records)

    def open_photo(self, photo: Photo) -> Image.Image:
        """A photo as upright RGB, at most 1600 pixels long: what maps are drawn on. Raises InputError."""
        return open_photo(photo)

    def encode(self, photo: Photo) -> EncodedImage:
        """Encode a photo once, for any number of questions. Raises InputError."""
        return self.encode_many([photo])[0]

    @on_cpu_when_gpu_fails
    def encode_many(self, photos: Sequence[Photo]) -> list[EncodedImage]:
        """Encode photos in one pass, which is faster than one by one. Raises InputError for the first unusable one."""
        return answering.encode_photos(self.model, photos)

    def answer(self, image: EncodedImage, question: str, top: int = 5) -> Prediction:
        """The ``top`` likeliest answers with calibrated probabilities, with the photo and without it.

        Beside "yes" or "no" those below 1 % are left out, see ``answers.listed``.
        """
        return self.answer_many([image], [question], top)[0]

    @on_cpu_when_gpu_fails
    @torch.no_grad()
    def answer_many(self, images: Sequence[EncodedImage], questions: Sequence[str], top: int = 5) -> list[Prediction]:
        """What ``answer`` gives for each photo and its question, all in one pass; a photo may come often."""
        encoded = answering.encode_questions(self.model, questions)
        tokens = torch.cat([image.tokens for image in images]).to(self.device)  # [B, N, D_image]
        first, *others = [self._prepared(image) for image in images]
        return answering.predict(
            self.model, encoded, tokens, self._ranking(top), self.familiar, cells=first.joined(others)
        )

    write = not_offered("This model chooses its answer from a list; it writes none.")

    @on_cpu_when_gpu_fails
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
        """What ``answer``, ``explain`` and ``evidence`` give together, with the question encoded once.

        ``prediction`` is what ``answer`` gave for this photo and question, so that it need not be made again. Without
        ``weigh`` the evidence, nine tenths of the work, is left to ``evidence``: None.
        """
        method = chosen_method(method, EXPLANATION_METHODS, DEFAULT_METHOD)
        encoded = (question,), text = answering.encode_questions(self.model, [question])
        image = image.to(self.device)
        if prediction is None:
            (prediction,) = answering.predict(self.model, encoded, image.tokens, self._ranking(top), self.familiar)
        answer = prediction.answers[0].text if answer is None else answer
        asked = self.model, text, image, answering.place_of_answer(self.model, text, image, answer)
        if not weigh:
            return prediction, self._by_word(EXPLANATION_METHODS[method](*asked), question), None
        explanation, judged = explain_and_judge(*asked, method, prediction.blind_answers[0], None, self.thresholds)
        return prediction, self._by_word(explanation, question), judged

    @on_cpu_when_gpu_fails
    def explain(
        self, image: EncodedImage, question: str, method: str | None = None, answer: str | None = None
    ) -> Explanation:
        """Where the model looked, word by word."""
        method = chosen_method(method, EXPLANATION_METHODS, DEFAULT_METHOD)
        question, asked = self._asked(image, question, answer)
        return self._by_word(EXPLANATION_METHODS[method](*asked), question)

    @on_cpu_when_gpu_fails
    def evidence(
        self,
        image: EncodedImage,
        question: str,
        method: str | None = None,
        answer: str | None = None,
        explanation: Explanation | None = None,
    ) -> Evidence:
        """How far the map that ``explain`` gives for the whole question can be believed.

        Hides more and more of the cells it marks hottest, and as many at random, and asks again; and compares it with
        the maps of the other quick methods. ``explanation`` is what ``explain`` gave for just the same, so that it need
        not be made again.
        """
        method = chosen_method(method, EXPLANATION_METHODS, DEFAULT_METHOD)
        _, asked = self._asked(image, question, answer)
        blind = answering.blind_answer(self.model, asked[1])
        return explain_and_judge(*asked, method, blind, explanation, self.thresholds)[1]

    @on_cpu_when_gpu_fails
    def word_evidence(
        self,
        image: EncodedImage,
        question: str,
        word: int,
        method: str | None = None,
        answer: str | None = None,
        explanation: Explanation | None = None,
    ) -> WordEvidence:
        """How far the map that ``explain`` gives for one word can be believed: by hiding where that word looked.

        As ``evidence`` does for the whole question. ``word`` is its place in the question, from 0; raises ValueError
        where there is no such word.
        """
        method = chosen_method(method, EXPLANATION_METHODS, DEFAULT_METHOD)
        explanation = explanation or self.explain(image, question, method, answer)
        check_method(explanation, method)
        if doubted := word_without_evidence(explanation, word):
            return doubted
        question, asked = self._asked(image, question, answer)
        others = [self._by_word(other, question).token_map(word) for other in compared_explanations(*asked, method)]
        blind = answering.blind_answer(self.model, asked[1])
        found = judge_map(*asked, method, explanation.token_map(word), others, blind, self.thresholds)
        return WordEvidence(word, False, None, found)

    @on_cpu_when_gpu_fails
    @torch.no_grad()
    def what_if(
        self,
        image: EncodedImage,
        question: str,
        hidden_cells: np.ndarray | None = None,
        hidden_words: Collection[int] = (),
        masked_heads: Collection[AttentionHead] = (),
        candidates: Sequence[str] = (),
        top: int = 5,
    ) -> Prediction:
        """Answer once more with something switched off, or among given answers only.

        Args:
            hidden_cells: [rows, columns] of the photo's grid, True where a cell gives way to the average image token of
                the training data.
            hidden_words: places of words, split at white space; the rest of the question is read anew.
            masked_heads: attention heads that add nothing, each (step, layer, head), of ``attention_heads``.
            candidates: the only answers allowed. Where all are in the model's list, the others are masked; else every
                candidate is scored by its nearness in meaning to the likely answers (``heads.candidate_scores``), see
                ``masks``. The probabilities sum to 1 over the candidates and are not calibrated.

        Raises:
            InputError: no word is left, or there are too few or too many candidates.
            ValueError: cells of another shape, or a word or head that isn't there.
        """
        left = words_left(question, hidden_words)
        if unknown := set(masked_heads) - set(self.attention_heads):
            raise ValueError(f"masked_heads has {min(unknown)}, which is none of the model's `attention_heads`.")
        tokens = image.tokens.to(self.device)
        if hidden_cells is not None:
            check_cells(hidden_cells, image)
            hidden = torch.as_tensor(hidden_cells.reshape(1, -1), dtype=torch.bool, device=self.device)  # [1, N]
            tokens = without_cells(self.model, tokens, hidden)
        ranking = self._ranking(top, answering.cleaned_candidates(candidates))
        encoded = answering.encode_questions(self.model, [left])
        return answering.predict(self.model, encoded, tokens, ranking, self.familiar, tuple(masked_heads))[0]

    def concepts(self, image: EncodedImage, top: int = 20) -> tuple[tuple[str, float], ...]:
        """The ``top`` concepts that a photo shows most surely, each with a score in 0..1, no probability.

        Raises:
            NotOffered: the model has no concepts.
        """
        if image.concept_logits is None:
            raise NotOffered("This model knows no concepts, so it can't say what a photo shows. Ask it a question.")
        return surest_concepts(image.concept_logits[0], self.model.concepts, top)

    @property
    def attention_heads(self) -> tuple[AttentionHead, ...]:
        """Every head of the fusion that ``what_if`` can mask: (step, layer, head), both counted from 0."""
        steps, config = cast(tuple[str, ...], self.model.fusion.STEPS), self.model.config
        return tuple(itertools.product(steps, range(config.layers), range(config.heads)))

    def masks(self, candidates: Sequence[str]) -> bool:
        """Whether all candidates are in the answer list, so that ``what_if`` masks the others. Raises InputError."""
        return set(answering.cleaned_candidates(candidates)) <= set(self.model.answers)

    @on_cpu_when_gpu_fails
    def counterfactual(self, image: EncodedImage, question: str, answer: str | None = None) -> Counterfactual:
        """The smallest region found, and the fewest words, whose hiding makes another answer likelier."""
        question, (model, text, image, answer_index) = self._asked(image, question, answer)
        return counterfactual(model, question, text, image, answer_index)

    @torch.no_grad()
    def _prepared(self, image: EncodedImage) -> PreparedCells:
        """What is made of a photo before its questions, kept for the next one for as long as the photo itself is."""
        cells = self.prepared.get(image.tokens)
        if cells is None or cells.projected.device != self.model.device:  # a lost GPU took them along
            cells = self.model.prepare(image.tokens.to(self.device), image.grid)
            if len(self.prepared) >= MAX_PREPARED:
                self.prepared.clear()
            self.prepared[image.tokens] = cells
        return cells

    def _asked(
        self, image: EncodedImage, question: str, answer: str | None
    ) -> tuple[str, tuple[ValmModel, EncodedText, EncodedImage, int]]:
        """The cleaned question, and what every explanation method takes."""
        (question,), text = answering.encode_questions(self.model, [question])
        image = image.to(self.device)
        return question, (self.model, text, image, answering.place_of_answer(self.model, text, image, answer))

    def _by_word(self, explanation: Explanation, question: str) -> Explanation:
        return merge_word_pieces(explanation, *self.model.tokenizer.words(question))

    def _ranking(self, top: int, choices: tuple[str, ...] = ()) -> answering.Ranking:
        """How logits become answers: of the whole list, or of ``choices`` alone."""
        if not choices:
            return functools.partial(answering.likeliest, self.model, top)
        embeddings = None if set(choices) <= set(self.model.answers) else self.answer_embeddings
        return functools.partial(answering.ranked_choices, self.model, top, choices, embeddings)

    @functools.cached_property
    def answer_embeddings(self) -> torch.Tensor:  # [A, D_text]; a second thread may compute the same again
        return self.model.embed_texts(self.model.answers)
