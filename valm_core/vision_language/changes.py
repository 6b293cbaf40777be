"""What would change an open model's answer: a small region of the photo, in pixels, and the fewest words."""

import itertools

import numpy as np
from PIL import Image

from valm_core.asking import without_words
from valm_core.vision_language.geometry import WHOLE, Box
from valm_core.vision_language.pixels import without_regions
from valm_core.vision_language.reader import Reader

MAX_SPARED = 16  # cells of a region that are tried to be shown again
PAIRED_WORDS = 8  # in questions of up to so many words every pair is tried


def smallest_region(
    reader: Reader, picture: Image.Image, question: str, answer: str, importance: np.ndarray, box: Box = WHOLE
) -> tuple[np.ndarray, str] | None:
    """A small set of cells without which the model answers otherwise.

    Cells are hidden in the order of their importance, 1, 2, 4, ... of them until the answer flips; the number between
    the last two is found by halving; then cells that aren't needed are shown again, least important first.

    Args:
        reader: the model.
        picture, question, answer: what was asked, and what the model writes first, which is to flip.
        importance: [rows, columns], of occlusion.
        box: the part of the photo that the cells lie on.

    Returns:
        The hidden cells [rows, columns] and the new answer; None where it stays with everything hidden.
    """
    order = np.argsort(-importance.ravel(), kind="stable")

    def without(cells: np.ndarray) -> str:
        hidden = np.zeros(importance.size, dtype=bool)
        hidden[cells] = True
        return reader.first_answers([without_regions(picture, hidden.reshape(importance.shape), box)], question)[0]

    steps = [*(2**step for step in range(20) if 2**step < len(order)), len(order)]
    flipped = next((count for count in steps if without(order[:count]) != answer), None)
    if flipped is None:
        return None
    stays = max((count for count in (0, *steps) if count < flipped), default=0)
    while flipped - stays > 1:
        middle = (flipped + stays) // 2
        stays, flipped = (stays, middle) if without(order[:middle]) != answer else (middle, flipped)
    chosen = list(order[:flipped])
    for cell in chosen[::-1][:MAX_SPARED] if len(chosen) > 1 else []:
        fewer = [other for other in chosen if other != cell]
        if fewer and without(np.array(fewer)) != answer:
            chosen = fewer
    region = np.zeros(importance.size, dtype=bool)
    region[chosen] = True
    return region.reshape(importance.shape), without(np.array(chosen))


def fewest_words(
    reader: Reader, picture: Image.Image, question: str, answer: str
) -> tuple[tuple[int, ...], str] | None:
    """The fewest words, one or two, without which the model answers otherwise; None where none are found.

    Pairs are tried in questions of at most ``PAIRED_WORDS`` words.
    """
    words = question.split()
    most = 2 if len(words) <= PAIRED_WORDS else 1
    for count in range(1, min(most, len(words) - 1) + 1):
        for dropped in itertools.combinations(range(len(words)), count):
            if (changed := reader.first_answers([picture], without_words(words, dropped))[0]) != answer:
                return dropped, changed
    return None
