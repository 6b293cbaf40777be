"""Figures of retrieval: how often the right one is among the first K, and how far down it lies."""

from collections.abc import Sequence

import numpy as np

RECALL_AT = (1, 5, 10)


def retrieval_figures(scores: np.ndarray, photo_of_text: Sequence[int]) -> dict[str, float]:
    """Recall at 1, 5, 10 and the median rank, both ways, as Hodosh et al. 2013 (JAIR 47) measure image description.

    ``search_rK``: of the texts, how many have their photo among the K photos that fit them best. ``annotation_rK``: of
    the photos, how many have one of their own texts among the K texts that fit them best. ``median_rank`` is that of
    search, from 1, ``annotation_median_rank`` that of the best of a photo's own texts. Equal scores count against the
    right one, so that a model that says the same of all finds nothing.

    Args:
        scores: [R, P], how well each text fits each photo.
        photo_of_text: for each text the place of its photo; every photo has one text at least.

    Raises:
        ValueError: a photo has no text.
    """
    own = np.asarray(photo_of_text)
    rows, photos = scores.shape
    if len(np.unique(own)) != photos:
        raise ValueError(f"{photos} photos, but texts of {len(np.unique(own))}; every photo needs one at least.")
    right = scores[np.arange(rows), own]  # [R]
    search = (scores >= right[:, None]).sum(axis=1)  # rank from 1: the right one counts itself
    best = np.full(photos, -np.inf)
    np.maximum.at(best, own, right)  # [P], of the photo's own texts
    others = (scores >= best) & (own[:, None] != np.arange(photos))  # [R, P]
    annotation = 1 + others.sum(axis=0)
    figures = {f"search_r{k}": float((search <= k).mean()) for k in RECALL_AT}
    figures |= {f"annotation_r{k}": float((annotation <= k).mean()) for k in RECALL_AT}
    return figures | {
        "median_rank": float(np.median(search)),
        "annotation_median_rank": float(np.median(annotation)),
    }


def found_by_score(scores: np.ndarray, photo_of_text: Sequence[int], bins: int = 5) -> list[dict[str, float]]:
    """What the best photo's score says: of searches sorted by it into ``bins`` of equal size, the share that found.

    Args:
        scores, photo_of_text: as of ``retrieval_figures``.
        bins: at most; fewer where there are fewer searches.

    Returns:
        For each bin ``low`` and ``high`` score, ``searches`` and ``found``, the share whose best photo was the right
        one; from the lowest scores up, each bin beginning where the one before ends.
    """
    best, right = scores.max(axis=1), scores.argmax(axis=1) == np.asarray(photo_of_text)
    order = np.argsort(best, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    edges = [float(best[part[0]]) for part in parts] + [float(best[order[-1]])]
    return [
        {"low": low, "high": high, "searches": len(part), "found": float(right[part].mean())}
        for part, low, high in zip(parts, edges, edges[1:], strict=False)
    ]
