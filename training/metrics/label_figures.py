"""Figures of labels: accuracy, macro and micro F1, F1 by label, confusion."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

NO_RELATION = "None"  # the label of MNRE for two parts that have none


def label_figures(truth: Sequence[str], said: Sequence[str]) -> dict:
    """Accuracy and F1 of labels, each in 0..1.

    ``macro_f1`` is the mean over all labels that occur in either; ``f1`` by label has those of ``truth``, the commonest
    first; ``always_commonest`` is what always saying the commonest label of ``truth`` would get.
    """
    true, given = np.array(truth), np.array(said)
    labels = sorted({*truth, *said})
    scores = {label: f1_score(true == label, given == label) for label in labels}
    counts = Counter(truth)
    commonest = counts.most_common(1)[0][0]
    always = {label: f1_score(true == label, np.full(len(true), label == commonest)) for label in counts}
    return {
        "rows": len(true),
        "accuracy": float((true == given).mean()),
        "macro_f1": float(np.mean(list(scores.values()))),
        "f1": {label: scores[label] for label, _ in counts.most_common()},
        "always_commonest": {
            "label": commonest,
            "accuracy": counts[commonest] / len(true),
            "macro_f1": float(np.mean(list(always.values()))),
        },
    }


def relation_figures(truth: Sequence[str], said: Sequence[str]) -> dict:
    """Micro precision, recall and F1 over all relations but ``NO_RELATION``, as MNRE's publications count."""
    true, given = np.array(truth), np.array(said)
    right = int(((true == given) & (true != NO_RELATION)).sum())
    precision = right / max(int((given != NO_RELATION).sum()), 1)
    recall = right / max(int((true != NO_RELATION).sum()), 1)
    return {
        "micro_precision": precision,
        "micro_recall": recall,
        "micro_f1": 2 * precision * recall / max(precision + recall, 1e-12),
    }


def f1_score(true: np.ndarray, given: np.ndarray) -> float:
    """F1 of one label from which rows have it and which were given it, [R] each; 0 where neither has any right."""
    both = int((true & given).sum())
    return 2 * both / max(int(true.sum()) + int(given.sum()), 1)


def confusion(truth: Sequence[str], said: Sequence[str]) -> dict[str, dict[str, int]]:
    """True label -> given label -> how many rows, without zeros; the commonest label first."""
    pairs = Counter(zip(truth, said, strict=True))
    return {
        label: {given: count for (true, given), count in pairs.most_common() if true == label}
        for label, _ in Counter(truth).most_common()
    }
