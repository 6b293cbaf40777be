"""An explanation taken apart: the maps of one direction, layer and head."""

from __future__ import annotations

import dataclasses

import numpy as np

from valm_core.method_names import WITHOUT_HEADS
from valm_core.outputs import Explanation

ALL = -1  # in the menus of layers and heads


def part_of(explanation: Explanation, direction: str, layer: int | None = None, head: int | None = None) -> Explanation:
    """The same explanation with the maps of one direction, layer and head in place of the method's own.

    Args:
        explanation: W words, N cells, L layers, H heads.
        direction: "text_to_image", where the words looked, or "image_to_text", which words the cells listened to.
        layer: 0 to L - 1; None for the mean over all.
        head: 0 to H - 1; None for the mean over all. A method without heads is never taken apart.

    Returns:
        Maps that sum to 1. Both None with "text_to_image" is the explanation itself; the map of the whole question is
        the words' maps weighted by ``token_scores`` otherwise.
    """
    layer, head = place_in(explanation, layer, head)
    everything = layer is None and head is None
    if everything and direction == "text_to_image":
        return explanation
    layers = slice(None) if layer is None else slice(layer, layer + 1)
    heads = slice(None) if head is None else slice(head, head + 1)
    listened = explanation.patch_to_token  # [N, W]
    if not everything:
        listened = explanation.image_to_text[layers, heads].mean(axis=(0, 1), dtype=np.float32)
    maps = listened.T  # [W, N]
    if direction == "text_to_image":
        maps = explanation.text_to_image[layers, heads].mean(axis=(0, 1), dtype=np.float32)
    total = maps.sum(axis=1, keepdims=True)
    maps = np.where(total > 0, maps / np.maximum(total, 1e-12), 1 / maps.shape[1])
    return dataclasses.replace(
        explanation,
        token_to_patch=maps,
        patch_to_token=listened,
        image_map=(explanation.token_scores @ maps).reshape(explanation.grid),
    )


def has_heads(explanation: Explanation) -> bool:
    """Whether a map is made of layers and heads, so that it can be shown for one of them."""
    return explanation.method not in WITHOUT_HEADS


def place_in(explanation: Explanation, layer: int | None, head: int | None) -> tuple[int | None, int | None]:
    """The layer and head that can be shown, from what the menus say: None for all, as for a method without heads."""
    return (place_or_all(layer), place_or_all(head)) if has_heads(explanation) else (None, None)


def all_heads(explanation: Explanation, direction: str) -> list[list[Explanation]]:
    """The explanation by layer and head: L lists of H."""
    layers, heads = explanation.text_to_image.shape[:2]
    return [[part_of(explanation, direction, layer, head) for head in range(heads)] for layer in range(layers)]


def place_or_all(number: int | None) -> int | None:
    """The layer or head that a menu gives: from 0, None for ``ALL`` of them."""
    return None if number in (None, ALL) else number
