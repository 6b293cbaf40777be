"""VqaPredictor and load_predictor: photos and questions in, answers and explanations out, nothing kept of users."""

import dataclasses
import functools
import json
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from valm_core.answers import listed
from valm_core.checkpoints.contents import CONFIG_FILE, METRICS_FILE, WEIGHTS_FILE
from valm_core.checkpoints.fingerprints import config_facts
from valm_core.checkpoints.hub import fetch_checkpoint, fetch_files, is_hub_name
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.evidence import measure
from valm_core.evidence.rules import check_method, gather_evidence, word_without_evidence
from valm_core.explanations import DEFAULT_METHOD, EXPLANATION_METHODS
from valm_core.explanations.counterfactual import fewest_words, smallest_region, without_words
from valm_core.explanations.hiding import without_cells
from valm_core.explanations.trace import Trace, trace_question
from valm_core.exported.predictor import METADATA_FILE, OnnxPredictor
from valm_core.familiarity import PARTS, load_familiarity, photo_vectors, question_vectors
from valm_core.inputs.photo import open_photo
from valm_core.inputs.question import MAX_QUESTION_CHARACTERS, check_choices, clean_question
from valm_core.inputs.text import as_listed, clean_text
from valm_core.inputs.word_pieces import merge_word_pieces
from valm_core.model.folding import ready_for_inference
from valm_core.model.fusion import AttentionHead
from valm_core.model.heads import ANSWER_KINDS, answer_kind, candidate_scores
from valm_core.model.model import ValmModel
from valm_core.model.packages import sha256_of
from valm_core.outputs import (
    OFFERS,
    Answer,
    Counterfactual,
    EncodedImage,
    EncodedText,
    Evidence,
    Explanation,
    InputError,
    NotOffered,
    Photo,
    Prediction,
    Predictor,
    TrackRecord,
    UnknownAnswer,
    WordEvidence,
)

MAX_CANDIDATES = 100  # answers that a person may choose among
MIN_ON_RECORD = 30  # validation questions that a track record must rest on


def _on_cpu_when_gpu_fails(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same method of a predictor, done once more on the CPU where the GPU has no memory left or is gone."""

    @functools.wraps(method)
    def safe(self: "VqaPredictor", *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            if self.device.type == "cpu":
                raise
            self._fall_back_to_cpu(error)
        return method(self, *arguments, **named)

    return safe


class VqaPredictor:
    """Answers and explains with one trained model; safe to share between threads.

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
        self.notice = ""  # for people: why answers come more slowly now
        self._falling_back = threading.Lock()

    @classmethod
    def from_checkpoint(cls, name: str | Path, device: str = "auto") -> "VqaPredictor":
        """Load a checkpoint; for an export of one, see ``load_predictor``.

        Args:
            name: folder of the checkpoint, or ``user/model`` on the Hugging Face hub.
            device: auto, cpu, cuda, mps.

        Raises:
            FileNotFoundError, ValueError: see ``load_checkpoint`` and ``choose_device``.
        """
        folder = fetch_checkpoint(name)
        model = load_checkpoint(folder)
        chosen = choose_device(device)
        if chosen.type == "cpu":
            ready_for_inference(model.image_encoder.backbone)  # this model is ours alone: never trained, never saved
        return cls(model, chosen, folder)

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
        """What a report must say of the model, as plain values: what it is made of, and which checkpoint it is.

        ``checkpoint`` is the name of its folder and ``checkpoint_sha256`` that of its weights, where it has one.
        """
        facts = config_facts(dataclasses.asdict(self.model.config))
        if self.folder is not None:
            weights = Path(self.folder).resolve() / WEIGHTS_FILE
            facts["checkpoint"] = weights.parent.name
            facts["checkpoint_sha256"] = sha256_of(weights)
        return facts

    @functools.cached_property
    def _track_records(self) -> tuple[TrackRecord, ...]:
        """What the checkpoint's metrics.json says of its validation; empty where it says nothing usable."""
        try:
            metrics = json.loads((Path(self.folder or "") / METRICS_FILE).read_text(encoding="utf-8"))
            by_kind = metrics["reliability_by_kind"]
            records = [TrackRecord(**record, kind=kind) for kind in by_kind for record in by_kind[kind]]
            usable = all(0 <= record.accuracy <= 1 and record.questions > 0 for record in records)
            return tuple(records) if usable else ()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return ()

    def track_record(self, answer: Answer) -> TrackRecord | None:
        """How often answers of this one's kind, and as likely, were right on the validation questions.

        None where the checkpoint doesn't say, or had fewer than ``MIN_ON_RECORD`` such questions.
        """
        kind = answer_kind(answer.text)
        for record in self._track_records:
            inside = record.kind == kind and record.low <= answer.probability <= record.high
            if inside and record.questions >= MIN_ON_RECORD:
                return record
        return None

    def _fall_back_to_cpu(self, error: Exception) -> None:
        """Put the model on the CPU. Raises what torch raises where the weights are lost and there is no checkpoint."""
        with self._falling_back:
            if self.device.type == "cpu":  # another thread did it meanwhile
                return
            full = isinstance(error, torch.OutOfMemoryError)
            self.notice = (
                f"The GPU {'ran out of memory' if full else 'stopped working'}; the CPU answers now, more slowly."
            )
            logging.getLogger("valm").error("%s Restart to use the GPU again.", self.notice, exc_info=error)
            try:
                model = self.model.to("cpu")
            except RuntimeError:  # the weights went with the GPU
                if self.folder is None:
                    raise
                model = load_checkpoint(self.folder)
            # In this order: a thread that reads the new device finds the model there.
            self.model = model.eval()
            self.device = torch.device("cpu")
            self.__dict__.pop("_answer_embeddings", None)

    def open_photo(self, photo: Photo) -> Image.Image:
        """A photo as upright RGB, at most 1600 pixels long: what maps are drawn on. Raises InputError."""
        return open_photo(photo)

    def encode(self, photo: Photo) -> EncodedImage:
        """Encode a photo once, for any number of questions. Raises InputError."""
        return self.encode_many([photo])[0]

    @_on_cpu_when_gpu_fails
    @torch.no_grad()
    def encode_many(self, photos: Sequence[Photo]) -> list[EncodedImage]:
        """Encode photos in one pass, which is faster than one by one. Raises InputError for the first unusable one."""
        pixels = torch.stack([self.model.pixels(open_photo(photo)) for photo in photos])  # [B, 3, S, S]
        encoded = self.model.encode_image(pixels.to(self.device)).to("cpu")
        shown = encoded.concept_logits
        return [
            EncodedImage(tokens, encoded.grid, concept_logits=None if shown is None else shown[photo : photo + 1])
            for photo, tokens in enumerate(encoded.tokens.split(1))
        ]

    def answer(self, image: EncodedImage, question: str, top: int = 5) -> Prediction:
        """The ``top`` likeliest answers with calibrated probabilities, with the photo and without it.

        Beside "yes" or "no" those below 1 % are left out, see ``answers.listed``.

        Raises:
            InputError: the question is empty or too long.
        """
        return self.answer_many([image], [question], top)[0]

    @_on_cpu_when_gpu_fails
    @torch.no_grad()
    def answer_many(self, images: Sequence[EncodedImage], questions: Sequence[str], top: int = 5) -> list[Prediction]:
        """What ``answer`` gives for each photo and its question, B of them in one pass.

        Args:
            images: B encoded photos; the same one may stand there often.
            questions: B questions.
            top: as for ``answer``.

        Raises:
            InputError: one of the questions can't be asked.
        """
        questions, text = self._encode_questions(questions)
        tokens = torch.cat([image.tokens for image in images]).to(self.device)  # [B, N, D_image]
        return self._predict(questions, text, tokens, top)

    def write(self, image: EncodedImage, question: str, top: int = 5) -> Iterator[str | Prediction]:
        """Not offered: such a model chooses its answer from a list."""
        raise NotOffered("This model chooses its answer from a list; it writes none.")

    @_on_cpu_when_gpu_fails
    def ask(
        self,
        image: EncodedImage,
        question: str,
        method: str | None = None,
        answer: str | None = None,
        top: int = 5,
        prediction: Prediction | None = None,
    ) -> tuple[Prediction, Explanation, Evidence]:
        """What ``answer``, ``explain`` and ``evidence`` give together, with the question encoded once.

        Args:
            image, question, method, answer, top: as for those three.
            prediction: what ``answer`` gave for this photo and question, so that it need not be made again.

        Raises:
            InputError: the question is empty or too long.
            ValueError: an unknown method or answer.
        """
        method = method or DEFAULT_METHOD
        explain = _chosen_method(method)
        questions, text = self._encode_questions([question])
        image = image.to(self.device)
        prediction = prediction or self._predict(questions, text, image.tokens, top)[0]
        answer_index = self._answer_index(text, image, prediction.answers[0].text if answer is None else answer)
        trace = trace_question(self.model, text, image, answer_index)
        explanation = explain(self.model, text, image, answer_index, trace)
        image_map, blind = explanation.image_map, prediction.blind_answers[0]
        judged = self._evidence(text, image, method, answer_index, image_map, blind, trace)
        return prediction, self._by_word(explanation, prediction.question), judged

    @_on_cpu_when_gpu_fails
    def explain(
        self, image: EncodedImage, question: str, method: str | None = None, answer: str | None = None
    ) -> Explanation:
        """Where the model looked, word by word.

        Args:
            image: an encoded photo.
            question: the question.
            method: a key of ``EXPLANATION_METHODS``; None takes the default.
            answer: the answer of the list to explain; None takes the likeliest.

        Raises:
            InputError: the question is empty or too long.
            ValueError: an unknown method or answer.
        """
        explain = _chosen_method(method)
        question, text = self._encode_question(question)
        image = image.to(self.device)
        return self._by_word(explain(self.model, text, image, self._answer_index(text, image, answer)), question)

    @_on_cpu_when_gpu_fails
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
        the maps of the other quick methods. Raises what ``explain`` does.

        Args:
            image, question, method, answer: as for ``explain``.
            explanation: what ``explain`` gave for just these four, so that it need not be made again.
        """
        method = method or DEFAULT_METHOD
        explain = _chosen_method(method)
        question, text = self._encode_question(question)
        image = image.to(self.device)
        answer_index = self._answer_index(text, image, answer)
        trace = trace_question(self.model, text, image, answer_index)
        if explanation is None:
            explanation = explain(self.model, text, image, answer_index, trace)
        check_method(explanation, method)
        with torch.no_grad():
            blind = self._likeliest(self.model(text_tokens=text.tokens, text_mask=text.mask).logits[0], 1)[0]
        return self._evidence(text, image, method, answer_index, explanation.image_map, blind, trace)

    @_on_cpu_when_gpu_fails
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

        As ``evidence`` does for the whole question. Raises what that does.

        Args:
            image, question, method, answer, explanation: as for ``evidence``.
            word: its place in the question, from 0.

        Raises:
            ValueError: there is no such word.
        """
        method = method or DEFAULT_METHOD
        explanation = explanation or self.explain(image, question, method, answer)
        check_method(explanation, method)
        if doubted := word_without_evidence(explanation, word):
            return doubted
        question, text = self._encode_question(question)
        image = image.to(self.device)
        answer_index = self._answer_index(text, image, answer)
        with torch.no_grad():
            blind = self._likeliest(self.model(text_tokens=text.tokens, text_mask=text.mask).logits[0], 1)[0]
        compared = measure.compared_explanations(self.model, text, image, answer_index, method)
        others = [self._by_word(other, question).token_map(word) for other in compared]
        word_map = explanation.token_map(word)
        probabilities = measure.hiding_probabilities(self.model, text, image, answer_index, [word_map])
        found = gather_evidence(method, self.model.answers[answer_index], probabilities, blind, word_map, others)
        return WordEvidence(word, False, None, found)

    @_on_cpu_when_gpu_fails
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
            image, question, top: as for ``answer``.
            hidden_cells: [rows, columns] of the photo's grid, True where a cell gives way to the average image token of
                the training data.
            hidden_words: places of words, split at white space; the rest of the question is read anew.
            masked_heads: attention heads that add nothing, each (step, layer, head), of ``attention_heads``.
            candidates: the only answers allowed. Where all are in the model's list, the others are masked; else every
                candidate is scored by its nearness in meaning to the likely answers (``heads.candidate_scores``), see
                ``masks``. The probabilities sum to 1 over the candidates and are not calibrated.

        Raises:
            InputError: no word is left, the question can't be asked, or there are too few or too many candidates.
            ValueError: cells of another shape, or a word or head that isn't there.
        """
        words = clean_question(question).split()
        if outside := [place for place in hidden_words if not 0 <= place < len(words)]:
            raise ValueError(f"hidden_words has {outside[0]}, but the question has the words 0 to {len(words) - 1}.")
        left = without_words(words, hidden_words)
        if not left:
            raise InputError("Every word is switched off. Leave at least one.")
        if unknown := set(masked_heads) - set(self.attention_heads):
            raise ValueError(f"masked_heads has {min(unknown)}, which is none of the model's `attention_heads`.")
        tokens = image.tokens.to(self.device)
        if hidden_cells is not None:
            hidden = torch.as_tensor(hidden_cells, dtype=torch.bool, device=self.device)
            if tuple(hidden.shape) != tuple(image.grid):
                raise ValueError(f"hidden_cells has shape {tuple(hidden.shape)}, but the photo's grid is {image.grid}.")
            tokens = without_cells(self.model, tokens, hidden.flatten()[None])  # [1, N, D_image]
        choices = _cleaned_candidates(candidates)
        questions, text = self._encode_questions([left])
        return self._predict(questions, text, tokens, top, choices, tuple(masked_heads))[0]

    def concepts(self, image: EncodedImage, top: int = 20) -> tuple[tuple[str, float], ...]:
        """The ``top`` concepts that a photo shows most surely, each with its score in 0..1; nothing is computed anew.

        A score is the sigmoid of what the photo's cells say together, see ``model.concepts.photo_logits``; it is no
        calibrated probability.

        Raises:
            NotOffered: the model has no concepts.
        """
        if image.concept_logits is None:
            raise NotOffered("This model knows no concepts, so it can't say what a photo shows. Ask it a question.")
        scores, places = image.concept_logits[0].sigmoid().topk(min(top, len(self.model.concepts)))
        return tuple(
            (self.model.concepts[place], score) for place, score in zip(places.tolist(), scores.tolist(), strict=True)
        )

    @property
    def attention_heads(self) -> tuple[AttentionHead, ...]:
        """Every head of the fusion that ``what_if`` can mask: (step, layer, head), both counted from 0."""
        config = self.model.config
        return tuple(
            (step, layer, head)
            for step in cast(tuple[str, ...], self.model.fusion.STEPS)
            for layer in range(config.layers)
            for head in range(config.heads)
        )

    def masks(self, candidates: Sequence[str]) -> bool:
        """Whether all candidates are in the answer list, so that ``what_if`` masks the others. Raises InputError."""
        return set(_cleaned_candidates(candidates)) <= set(self.model.answers)

    @_on_cpu_when_gpu_fails
    def counterfactual(self, image: EncodedImage, question: str, answer: str | None = None) -> Counterfactual:
        """The smallest region found, and the fewest words, whose hiding makes another answer the likeliest.

        Args:
            image: an encoded photo.
            question: the question.
            answer: the answer of the list to flip; None takes the likeliest.

        Raises:
            InputError: the question is empty or too long.
            ValueError: an unknown answer.
        """
        question, text = self._encode_question(question)
        image = image.to(self.device)
        answer_index = self._answer_index(text, image, answer)
        region = smallest_region(self.model, text, image, answer_index)
        words = fewest_words(self.model, question, image, answer_index)
        return Counterfactual(
            answer=self.model.answers[answer_index],
            region=region[0] if region else None,
            region_answer=self.model.answers[region[1]] if region else None,
            words=words[0] if words else None,
            words_answer=self.model.answers[words[1]] if words else None,
        )

    def _evidence(
        self,
        text: EncodedText,
        image: EncodedImage,
        method: str,
        answer_index: int,
        image_map: np.ndarray,
        blind: Answer,
        trace: Trace,
    ) -> Evidence:
        compared = measure.compared_explanations(self.model, text, image, answer_index, method, trace)
        others = [other.image_map for other in compared]
        probabilities = measure.hiding_probabilities(self.model, text, image, answer_index, [image_map])
        return gather_evidence(method, self.model.answers[answer_index], probabilities, blind, image_map, others)

    def _by_word(self, explanation: Explanation, question: str) -> Explanation:
        words, token_words = self.model.tokenizer.words(question)
        return merge_word_pieces(explanation, words, token_words)

    @torch.no_grad()
    def _answer_index(self, text: EncodedText, image: EncodedImage, answer: str | None) -> int:
        """The place of an answer in the list, of the likeliest for None. Raises UnknownAnswer."""
        if answer is None:
            output = self.model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=image.tokens)
            return int(output.logits[0].argmax())
        answer = as_listed(answer, self.model.answers)
        if answer not in self.model.answers:
            raise UnknownAnswer(
                f"answer is {answer!r}, which is not among the {len(self.model.answers)} answers of the model. Choose "
                "one of the answers it gave, or pass None."
            )
        return self.model.answers.index(answer)

    def _encode_question(self, question: str) -> tuple[str, EncodedText]:
        (question,), text = self._encode_questions([question])
        return question, text

    @torch.no_grad()
    def _encode_questions(self, questions: Sequence[str]) -> tuple[list[str], EncodedText]:
        questions = [clean_question(question) for question in questions]
        ids, mask = self.model.tokenizer(questions)
        return questions, self.model.encode_question(ids.to(self.device), mask.to(self.device))

    @functools.cached_property
    def _answer_embeddings(self) -> torch.Tensor:  # [A, D_text]; a second thread may compute the same again
        return self.model.embed_texts(self.model.answers)

    @torch.no_grad()
    def _predict(
        self,
        questions: Sequence[str],
        text: EncodedText,
        image_tokens: torch.Tensor,
        top: int,
        candidates: tuple[str, ...] = (),
        masked_heads: tuple[AttentionHead, ...] = (),
    ) -> list[Prediction]:
        asked = {"text_tokens": text.tokens, "text_mask": text.mask, "masked_heads": masked_heads}
        output = self.model(**asked, image_tokens=image_tokens)
        blind = self.model(**asked)
        unfamiliar = self._unfamiliar(text, image_tokens)
        return [
            Prediction(
                question=question,
                answers=self._likeliest(output.logits[row], top, candidates),
                blind_answers=self._likeliest(blind.logits[row], top, candidates),
                gate=float(output.features.gate[row]),
                kinds=self._kinds(output.logits[row]),
                unfamiliar=unfamiliar[row],
            )
            for row, question in enumerate(questions)
        ]

    def _kinds(self, logits: torch.Tensor) -> dict[str, float]:
        """How likely each kind of answer is, of logits [A]."""
        probabilities = self.model.probabilities(logits).cpu()
        shares = torch.bincount(self._kind_of_answer, probabilities, minlength=len(ANSWER_KINDS))
        return dict(zip(ANSWER_KINDS, shares.tolist(), strict=True))

    @functools.cached_property
    def _kind_of_answer(self) -> torch.Tensor:  # [A], places in ANSWER_KINDS
        return torch.tensor([ANSWER_KINDS.index(answer_kind(answer)) for answer in self.model.answers])

    def _unfamiliar(self, text: EncodedText, image_tokens: torch.Tensor) -> list[tuple[str, ...]]:
        """Which of ``familiarity.PARTS`` of each question lie outside what the model learned from."""
        if not self.familiar:
            return [()] * len(text.mask)
        photos = photo_vectors(self.model, image_tokens.expand(len(text.mask), -1, -1))
        vectors = {"photo": photos, "question": question_vectors(text)}
        outside = {part: self.familiar[part].distance(vectors[part]) > self.familiar[part].limit for part in PARTS}
        return [tuple(part for part in PARTS if outside[part][row]) for row in range(len(text.mask))]

    def _likeliest(self, logits: torch.Tensor, top: int, candidates: tuple[str, ...] = ()) -> tuple[Answer, ...]:
        probabilities = self.model.probabilities(logits)
        answers = candidates or self.model.answers
        if candidates:
            if self.masks(candidates):
                scores = probabilities[[self.model.answers.index(candidate) for candidate in candidates]]
            else:
                embedded = self.model.embed_texts(list(candidates))
                scores = candidate_scores(probabilities, self._answer_embeddings, embedded)
            probabilities = scores / scores.sum()
        values, indices = probabilities.topk(min(top, len(probabilities)))
        likeliest = tuple(
            Answer(answers[index], value) for value, index in zip(values.tolist(), indices.tolist(), strict=True)
        )
        return likeliest if candidates else listed(likeliest)


def load_predictor(
    name: str | Path, device: str = "auto", prompt: str | None = None, calibration: str | Path | None = None
) -> Predictor:
    """Load a checkpoint, what ``training.export`` made of one, or an open vision-language model of transformers.

    An export is known by its ``metadata.json``, an open model by the ``model_type`` in its ``config.json``.

    To load an export without importing torch, call ``OnnxPredictor.from_checkpoint`` itself.

    Args:
        name: folder of the checkpoint or the export, or ``user/model`` on the Hugging Face hub.
        device: auto, cpu, cuda, mps; an export runs on the CPU.
        prompt: what an open model is asked, with ``{image}`` and ``{question}``; None takes its family's.
        calibration: of an open model, a file of ``training.calibrate``; None leaves its probabilities as they are.

    Raises:
        FileNotFoundError, ImportError, ValueError: see ``VqaPredictor.from_checkpoint`` and
            ``OnnxPredictor.from_checkpoint``.
    """
    if not (Path(name) / METADATA_FILE).is_file():
        if is_open_model(name):
            from valm_core.vision_language.predictor import TransformersPredictor  # not above: most pages have none

            return TransformersPredictor.from_pretrained(name, choose_device(device), prompt, calibration)
        return VqaPredictor.from_checkpoint(name, device)
    if device not in ("auto", "cpu"):
        raise ValueError(f"device is {device!r}, but exported models run on the CPU; use `auto` or `cpu`.")
    return OnnxPredictor.from_checkpoint(name)


def is_open_model(name: str | Path) -> bool:
    """Whether a folder or hub name is a model of transformers: its config.json has a ``model_type``, VALM's has none.

    Raises:
        FileNotFoundError: the hub didn't give it.
    """
    try:
        config = json.loads((fetch_files(name, (CONFIG_FILE,)) / CONFIG_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if is_hub_name(name):
            raise
        return False  # what is wrong with a checkpoint says who loads it
    return isinstance(config, dict) and "model_type" in config and "fusion" not in config


def _cleaned_candidates(candidates: Sequence[str]) -> tuple[str, ...]:
    """Candidates in their normal form and lower case, as the answer list is, each once, in their order; none for none.

    Raises:
        InputError: only one, too many, one that is too long, or one with half a character.
    """
    texts = (clean_text(text, "answer to choose from").lower() for text in candidates)
    cleaned = tuple(dict.fromkeys(text for text in texts if text))
    check_choices(cleaned, MAX_CANDIDATES)
    if longest := next((text for text in cleaned if len(text) > MAX_QUESTION_CHARACTERS), ""):
        raise InputError(
            "An answer to choose from has {count} letters; at most {most}.",
            count=len(longest),
            most=MAX_QUESTION_CHARACTERS,
        )
    return cleaned


def _chosen_method(method: str | None) -> Callable[..., Explanation]:
    """The explanation method of that name, the default for None. Raises ValueError for an unknown one."""
    if method is not None and method not in EXPLANATION_METHODS:
        raise ValueError(f"method is {method!r}; allowed: {', '.join(EXPLANATION_METHODS)}.")
    return EXPLANATION_METHODS[method or DEFAULT_METHOD]


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes cuda, else mps, else cpu; a name takes that device.

    Raises:
        ValueError: the device isn't there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available.get(name.split(":")[0], False):
        there = ", ".join(device for device, there in available.items() if there)
        raise ValueError(f"device is {name!r}, but here there is only: {there} (or auto).")
    return torch.device(name)
