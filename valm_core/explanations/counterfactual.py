"""What would change the answer: the fewest cells of the photo, and the fewest words, whose hiding flips it."""

import itertools

import numpy as np
import torch

from valm_core.asking import without_words
from valm_core.explanations.grad_cam import grad_cam
from valm_core.explanations.hiding import logits_without_cells
from valm_core.explanations.occlusion import occlusion
from valm_core.model.model import ValmModel
from valm_core.outputs import Counterfactual, EncodedImage, EncodedText
from valm_core.stopping import stop_if_unwanted

PAIRED_WORDS = 12  # in questions of up to so many words every pair is tried


def counterfactual(
    model: ValmModel, question: str, text: EncodedText, image: EncodedImage, answer_index: int
) -> Counterfactual:
    """Both: ``smallest_region`` of the photo and ``fewest_words`` of the question, whose arguments it takes."""
    region = smallest_region(model, text, image, answer_index)
    words = fewest_words(model, question, image, answer_index)
    return Counterfactual(
        answer=model.answers[answer_index],
        region=region[0] if region else None,
        region_answer=model.answers[region[1]] if region else None,
        words=words[0] if words else None,
        words_answer=model.answers[words[1]] if words else None,
    )


@torch.no_grad()
def smallest_region(
    model: ValmModel, text: EncodedText, image: EncodedImage, answer_index: int
) -> tuple[np.ndarray, int] | None:
    """A small set of cells without which another answer is the likeliest.

    Greedy: cells are hidden in the order of two maps, occlusion and gradient-weighted attention, until it flips;
    of the smaller set, cells that aren't needed for the flip are shown again, least important first, until every one
    left is. So no cell of it can be spared, though a smaller set of other cells may exist.

    Args:
        model: in evaluation mode.
        text: one encoded question.
        image: one encoded photo, N tokens.
        answer_index: the answer to flip.

    Returns:
        The hidden cells [rows, columns] and the index of the new answer; None where the answer stays even with
        everything hidden. No cell is hidden where another answer is the likeliest anyway.
    """
    cells = image.tokens.shape[1]
    found: list[np.ndarray] = []
    for method in (occlusion, grad_cam):
        importance = method(model, text, image, answer_index).image_map.ravel()
        order = np.argsort(-importance, kind="stable")
        rank = np.empty(cells, dtype=int)
        rank[order] = np.arange(cells)
        hidden = rank < np.arange(cells + 1)[:, None]  # [N + 1, N], from nothing hidden to everything
        flipped = _answers(model, text, image, hidden) != answer_index
        if flipped.any():
            found.append(order[: int(flipped.argmax())])
    if not found:
        return None
    chosen = [int(cell) for cell in min(found, key=len)]
    while chosen:
        without_one = np.zeros((len(chosen), cells), dtype=bool)
        for row, spared in enumerate(chosen):
            without_one[row, [cell for cell in chosen if cell != spared]] = True
        still = np.flatnonzero(_answers(model, text, image, without_one) != answer_index)
        if not len(still):
            break
        del chosen[still[-1]]
    hidden = np.zeros((1, cells), dtype=bool)
    hidden[0, chosen] = True
    return hidden.reshape(image.grid), int(_answers(model, text, image, hidden)[0])


@torch.no_grad()
def fewest_words(
    model: ValmModel, question: str, image: EncodedImage, answer_index: int
) -> tuple[tuple[int, ...], int] | None:
    """The fewest words without which another answer is the likeliest; the rest of the question is read anew.

    None at all is tried first, in case the answer to flip isn't the likeliest, every single word, then every pair (in
    questions of at most ``PAIRED_WORDS``); then words are dropped one after the other, each time the one whose loss
    lowers the answer most.

    Args:
        model: in evaluation mode.
        question: as the person sees it, words split at white space.
        image: one encoded photo.
        answer_index: the answer to flip.

    Returns:
        The places of the dropped words, in order, and the index of the new answer; None where the answer stays down to
        the last word.
    """
    words = question.split()
    sizes = range(min(3 if len(words) <= PAIRED_WORDS else 2, len(words)))
    candidates = [drop for size in sizes for drop in itertools.combinations(range(len(words)), size)]
    dropped: tuple[int, ...] = ()
    while candidates:
        stop_if_unwanted()
        probabilities = _without_words(model, words, candidates, image)
        flipped = np.flatnonzero(probabilities.argmax(axis=-1) != answer_index)
        if len(flipped):
            smallest = min(flipped, key=lambda row: (len(candidates[row]), probabilities[row, answer_index]))
            return candidates[smallest], int(probabilities[smallest].argmax())
        most = max(map(len, candidates))
        longest = [row for row, drop in enumerate(candidates) if len(drop) == most]
        dropped = candidates[min(longest, key=lambda row: probabilities[row, answer_index])]
        if len(dropped) + 1 >= len(words):
            return None
        candidates = [tuple(sorted((*dropped, word))) for word in range(len(words)) if word not in dropped]
    return None


def _answers(model: ValmModel, text: EncodedText, image: EncodedImage, hidden: np.ndarray) -> np.ndarray:
    return logits_without_cells(model, text, image, torch.from_numpy(hidden)).argmax(dim=-1).cpu().numpy()


def _without_words(model: ValmModel, words: list[str], drops: list[tuple[int, ...]], image: EncodedImage) -> np.ndarray:
    """Probabilities [len(drops), A] of the question without each set of words."""
    questions = [without_words(words, drop) for drop in drops]
    ids, mask = (part.to(image.tokens.device) for part in model.tokenizer(questions))
    output = model(token_ids=ids, text_mask=mask, image_tokens=image.tokens.expand(len(questions), -1, -1))
    return output.logits.float().softmax(dim=-1).cpu().numpy()
