"""OnnxPredictor: answers and explanations from what ``training.export`` wrote, without torch or transformers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from valm_core.answers import YES_NO, listed
from valm_core.checkpoints.contents import WEIGHTS_FILE
from valm_core.checkpoints.fingerprints import answer_list_fingerprint, config_facts, fingerprint
from valm_core.config import without_removed
from valm_core.evidence.rules import (
    check_method,
    gather_evidence,
    hidden_variants,
    split_variants,
    word_without_evidence,
)
from valm_core.exported.runtimes import PACKAGE_OF_RUNTIME, RUNTIMES, Graph
from valm_core.inputs.photo import open_photo, photo_to_array
from valm_core.inputs.question import clean_question, padded_ids
from valm_core.inputs.text import as_listed
from valm_core.inputs.word_pieces import merge_word_pieces, words_of_pieces
from valm_core.model.packages import sha256_of
from valm_core.outputs import (
    Answer,
    Counterfactual,
    EncodedImage,
    Evidence,
    Explanation,
    NotOffered,
    Photo,
    Prediction,
    TrackRecord,
    UnknownAnswer,
    WordEvidence,
)

if TYPE_CHECKING:
    from torch import Tensor

METADATA_FILE = "metadata.json"
METADATA_VERSION = 2
METHODS = ("raw_attention", "attention_rollout")  # the first is the default
# Outputs of the fusion graph for each method: image_map, token_scores, token_to_patch, patch_to_token.
MAP_OUTPUTS = {
    method: tuple(f"{method}_{part}" for part in ("image_map", "token_scores", "token_to_patch", "patch_to_token"))
    for method in METHODS
}


class OnnxPredictor:
    """Answers and explains with an exported model, on the CPU; safe to share between threads.

    A ``Predictor`` without ``what_if`` and ``counterfactual``. An ``EncodedImage`` holds an array here. A graph gives
    no gradients, so maps come from attention alone.

    Args:
        graphs: ``image_encoder``, ``text_encoder``, ``fusion``.
        metadata: what ``metadata.json`` holds.
        tokenizer: a ``tokenizers.Tokenizer`` that neither pads nor truncates.
        mean_image_token: [D_image], stands for an unseen photo and for hidden cells.
    """

    notice = ""
    offers: frozenset[str] = frozenset({"word_evidence"})
    explanation_methods = METHODS
    attention_heads: tuple[tuple[str, int, int], ...] = ()

    def __init__(
        self, graphs: dict[str, Graph], metadata: dict[str, Any], tokenizer: Any, mean_image_token: np.ndarray
    ):
        self.graphs = graphs
        self.metadata = metadata
        self.answers: list[str] = metadata["answers"]
        self.tokenizer = tokenizer
        self.mean_image_token = mean_image_token

    @classmethod
    def from_checkpoint(cls, folder: str | Path, threads: int = 0) -> OnnxPredictor:
        """Load a folder that ``python -m training.export`` wrote.

        Args:
            folder: with ``metadata.json`` and the files it names.
            threads: for one question; 0 leaves the runtime's own choice.

        Raises:
            FileNotFoundError: a file is missing.
            ImportError: the runtime's package isn't installed.
            ValueError: an export of an unknown format, a file that isn't the exported one, or a checkpoint that was
                trained on since, see ``check_metadata``.
        """
        folder = Path(folder)
        if not (folder / METADATA_FILE).is_file():
            raise FileNotFoundError(
                f"{folder} is no exported model: {METADATA_FILE} is missing. Make one with "
                f"`python -m training.export --checkpoint {folder} --output FOLDER`."
            )
        metadata = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
        runtime = metadata.get("format")
        if metadata.get("version") != METADATA_VERSION or runtime not in RUNTIMES:
            raise ValueError(
                f"{folder} is an export of format {runtime!r}, version {metadata.get('version')!r}; "
                f"allowed: {', '.join(RUNTIMES)}, version {METADATA_VERSION}. Export it again."
            )
        if "resize" in without_removed(metadata):
            raise ValueError(f"{folder} shows its model {metadata['resize']!r} photos, which is gone. Export it again.")
        check_metadata(folder, metadata)
        check_files(folder, metadata["sha256"])
        try:
            from tokenizers import Tokenizer

            graphs = {name: RUNTIMES[runtime](folder / file, threads) for name, file in metadata["graphs"].items()}
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"An export of format {runtime!r} needs a package that isn't here ({error}). "
                f"Run `pip install {PACKAGE_OF_RUNTIME[runtime]} tokenizers`."
            ) from error
        tokenizer = Tokenizer.from_file(str(folder / metadata["tokenizer"]["file"]))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # a typed [SEP] or [MASK] is a word, no command to the model
        return cls(graphs, metadata, tokenizer, np.load(folder / metadata["mean_image_token"]))

    def open_photo(self, photo: Photo) -> Image.Image:
        """A photo as upright RGB, at most 1600 pixels long: what maps are drawn on. Raises InputError."""
        return open_photo(photo)

    def encode(self, photo: Photo) -> EncodedImage:
        """Encode a photo once, for any number of questions. Raises InputError."""
        pixels = photo_to_array(open_photo(photo), self.metadata["image_size"])
        (tokens,) = self.graphs["image_encoder"]({"pixels": np.ascontiguousarray(pixels[None])}, ["image_tokens"])
        rows, columns = self.metadata["grid"]
        return EncodedImage(cast("Tensor", tokens), (rows, columns))

    def encode_many(self, photos: Sequence[Photo]) -> list[EncodedImage]:
        """What ``encode`` gives for each photo."""
        return [self.encode(photo) for photo in photos]

    def answer(self, image: EncodedImage, question: str, top: int = 5) -> Prediction:
        """The ``top`` likeliest answers with calibrated probabilities, with the photo and without it.

        Raises:
            InputError: the question is empty or too long.
        """
        question, text = self._encode_question(question)
        logits, gate = self._fuse(text, _array(image), image.grid, ["logits", "gate"])
        return Prediction(
            question=question,
            answers=self._likeliest(logits[0], top),
            blind_answers=self._likeliest(self._blind_logits(text), top),
            gate=float(gate[0]),
        )

    def answer_many(self, images: Sequence[EncodedImage], questions: Sequence[str], top: int = 5) -> list[Prediction]:
        """What ``answer`` gives for each photo and its question."""
        return [self.answer(image, question, top) for image, question in zip(images, questions, strict=True)]

    def ask(
        self,
        image: EncodedImage,
        question: str,
        method: str | None = None,
        answer: str | None = None,
        top: int = 5,
        prediction: Prediction | None = None,
    ) -> tuple[Prediction, Explanation, Evidence]:
        """What ``answer``, ``explain`` and ``evidence`` give together.

        Args:
            image, question, method, answer, top: as for those three.
            prediction: what ``answer`` gave for this photo and question, so that it need not be made again.
        """
        method = _chosen_method(method)
        prediction = prediction or self.answer(image, question, top)
        answer = prediction.answers[0].text if answer is None else answer
        explanation = self.explain(image, question, method, answer)
        return prediction, explanation, self.evidence(image, question, method, answer, explanation)

    def explain(
        self, image: EncodedImage, question: str, method: str | None = None, answer: str | None = None
    ) -> Explanation:
        """Where the model looked, word by word: ``raw_attention`` (the default) or ``attention_rollout``.

        Both are the same for every answer.

        Raises:
            InputError: the question is empty or too long.
            ValueError: another method, or an unknown answer.
        """
        method = _chosen_method(method)
        question, text = self._encode_question(question)
        if answer is not None:
            self._answer_index(np.empty(0), answer)
        explanation = self._explain(text, image, method)
        encoding = self.tokenizer.encode(question)
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
        method = _chosen_method(method)
        _, text = self._encode_question(question)
        if explanation is None:
            explanation = self._explain(text, image, method)
        check_method(explanation, method)
        others = [self._explain(text, image, other).image_map for other in METHODS if other != method]
        return self._judged(image, text, method, answer, explanation.image_map, others)

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
        method = _chosen_method(method)
        explanation = explanation or self.explain(image, question, method, answer)
        check_method(explanation, method)
        if doubted := word_without_evidence(explanation, word):
            return doubted
        _, text = self._encode_question(question)
        others = [self.explain(image, question, other).token_map(word) for other in METHODS if other != method]
        found = self._judged(image, text, method, answer, explanation.token_map(word), others)
        return WordEvidence(word, False, None, found)

    def _judged(
        self,
        image: EncodedImage,
        text: np.ndarray,
        method: str,
        answer: str | None,
        image_map: np.ndarray,
        others: list[np.ndarray],
    ) -> Evidence:
        """The evidence for a map [rows, columns], beside others of its kind."""
        seen = _array(image)  # [1, N, D_image]
        hidden = hidden_variants(seen, text, [image_map])  # [F, N]
        tokens = np.where(hidden[..., None], self.mean_image_token, seen)  # [F, N, D_image]
        (logits,) = self._fuse(np.repeat(text, len(hidden), axis=0), tokens, image.grid, ["logits"])
        answer_index = self._answer_index(logits[0], answer)
        probabilities = split_variants(self._probabilities(logits, asked=logits[:1])[:, answer_index])
        blind = self._likeliest(self._blind_logits(text), 1)[0]
        return gather_evidence(method, self.answers[answer_index], probabilities, blind, image_map, others)

    @property
    def facts(self) -> dict[str, str | float]:
        """What ``VqaPredictor.facts`` says of the checkpoint, without the name of its folder, and the ``format``."""
        facts = config_facts(self.metadata["config"])
        return facts | {name: self.metadata[name] for name in ("checkpoint_sha256", "format")}

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
        """Not offered."""
        raise NotOffered("An exported model can't answer with parts switched off. Use its checkpoint for that.")

    def counterfactual(self, image: EncodedImage, question: str, answer: str | None = None) -> Counterfactual:
        """Not offered."""
        raise NotOffered("An exported model can't look for what would change its answer. Use its checkpoint for that.")

    def write(self, image: EncodedImage, question: str, top: int = 5) -> Iterator[str | Prediction]:
        """Not offered: such a model chooses its answer from a list."""
        raise NotOffered("This model chooses its answer from a list; it writes none.")

    def concepts(self, image: EncodedImage, top: int = 20) -> tuple[tuple[str, float], ...]:
        """Not offered."""
        raise NotOffered("An exported model can't name what a photo shows. Use its checkpoint for that.")

    def masks(self, candidates: Sequence[str]) -> bool:
        """Whether all candidates are in the answer list."""
        return {as_listed(candidate, self.answers) for candidate in candidates} <= set(self.answers)

    def track_record(self, answer: Answer) -> TrackRecord | None:
        """None: an export doesn't hold its checkpoint's figures."""
        return None

    def _explain(self, text: np.ndarray, image: EncodedImage, method: str) -> Explanation:
        """An explanation whose T tokens are unnamed word pieces."""
        outputs = [*MAP_OUTPUTS[method], "text_to_image", "image_to_text"]
        found = [output[0] for output in self._fuse(text, _array(image), image.grid, outputs)]
        image_map, token_scores, token_to_patch, patch_to_token, text_to_image, image_to_text = found
        return Explanation(
            method=method,
            tokens=("",) * text.shape[1],
            image_map=image_map.reshape(image.grid),
            token_scores=token_scores,
            token_to_patch=token_to_patch,
            patch_to_token=patch_to_token,
            text_to_image=text_to_image,
            image_to_text=image_to_text,
            grid=image.grid,
            box=image.box,
        )

    def _encode_question(self, question: str) -> tuple[str, np.ndarray]:
        """The cleaned question, and its tokens [1, T, D_text]."""
        question = clean_question(question)
        settings = self.metadata["tokenizer"]
        pieces = self.tokenizer.encode(question).ids
        ids, mask = padded_ids([pieces], settings["pad_id"], settings["max_tokens"], truncate=False)
        (tokens,) = self.graphs["text_encoder"]({"token_ids": ids, "text_mask": mask}, ["text_tokens"])
        return question, tokens

    def _fuse(self, text: np.ndarray, image: np.ndarray, grid: tuple[int, int], outputs: list[str]) -> list[np.ndarray]:
        """Outputs of the fusion for questions without padding [B, T, D_text] and photos [B, N, D_image]."""
        inputs = {
            "text_tokens": text,
            "text_mask": np.ones(text.shape[:2], dtype=bool),
            "image_tokens": image.reshape(len(image), *grid, -1),
        }
        return self.graphs["fusion"](inputs, outputs)

    def _blind_logits(self, text: np.ndarray) -> np.ndarray:
        """Logits [A] with the average token in place of the photo, as a grid of one cell."""
        (logits,) = self._fuse(text, self.mean_image_token[None, None], (1, 1), ["logits"])
        return logits[0]

    def _answer_index(self, logits: np.ndarray, answer: str | None) -> int:
        """The place of an answer in the list, of the likeliest for None. Raises UnknownAnswer."""
        if answer is None:
            return int(logits.argmax())
        answer = as_listed(answer, self.answers)
        if answer not in self.answers:
            raise UnknownAnswer(
                f"answer is {answer!r}, which is not among the {len(self.answers)} answers of the model. Choose one of "
                "the answers it gave, or pass None."
            )
        return self.answers.index(answer)

    def _probabilities(self, logits: np.ndarray, asked: np.ndarray | None = None) -> np.ndarray:
        """Calibrated probabilities of logits [.., A], as ``heads.calibrated`` gives them."""
        chosen = (logits if asked is None else asked).argmax(axis=-1)[..., None]
        yes_no = np.isin(self.answers, YES_NO)[chosen]
        temperature = self.metadata["temperature"]
        of_yes_no = self.metadata.get("yes_no_temperature") or temperature
        scaled = logits.astype(np.float32) / np.where(yes_no, of_yes_no, temperature).astype(np.float32)
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def _likeliest(self, logits: np.ndarray, top: int) -> tuple[Answer, ...]:
        probabilities = self._probabilities(logits)
        best = np.argsort(-probabilities, kind="stable")[:top]
        return listed(tuple(Answer(self.answers[index], float(probabilities[index])) for index in best))


def _array(image: EncodedImage) -> np.ndarray:
    """The tokens [B, N, D_image] of a photo that this predictor encoded."""
    return cast(np.ndarray, image.tokens)


def _chosen_method(method: str | None) -> str:
    """The method of that name, the default for None. Raises ValueError for one that an export can't give."""
    if method is not None and method not in METHODS:
        raise ValueError(
            f"method is {method!r}; an exported model allows: {', '.join(METHODS)}. The others need gradients or the "
            "model itself: load the checkpoint for them."
        )
    return method or METHODS[0]


def metadata_fingerprint(metadata: dict[str, Any]) -> str:
    """What ``fingerprint`` in an export's metadata must be: of all the rest, answers, settings and files' sha256."""
    return fingerprint({name: value for name, value in metadata.items() if name != "fingerprint"})


def check_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    """Make sure that answers and settings are those of the exported graphs, and that their checkpoint is still the one.

    The checkpoint is looked for in the export's own folder and where ``checkpoint`` says that it lay, seen from there.

    Raises:
        ValueError: in one line, what doesn't belong together and how to go on.
    """
    path = folder / METADATA_FILE
    if metadata.get("answers_sha256") != answer_list_fingerprint(metadata.get("answers", [])):
        raise ValueError(f"{path} holds the answers of another model than its graphs. Copy the export again.")
    if metadata.get("fingerprint") != metadata_fingerprint(metadata):
        raise ValueError(f"{path} isn't the one that was written with its graphs. Copy the export again.")
    places = [folder] + ([folder / metadata["checkpoint"]] if metadata.get("checkpoint") else [])
    for place in places:
        weights = (place / WEIGHTS_FILE).resolve()
        if weights.is_file() and (found := sha256_of(weights)) != metadata["checkpoint_sha256"]:
            raise ValueError(
                f"{folder} was exported from weights {metadata['checkpoint_sha256'][:12]}, and {weights.parent} holds "
                f"{found[:12]}: it was trained again since. Export it again with `python -m training.export`, or move "
                "the export elsewhere to keep the former model."
            )


def check_files(folder: Path, sha256: dict[str, str]) -> None:
    """Make sure that every file of an export is the one that was written.

    Raises:
        FileNotFoundError, ValueError: one is missing, or another; the message names it.
    """
    for name, expected in sha256.items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} lacks {name}, which its {METADATA_FILE} names. Copy the export again.")
        found = sha256_of(folder / name)
        if found != expected:
            raise ValueError(f"{folder / name} has sha256 {found}, expected {expected}. Copy the export again.")
