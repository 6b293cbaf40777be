"""Explanations with maps that a test planted."""

import numpy as np

from valm_core.outputs import Explanation


def explanation_with(maps: np.ndarray, words: tuple[str, ...], box=(0.0, 0.0, 1.0, 1.0)) -> Explanation:
    """An explanation whose words have these maps [W, rows, columns]; the whole question has the first one."""
    token_to_patch = maps.reshape(len(words), -1)
    return Explanation(
        method="planted",
        tokens=words,
        image_map=maps[0],
        token_scores=np.full(len(words), 1 / len(words)),
        token_to_patch=token_to_patch,
        patch_to_token=token_to_patch.T,
        text_to_image=token_to_patch[None, None],
        image_to_text=token_to_patch.T[None, None],
        grid=maps.shape[1:],
        box=box,
    )
