"""OnnxPredictor: answers and explanations from what ``training.export`` wrote, without torch or transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from valm_core.asking import answer_each, chosen_method, not_offered, place_in_list
from valm_core.checkpoints.fingerprints import config_facts
from valm_core.evidence.rules import (
    check_method,
    gather_evidence,
    hidden_variants,
    split_variants,
    word_without_evidence,
)
from valm_core.exported import model as exported
from valm_core.exported.model import METHODS, ExportedModel
from valm_core.inputs.photo import open_photo
from valm_core.inputs.text import as_listed
from valm_core.inputs.word_pieces import merge_word_pieces, words_of_pieces
from valm_core.outputs import (
    Answer,
    EncodedImage,
    Evidence,
    Explanation,
    Photo,
    Prediction,
    TrackRecord,
    WordEvidence,
)

OTHER_METHODS = " The others need gradients or the model itself: load the checkpoint for them."


class OnnxPredictor:
    """Answers and explains with an exported model, on the CPU; safe to share between threads.

    A ``Predictor`` without ``what_if`` and ``counterfactual``. An ``EncodedImage`` holds an array here. A graph gives
    no gradients, so maps come from attention alone.
    """

    notice = ""
    offers: frozenset[str] = frozenset({"word_evidence"})
    explanation_methods = METHODS
    attention_heads: tuple[tuple[str, int, int], ...] = ()

    def __init__(self, model: ExportedModel):
        self.model = model
        self.answers: list[str] = model.answers
        measured = model.metadata.get("verdict_thresholds")  # as of ``facts.read_thresholds``
        self.thresholds = (float(measured[0]), float(measured[1])) if measured else None

    @classmethod
    def from_checkpoint(cls, folder: str | Path, threads: int = 0) -> OnnxPredictor:
        """Load a folder that ``python -m training.export`` wrote; ``threads`` for one question, 0 for its default.

        Raises:
            ImportError, FileNotFoundError, ValueError: see ``exported.loading.load_parts``.
        """
        return cls(exported.load_export(Path(folder), threads))

    def open_photo(self, photo: Photo) -> Image.Image:
        """A photo as upright RGB, at most 1600 pixels long: what maps are drawn on. Raises InputError."""
        return open_photo(photo)

    def encode(self, photo: Photo) -> EncodedImage:
        """Encode a photo once, for any number of questions. Raises InputError."""
        return exported.encode_photo(self.model, photo)

    def encode_many(self, photos: Sequence[Photo]) -> list[EncodedImage]:
        """What ``encode`` gives for each photo."""
        return [self.encode(photo) for photo in photos]

    def answer(self, image: EncodedImage, question: str, top: int = 5) -> Prediction:
        """The ``top`` likeliest answers with calibrated probabilities, with the photo and without it.

        Raises:
            InputError: the question is empty or too long.
        """
        question, text = exported.encode_question(self.model, question)
        tokens = exported.photo_tokens(image)
        logits, gate = exported.fuse(self.model, text, tokens, image.grid, ["logits", "gate"])
        return Prediction(
            question=question,
            answers=exported.likeliest(self.model, logits[0], top),
            blind_answers=exported.likeliest(self.model, exported.blind_logits(self.model, text), top),
            gate=float(gate[0]),
        )

    def answer_many(self, images: Sequence[EncodedImage], questions: Sequence[str], top: int = 5) -> list[Prediction]:
        """What ``answer`` gives for each photo and its question."""
        return answer_each(self, images, questions, top)

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
        """What ``answer``, ``explain`` and ``evidence`` give together.

        Args:
            image, question, method, answer, top: as for those three.
            prediction: what ``answer`` gave for this photo and question, so that it need not be made again.
            weigh: with the evidence; None in its place else.
        """
        method = self._method(method)
        prediction = prediction or self.answer(image, question, top)
        answer = prediction.answers[0].text if answer is None else answer
        explanation = self.explain(image, question, method, answer)
        judged = self.evidence(image, question, method, answer, explanation) if weigh else None
        return prediction, explanation, judged

    def explain(
        self, image: EncodedImage, question: str, method: str | None = None, answer: str | None = None
    ) -> Explanation:
        """Where the model looked, word by word: ``raw_attention`` (the default) or ``attention_rollout``.

        Both are the same for every answer.

        Raises:
            InputError: the question is empty or too long.
            ValueError: another method, or an unknown answer.
        """
        method = self._method(method)
        question, text = exported.encode_question(self.model, question)
        if answer is not None:
            place_in_list(answer, self.answers)
        explanation = exported.explain(self.model, text, image, method)
        encoding = self.model.tokenizer.encode(question)
        words, token_words = words_of_pieces(question, encoding.offsets, encoding.special_tokens_mask)
        return merge_word_pieces(explanation, words, token_words)

    def evidence(
        self,
        image: EncodedImage,
        question: str,
        method: str | None = None,
        answer: str | None = None,
        explanation: Explanation | None = None,
    ) -> Evidence:
        """How far the map of the whole question can be believed, see ``VqaPredictor.evidence``.

        The thresholds of its verdict were calibrated for the default map of ``VqaPredictor``, and agreement is that
        with the other map an export can give.

        Args:
            image, question, method, answer: as for ``explain``.
            explanation: what ``explain`` gave for just these four, so that it need not be made again.
        """
        method = self._method(method)
        question, text = exported.encode_question(self.model, question)
        if explanation is None:
            explanation = exported.explain(self.model, text, image, method)
        check_method(explanation, method)
        others = [exported.explain(self.model, text, image, other).image_map for other in METHODS if other != method]
        return self._judged(image, (question, text), method, answer, explanation.image_map, others)

    def word_evidence(
        self,
        image: EncodedImage,
        question: str,
        word: int,
        method: str | None = None,
        answer: str | None = None,
        explanation: Explanation | None = None,
    ) -> WordEvidence:
        """How far the map of one word can be believed, see ``VqaPredictor.word_evidence`` and ``evidence``."""
        method = self._method(method)
        explanation = explanation or self.explain(image, question, method, answer)
        check_method(explanation, method)
        if doubted := word_without_evidence(explanation, word):
            return doubted
        question, text = exported.encode_question(self.model, question)
        others = [self.explain(image, question, other).token_map(word) for other in METHODS if other != method]
        found = self._judged(image, (question, text), method, answer, explanation.token_map(word), others)
        return WordEvidence(word, False, None, found)

    def _judged(
        self,
        image: EncodedImage,
        asked: tuple[str, np.ndarray],
        method: str,
        answer: str | None,
        image_map: np.ndarray,
        others: list[np.ndarray],
    ) -> Evidence:
        """The evidence for a map [rows, columns], beside others of its kind; ``asked`` as of ``encode_question``."""
        question, text = asked
        hidden = hidden_variants(image_map.size, self.model.tokenizer.encode(question).ids, [image_map])  # [F, N]
        logits = exported.logits_without_cells(self.model, text, image, hidden)
        place = int(logits[0].argmax()) if answer is None else place_in_list(answer, self.answers)
        found = split_variants(exported.probabilities(self.model, logits, asked=logits[:1])[:, place])
        (blind,) = exported.likeliest(self.model, exported.blind_logits(self.model, text), 1)
        return gather_evidence(method, self.answers[place], found, blind, image_map, others, self.thresholds)

    def _method(self, method: str | None) -> str:
        return chosen_method(method, METHODS, METHODS[0], OTHER_METHODS)

    @property
    def facts(self) -> dict[str, str | float]:
        """What ``VqaPredictor.facts`` says of the checkpoint, without the name of its folder, and the ``format``."""
        metadata = self.model.metadata
        named = {name: metadata[name] for name in ("checkpoint_sha256", "format")}
        named["model_fingerprint"] = self.model.fingerprint
        return config_facts(metadata["config"]) | named

    what_if = not_offered("An exported model can't answer with parts switched off. Use its checkpoint for that.")
    counterfactual = not_offered(
        "An exported model can't look for what would change its answer. Use its checkpoint for that."
    )
    write = not_offered("This model chooses its answer from a list; it writes none.")
    concepts = not_offered("An exported model can't name what a photo shows. Use its checkpoint for that.")

    def masks(self, candidates: Sequence[str]) -> bool:
        """Whether all candidates are in the answer list."""
        return {as_listed(candidate, self.answers) for candidate in candidates} <= set(self.answers)

    def track_record(self, answer: Answer) -> TrackRecord | None:
        """None: an export doesn't hold its checkpoint's figures."""
        return None
