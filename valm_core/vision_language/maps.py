"""From words' rows of attention, or from what hiding does, to the one ``Explanation`` that a page draws."""

import numpy as np

from valm_core.outputs import Explanation, in_shares
from valm_core.vision_language.geometry import WHOLE, Box
from valm_core.vision_language.pixels import stretched
from valm_core.vision_language.reader import WordRows

MAX_WEIGHTS = 2**22  # of layers, heads, words and cells: 8 MB


def from_rows(
    method: str, words: tuple[str, ...], rows: WordRows, grid: tuple[int, int], box: Box = WHOLE
) -> Explanation:
    """An explanation of W words out of their rows.

    The map of the whole question is all words' attention together: a word counts by the share of its attention that
    went to the photo. What a cell gave to each word is the same attention, seen from the cell.

    Layers and heads are kept in half precision, since a page holds many replies; of a longer text, whose maps would
    still be too many, all heads of a layer together.

    Args:
        method: that made the rows.
        words: of the question and then of the answer.
        rows: [L, H, W, N].
        grid, box: of the cells.
    """
    weights = rows.weights.astype(np.float32)
    together = weights.mean(axis=(0, 1))  # [W, N]
    if weights.size > MAX_WEIGHTS:
        weights = weights.mean(axis=1, keepdims=True)
    return Explanation(
        method=method,
        tokens=words,
        image_map=in_shares(together.sum(axis=0)).reshape(grid),
        token_scores=in_shares(together.sum(axis=1)),
        token_to_patch=in_shares(together),
        patch_to_token=in_shares(together.T),
        text_to_image=in_shares(weights).astype(np.float16),
        image_to_text=in_shares(np.swapaxes(weights, 2, 3)).astype(np.float16),
        grid=grid,
        box=box,
        answer_words=rows.answer_words,
    )


def from_cells(
    method: str,
    words: tuple[str, ...],
    answer_maps: list[np.ndarray],
    cells: np.ndarray,
    scores: np.ndarray,
    grid: tuple[int, int],
    box: Box = WHOLE,
) -> Explanation:
    """An explanation of a method that has one map for the question as a whole, and perhaps one a word of the answer.

    Args:
        method: occlusion or a control.
        words: of the question and then of the answer, W.
        answer_maps: of the answer's words, each of the shape of ``cells``.
        cells: [rows, columns] at least 0: how much each place counts, on any grid over the box.
        scores: [W] at least 0: how much each word counts.
        grid, box: of what is drawn.
    """
    whole = in_shares(stretched(cells, grid).ravel())
    maps = np.repeat(whole[None], len(words), axis=0)  # [W, N]
    first = len(words) - len(answer_maps)
    for place, answer_map in enumerate(answer_maps):
        maps[first + place] = in_shares(stretched(answer_map, grid).ravel())
    weighted = maps * in_shares(scores)[:, None]
    return Explanation(
        method=method,
        tokens=words,
        image_map=whole.reshape(grid),
        token_scores=in_shares(scores),
        token_to_patch=maps,
        patch_to_token=in_shares(weighted.T),
        text_to_image=maps[None, None],
        image_to_text=in_shares(weighted.T)[None, None],
        grid=grid,
        box=box,
        answer_words=len(answer_maps),
    )
