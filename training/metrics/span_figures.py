"""Figures of tagging: scikit-learn's report by label, and F1 of whole spans."""

from collections.abc import Sequence
from typing import Any

from valm_core.model.tasks.span_labels import OUTSIDE, spans_of, type_of

Labels = Sequence[str]


def tag_figures(predicted: Sequence[Labels], true: Sequence[Labels]) -> dict[str, Any]:
    """How well words were labelled.

    Args:
        predicted, true: the labels of each sentence, by the model and by people.

    Returns:
        ``f1``, ``precision``, ``recall`` and ``support`` by label, words being counted (``OUTSIDE`` left out), with
        ``micro_f1``, ``macro_f1`` and ``weighted_f1`` of them, as in scikit-learn's ``classification_report``; and of
        whole spans, right in both ends and type (Tjong Kim Sang & De Meulder 2003, W03-0419), ``span_f1``,
        ``span_precision``, ``span_recall`` and ``span_f1_by_type``.
    """
    from sklearn.metrics import classification_report

    flat_predicted, flat_true = ([label for labels in part for label in labels] for part in (predicted, true))
    names = sorted({*flat_predicted, *flat_true} - {OUTSIDE}, key=lambda label: (type_of(label), label))
    figures: dict[str, Any] = {name: {} for name in ("f1", "precision", "recall", "support")}
    if names:
        report = classification_report(flat_true, flat_predicted, labels=names, output_dict=True, zero_division=0)
        for name in names:
            figures["f1"][name] = report[name]["f1-score"]
            figures["support"][name] = int(report[name]["support"])
            figures |= {part: figures[part] | {name: report[name][part]} for part in ("precision", "recall")}
        figures |= {f"{kind}_f1": report[f"{kind} avg"]["f1-score"] for kind in ("macro", "weighted")}
        micro = report.get("micro avg", {"f1-score": report.get("accuracy", 0.0)})
        figures["micro_f1"] = micro["f1-score"]
    else:  # nothing to find, and nothing found
        figures |= {"macro_f1": 0.0, "weighted_f1": 0.0, "micro_f1": 0.0}
    return figures | span_figures(predicted, true)


def span_figures(predicted: Sequence[Labels], true: Sequence[Labels]) -> dict[str, Any]:
    """F1, precision and recall of whole spans, and F1 by type; arguments as of ``tag_figures``."""
    found = {(place, *span) for place, labels in enumerate(predicted) for span in spans_of(labels)}
    real = {(place, *span) for place, labels in enumerate(true) for span in spans_of(labels)}
    types = sorted({span[-1] for span in found | real})
    by_type = {
        name: _f1({span for span in found if span[-1] == name}, {span for span in real if span[-1] == name})[0]
        for name in types
    }
    names = ("span_f1", "span_precision", "span_recall")
    return dict(zip(names, _f1(found, real), strict=True)) | {"span_f1_by_type": by_type}


def _f1(found: set, real: set) -> tuple[float, float, float]:
    """F1, precision and recall of what was found among what is there; 0 where there is nothing to divide by."""
    right = len(found & real)
    precision, recall = right / len(found) if found else 0.0, right / len(real) if real else 0.0
    return (2 * right / (len(found) + len(real)) if found or real else 0.0), precision, recall
