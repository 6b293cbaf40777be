"""What a trained model answers: the likeliest answers, with the photo and without it, and how surely."""

import functools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from valm_core.answers import listed
from valm_core.asking import MAX_CANDIDATES, different_choices, place_in_list
from valm_core.familiarity import Subspace, unfamiliar_parts
from valm_core.inputs.photo import open_photo
from valm_core.inputs.question import MAX_QUESTION_CHARACTERS, clean_question
from valm_core.inputs.text import lower_text
from valm_core.model.fusion.streams import AttentionHead
from valm_core.model.heads import ANSWER_KINDS, answer_kind, candidate_scores
from valm_core.model.model import ValmModel
from valm_core.model.prepared_cells import PreparedCells
from valm_core.outputs import Answer, EncodedImage, EncodedText, InputError, Photo, Prediction

Ranking = Callable[[Tensor], tuple[Answer, ...]]  # logits [A] -> answers, likeliest first


@torch.no_grad()
def encode_photos(model: ValmModel, photos: Sequence[Photo]) -> list[EncodedImage]:
    """Photos encoded in one pass, on the CPU. Raises InputError for the first unusable one."""
    pixels = torch.stack([model.pixels(open_photo(photo)) for photo in photos])  # [B, 3, S, S]
    encoded = model.encode_image(pixels.to(model.device)).to("cpu")
    shown = encoded.concept_logits
    return [
        EncodedImage(tokens, encoded.grid, concept_logits=None if shown is None else shown[photo : photo + 1])
        for photo, tokens in enumerate(encoded.tokens.split(1))
    ]


@torch.no_grad()
def encode_questions(model: ValmModel, questions: Sequence[str]) -> tuple[list[str], EncodedText]:
    """B questions in their normal form, and encoded. Raises InputError for the first that can't be asked."""
    questions = [clean_question(question) for question in questions]
    ids, mask = model.tokenizer(questions)
    return questions, model.encode_question(ids.to(model.device), mask.to(model.device))


@torch.no_grad()
def place_of_answer(model: ValmModel, text: EncodedText, image: EncodedImage, answer: str | None) -> int:
    """The place of an answer in the model's list, of the likeliest for None. Raises UnknownAnswer, InputError."""
    if answer is not None:
        return place_in_list(answer, model.answers)
    return int(model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=image.tokens).logits[0].argmax())


@torch.no_grad()
def predict(
    model: ValmModel,
    encoded: tuple[Sequence[str], EncodedText],
    image_tokens: Tensor,
    ranking: Ranking,
    familiar: Mapping[str, Subspace],
    masked_heads: tuple[AttentionHead, ...] = (),
    cells: PreparedCells | None = None,
) -> list[Prediction]:
    """The replies to B questions.

    Args:
        model: in evaluation mode.
        encoded: what ``encode_questions`` gave.
        image_tokens: [B, N, D_image] of the photos.
        ranking: ``likeliest`` or ``ranked_choices`` of this model.
        familiar: subspaces of ``familiarity.PARTS``; empty where they aren't known.
        masked_heads: attention heads that add nothing.
        cells: what ``model.prepare`` made of the tokens, so that it need not be made again.
    """
    questions, text = encoded
    asked = {"text_tokens": text.tokens, "text_mask": text.mask, "masked_heads": masked_heads}
    output = model(**asked, image_tokens=image_tokens, cells=cells)
    blind = model(**asked)
    unfamiliar = unfamiliar_parts(familiar, model, text, image_tokens)
    return [
        Prediction(
            question=question,
            answers=ranking(output.logits[row]),
            blind_answers=ranking(blind.logits[row]),
            gate=float(output.features.gate[row]),
            kinds=shares_of_kinds(model, output.logits[row]),
            unfamiliar=unfamiliar[row],
        )
        for row, question in enumerate(questions)
    ]


@torch.no_grad()
def blind_answer(model: ValmModel, text: EncodedText) -> Answer:
    """The likeliest answer to one question without its photo."""
    return likeliest(model, 1, model(text_tokens=text.tokens, text_mask=text.mask).logits[0])[0]


def likeliest(model: ValmModel, top: int, logits: Tensor) -> tuple[Answer, ...]:
    """The ``top`` likeliest answers of the list that are worth a line, of logits [A]."""
    return listed(_ranked(model.answers, model.probabilities(logits), top))


def ranked_choices(
    model: ValmModel, top: int, choices: tuple[str, ...], answer_embeddings: Tensor | None, logits: Tensor
) -> tuple[Answer, ...]:
    """The ``top`` likeliest of given answers, whose probabilities sum to 1; by logits [A] of the whole list.

    Args:
        model: in evaluation mode.
        top: how many.
        choices: what ``cleaned_candidates`` gave.
        answer_embeddings: [A, D_text] of the list, to score choices by their nearness in meaning to likely answers
            (``heads.candidate_scores``); None where all are in the list, so that the others are masked.
        logits: [A].
    """
    probabilities = model.probabilities(logits)
    if answer_embeddings is None:
        scores = probabilities[[model.answers.index(choice) for choice in choices]]
    else:
        scores = candidate_scores(probabilities, answer_embeddings, model.embed_texts(list(choices)))
    return _ranked(choices, scores / scores.sum(), top)


def _ranked(answers: Sequence[str], probabilities: Tensor, top: int) -> tuple[Answer, ...]:
    values, places = probabilities.topk(min(top, len(probabilities)))
    return tuple(Answer(answers[place], value) for value, place in zip(values.tolist(), places.tolist(), strict=True))


def cleaned_candidates(candidates: Sequence[str]) -> tuple[str, ...]:
    """Candidates in their normal form and lower case, as the answer list is, each once, in their order; none for none.

    Raises:
        InputError: only one, too many, one that is too long, or one with half a character.
    """
    cleaned = different_choices(candidates, lambda text: lower_text(text, "answer to choose from"), MAX_CANDIDATES)
    if longest := next((text for text in cleaned if len(text) > MAX_QUESTION_CHARACTERS), ""):
        raise InputError(
            "An answer to choose from has {count} letters; at most {most}.",
            count=len(longest),
            most=MAX_QUESTION_CHARACTERS,
        )
    return cleaned


def shares_of_kinds(model: ValmModel, logits: Tensor) -> dict[str, float]:
    """How likely each kind of answer is, of logits [A]."""
    probabilities = model.probabilities(logits).cpu()
    shares = torch.bincount(_places_of_kinds(tuple(model.answers)), probabilities, minlength=len(ANSWER_KINDS))
    return dict(zip(ANSWER_KINDS, shares.tolist(), strict=True))


@functools.lru_cache(maxsize=8)
def _places_of_kinds(answers: tuple[str, ...]) -> Tensor:  # [A], places in ANSWER_KINDS
    return torch.tensor([ANSWER_KINDS.index(answer_kind(answer)) for answer in answers])
