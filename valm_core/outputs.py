"""What passes between the rooms: encoded inputs, attention maps, model output, answers, explanations, predictors.

Shape letters, used everywhere: B examples, T text tokens, N image tokens (N = grid rows x columns), W words of the
question, D width of a token, L fusion layers, H attention heads, A answers.

Nothing here imports torch: an exported model (``exported.predictor``) hands out the same records, with arrays for
tensors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from valm_core.answers import differ

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Photo = str | Path | bytes | Image.Image  # what people send: a file, its content, or an opened picture
# What a predictor may be unable to do: its methods of these names raise NotOffered then.
OFFERS = ("what_if", "counterfactual", "concepts", "word_evidence", "write")


class InputError(ValueError):
    """A photo or question that can't be used. The message is written for the person who sent it.

    Args:
        template: the English text, with a ``{name}`` for each value; a page looks up its translation by it.
        values: what stands in place of them; without any, braces in the text are braces.
    """

    def __init__(self, template: str, **values: object):
        super().__init__(template.format(**values) if values else template)
        self.template, self.values = template, values


class UnknownAnswer(ValueError):
    """An answer that isn't in the model's list."""


class UnreachablePhoto(InputError):
    """A photo's file that isn't there or can't be read now, whatever it holds: later it may be."""


class NotOffered(InputError):
    """Something that this kind of model can't do, see ``Predictor.offers``."""


@dataclass(frozen=True)
class EncodedText:
    """Questions after the text encoder: ``tokens`` [B, T, D_text], and ``mask`` [B, T], True where a token is real.

    ``ids`` [B, T] are those of the word pieces that were read.
    ``penultimate`` [B, T, D_text] are the tokens of the layer before the last, which tell more of what a question is
    about, and less of its answer, where the encoder has learned to answer.
    """

    tokens: Tensor
    mask: Tensor
    penultimate: Tensor
    ids: Tensor

    def pieces(self) -> list[int]:
        """The ids of the first question's word pieces, without padding."""
        return self.ids[0][self.mask[0]].tolist()


@dataclass(frozen=True)
class EncodedImage:
    """Photos after the image encoder, enough to answer any number of questions about them.

    ``tokens`` [B, N, D_image] are the cells of ``grid`` (rows, columns) in row-major order. ``box`` is the part of the
    photo that the model saw, (left, top, right, bottom) in 0..1: everything unless the processor crops.
    ``concept_logits`` [B, C] say which of the model's C concepts a photo shows; None without concepts.
    """

    tokens: Tensor
    grid: tuple[int, int]
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    concept_logits: Tensor | None = None

    def to(self, device: torch.device | str) -> EncodedImage:
        """The same encoding on another device."""
        shown = None if self.concept_logits is None else self.concept_logits.to(device)
        return EncodedImage(self.tokens.to(device), self.grid, self.box, shown)


@dataclass(frozen=True)
class AttentionMap:
    """One attention step: ``weights`` [B, H, T_query, T_key], rows summing to 1.

    ``query`` and ``key`` name the modality of the tokens: "text", "image", or "joint" for text tokens followed by image
    tokens. ``layer`` counts from 0. ``kind`` is "attention" where the model read by these weights, "similarity" where
    they only compare tokens.
    """

    weights: Tensor
    query: str
    key: str
    layer: int
    kind: str = "attention"


@dataclass(frozen=True)
class FusedFeatures:
    """What every fusion returns: the fused vector, each stream's part, the gate, and the maps in computation order."""

    fused: Tensor  # [B, D]
    text: Tensor  # [B, D]
    image: Tensor  # [B, D]
    gate: Tensor  # [B], share of the text in 0..1
    text_tokens: Tensor  # [B, T, D], as they were pooled
    image_tokens: Tensor  # [B, N, D]
    text_pooling: Tensor  # [B, T], rows sum to 1
    image_pooling: Tensor  # [B, N], rows sum to 1
    attention: tuple[AttentionMap, ...]  # empty unless asked for

    @property
    def last_text_to_image(self) -> int:
        """The place in ``attention`` of the last map from text to image, by which glimpses read; there must be one."""
        steps = enumerate(self.attention)
        return max(place for place, step in steps if (step.query, step.key) == ("text", "image"))


@dataclass(frozen=True)
class TrackRecord:
    """How often answers with a probability from ``low`` to ``high`` were right, among so many validation questions.

    ``kind`` is the kind of the given answers, one of ``heads.ANSWER_KINDS``.
    """

    low: float
    high: float
    questions: int
    accuracy: float
    kind: str


@dataclass(frozen=True)
class Answer:
    """One candidate answer and its calibrated probability in 0..1."""

    text: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The reply to one question.

    ``answers`` are the likeliest, best first; beside "yes" and "no" only those that are likely (``answers.listed``).
    ``blind_answers`` are the likeliest of the same model when the photo is
    replaced by the average photo: what the question alone suggests. ``gate`` is the share of the text stream in the
    fused answer vector, 0..1, where the image stream has the rest; None of a model without one. ``kinds`` are the
    shares, 0..1, of "yes/no", "number" and "other" answers; ``unfamiliar`` names "photo" and "question" where they are
    unlike those that the model learned from. Both are empty where they aren't known. ``calibrated`` says whether the
    probabilities are chances of being right.

    Of open models alone: ``prompt`` is what was asked in place of their own prompt; ``long`` says that the one answer
    is a longer text, whose probability is that of one of its pieces, in the geometric mean; ``any_language`` that it
    isn't known which languages the model reads.
    """

    question: str
    answers: tuple[Answer, ...]
    blind_answers: tuple[Answer, ...]
    gate: float | None
    kinds: dict[str, float] = field(default_factory=dict)
    unfamiliar: tuple[str, ...] = ()
    calibrated: bool = True
    prompt: str | None = None
    long: bool = False
    any_language: bool = False

    @property
    def guessed_from_question(self) -> bool:
        """Whether the photo hardly mattered: neither the first answer nor the blind one became more or less likely.

        Both must be among those listed, with and without the photo.
        """
        if not self.answers or not self.blind_answers:
            return False
        seen, unseen = (
            {one.text: one.probability for one in answers} for answers in (self.answers, self.blind_answers)
        )
        leading = {self.answers[0].text, self.blind_answers[0].text}
        return all(text in seen and text in unseen and not differ(seen[text], unseen[text]) for text in leading)


def in_shares(values: np.ndarray) -> np.ndarray:
    """Values of at least 0, scaled to sum to 1 along the last axis; where nothing counts, everything counts alike."""
    values = np.asarray(values, dtype=np.float32)
    total = values.sum(axis=-1, keepdims=True)
    return np.where(total > 0, values / np.where(total > 0, total, 1), np.float32(1 / values.shape[-1]))


@dataclass(frozen=True)
class Explanation:
    """Where the model looked, as CPU arrays: everything that a page needs to redraw without calling the model.

    ``tokens`` are the T text tokens that a map can be asked for: word pieces as a method returns them, the words of the
    question once ``VqaPredictor.explain`` has merged the pieces. All weights are at least 0. "Looked" is meant as the
    method means it: attention, its effect on the answer, or the effect of hiding. Where nothing counts at all, a map is
    the same everywhere.
    """

    method: str  # its name
    tokens: tuple[str, ...]  # T
    image_map: np.ndarray  # [rows, columns], sums to 1: the whole question
    token_scores: np.ndarray  # [T], sums to 1: how much each token counts
    token_to_patch: np.ndarray  # [T, N], rows sum to 1: where each token looked
    patch_to_token: np.ndarray  # [N, T], rows sum to 1: which tokens each cell listened to
    text_to_image: np.ndarray  # [L, H, T, N], per layer and head, rows sum to 1: raw or gradient-weighted attention
    image_to_text: np.ndarray  # [L, H, N, T]
    grid: tuple[int, int]
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    answer_words: int = 0  # how many of the last tokens are words of the answer, of a model that writes it

    def token_map(self, token: int) -> np.ndarray:
        """Where one token looked, as [rows, columns]."""
        return self.token_to_patch[token].reshape(self.grid)


@dataclass(frozen=True)
class Evidence:
    """How far one map of a whole question can be believed, by hiding what it marks. Probabilities are calibrated.

    ``probability`` is the answer's with the whole photo. For each of the ``hidden_shares`` of cells, rising in 0..1,
    ``hottest_hidden`` is the answer's probability without that share of cells that the map marks hottest, and
    ``random_hidden`` without as many at random (mean of ``random_draws`` draws). ``agreement`` is the mean rank
    correlation with the maps of other methods, -1..1; ``evenness`` the map's entropy as a share of a uniform map's,
    0..1. ``support`` and ``verdict`` ("matters", "matters a little", "no difference", "cannot tell"): see
    ``evidence.rules``. ``own_thresholds`` says whether the verdict's thresholds were measured on this model.
    """

    method: str
    answer: str
    probability: float
    hidden_shares: tuple[float, ...]
    hottest_hidden: tuple[float, ...]
    random_hidden: tuple[float, ...]
    random_draws: int
    blind_answer: Answer
    same_as_blind: bool
    agreement: float
    evenness: float
    support: float
    verdict: str
    own_thresholds: bool = True


@dataclass(frozen=True)
class WordEvidence:
    """How far the map of one word can be believed: ``evidence`` as of a whole question's, for the map of ``word``.

    A map that can't speak for its word has none (None): ``flat`` where no cell stands out, ``same_as`` another word
    where it can't be told from that one's.
    """

    word: int
    flat: bool
    same_as: int | None
    evidence: Evidence | None


@dataclass(frozen=True)
class Counterfactual:
    """What would change an answer: a small region and a few words, each with what the model would answer without it.

    ``region`` [rows, columns] is True in the cells to hide, ``words`` are places in the question. Both are None, with
    their new answers, where hiding doesn't change the answer.
    """

    answer: str
    region: np.ndarray | None
    region_answer: str | None
    words: tuple[int, ...] | None
    words_answer: str | None


class Predictor(Protocol):
    """A model that answers questions about photos and shows why: all that the page, API, terminal and batch know of it.

    ``valm_core.predictor.VqaPredictor`` says what each method does. Whoever draws a page asks ``offers``,
    ``explanation_methods`` and ``attention_heads`` what this model can do, and offers nothing else.
    """

    notice: str  # for people: why answers come more slowly now; empty where all is well

    @property
    def answers(self) -> list[str]:
        """Every answer that the model can give; empty of one that writes."""
        ...

    @property
    def facts(self) -> dict[str, str | float]:
        """What a report must say of the model, as plain values: what it is made of, and which checkpoint it is."""
        ...

    @property
    def offers(self) -> frozenset[str]:
        """Which of ``OFFERS`` this model can do."""
        ...

    @property
    def explanation_methods(self) -> tuple[str, ...]:
        """The names that ``explain``, ``evidence`` and ``ask`` take as ``method``."""
        ...

    @property
    def attention_heads(self) -> tuple[tuple[str, int, int], ...]:
        """Every head that ``what_if`` can mask: (step, layer, head), both counted from 0."""
        ...

    def open_photo(self, photo: Photo) -> Image.Image:
        """A photo as upright RGB, at most 1600 pixels long. Raises InputError."""
        ...

    def encode(self, photo: Photo) -> EncodedImage:
        """Encode a photo once, for any number of questions. Raises InputError."""
        ...

    def encode_many(self, photos: Sequence[Photo]) -> list[EncodedImage]:
        """What ``encode`` gives for each photo."""
        ...

    def answer(self, image: EncodedImage, question: str, top: int = 5) -> Prediction:
        """The ``top`` likeliest answers, with the photo and without it. Raises InputError."""
        ...

    def answer_many(self, images: Sequence[EncodedImage], questions: Sequence[str], top: int = 5) -> list[Prediction]:
        """What ``answer`` gives for each photo and its question."""
        ...

    def write(self, image: EncodedImage, question: str, top: int = 5) -> Iterator[str | Prediction]:
        """What ``answer`` gives, after the text as far as it is written. Raises InputError, NotOffered."""
        ...

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
        """What ``answer``, ``explain`` and ``evidence`` give together; without ``weigh`` perhaps None for the evidence,
        by far the longest of the three, which is left to ``evidence``. Raises what they raise.
        """
        ...

    def explain(
        self, image: EncodedImage, question: str, method: str | None = None, answer: str | None = None
    ) -> Explanation:
        """Where the model looked, word by word. Raises InputError, ValueError, UnknownAnswer."""
        ...

    def evidence(
        self,
        image: EncodedImage,
        question: str,
        method: str | None = None,
        answer: str | None = None,
        explanation: Explanation | None = None,
    ) -> Evidence:
        """How far a map can be believed. Raises what ``explain`` does."""
        ...

    def word_evidence(
        self,
        image: EncodedImage,
        question: str,
        word: int,
        method: str | None = None,
        answer: str | None = None,
        explanation: Explanation | None = None,
    ) -> WordEvidence:
        """How far one word's map can be believed. Raises what ``evidence`` does, ValueError, NotOffered."""
        ...

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
        """Answer with parts switched off, or among given answers only. Raises InputError, ValueError, NotOffered."""
        ...

    def counterfactual(self, image: EncodedImage, question: str, answer: str | None = None) -> Counterfactual:
        """What would change the answer. Raises InputError, UnknownAnswer, NotOffered."""
        ...

    def concepts(self, image: EncodedImage, top: int = 20) -> tuple[tuple[str, float], ...]:
        """The ``top`` words that a photo shows most surely, each with its score in 0..1. Raises NotOffered."""
        ...

    def masks(self, candidates: Sequence[str]) -> bool:
        """Whether all candidates are in the answer list, so that ``what_if`` masks the others. Raises InputError."""
        ...

    def track_record(self, answer: Answer) -> TrackRecord | None:
        """How often such answers were right on validation questions; None where that isn't known."""
        ...
