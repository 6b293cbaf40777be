"""What all predictors do alike, without torch: look methods and answers up, switch words off, ask one by one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NoReturn

import numpy as np

from valm_core.inputs.question import check_choices, clean_question
from valm_core.inputs.text import as_listed
from valm_core.outputs import EncodedImage, InputError, NotOffered, Prediction, Predictor, UnknownAnswer

MAX_CANDIDATES = 100  # answers that a person may choose among
MAX_SCORED_CANDIDATES = 20  # where each takes a run of the model


def chosen_method(method: str | None, allowed: Collection[str], default: str, remedy: str = "") -> str:
    """The explanation method of that name, the default for None. Raises ValueError for one that isn't allowed."""
    if method is not None and method not in allowed:
        raise ValueError(f"method is {method!r}; allowed: {', '.join(allowed)}.{remedy}")
    return method or default


def place_in_list(answer: str, answers: list[str]) -> int:
    """The place of a typed answer in the list. Raises UnknownAnswer, and InputError as ``as_listed`` does."""
    answer = as_listed(answer, answers)
    if answer not in answers:
        raise UnknownAnswer(
            f"answer is {answer!r}, which is not among the {len(answers)} answers of the model. Choose one of the "
            "answers it gave, or pass None."
        )
    return answers.index(answer)


def without_words(words: Sequence[str], dropped: Collection[int]) -> str:
    """What is left of a question without the words at some places; empty without all of them."""
    return " ".join(word for place, word in enumerate(words) if place not in dropped)


def words_left(question: str, hidden_words: Collection[int]) -> str:
    """The cleaned question without the words at some places, counted at white space from 0.

    Raises:
        InputError: no word is left, or the question can't be asked.
        ValueError: a word isn't there.
    """
    words = clean_question(question).split()
    if outside := [place for place in hidden_words if not 0 <= place < len(words)]:
        raise ValueError(f"hidden_words has {outside[0]}, but the question has the words 0 to {len(words) - 1}.")
    left = without_words(words, hidden_words)
    if not left:
        raise InputError("Every word is switched off. Leave at least one.")
    return left


def check_cells(hidden_cells: np.ndarray, image: EncodedImage) -> None:
    """Make sure that hidden cells [rows, columns] are those of a photo's grid. Raises ValueError."""
    if hidden_cells.shape != tuple(image.grid):
        raise ValueError(f"hidden_cells has shape {hidden_cells.shape}, but the photo's grid is {image.grid}.")


def different_choices(candidates: Sequence[str], clean: Callable[[str], str], most: int) -> tuple[str, ...]:
    """Answers to choose from as ``clean`` writes them, each once, in their order, without empty ones; none for none.

    Raises:
        InputError: only one, or more than ``most``; and what ``clean`` raises.
    """
    cleaned = tuple(dict.fromkeys(text for text in map(clean, candidates) if text))
    check_choices(cleaned, most)
    return cleaned


def not_offered(message: str) -> Callable[..., NoReturn]:
    """A method of a predictor that can't do what its name says, see ``Predictor.offers``: it raises NotOffered."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise NotOffered(message)

    return refuse


def answer_each(
    predictor: Predictor, images: Sequence[EncodedImage], questions: Sequence[str], top: int
) -> list[Prediction]:
    """What ``predictor.answer`` gives for each photo and its question, one after the other."""
    return [predictor.answer(image, question, top) for image, question in zip(images, questions, strict=True)]
