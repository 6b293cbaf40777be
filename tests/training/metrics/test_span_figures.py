"""Figures of tagging against a case counted by hand and against scikit-learn."""

import pytest
from sklearn.metrics import f1_score

from training.metrics.span_figures import tag_figures

TRUE = [("B-PER", "I-PER", "O", "B-LOC"), ("O", "B-ORG", "I-ORG", "O")]
TOLD = [("B-PER", "O", "O", "B-LOC"), ("B-LOC", "B-ORG", "I-ORG", "O")]


def test_spans_count_whole_and_words_by_label():
    figures = tag_figures(TOLD, TRUE)
    # Found: PER(0,1), LOC, LOC, ORG; true: PER(0,2), LOC, ORG: two right of four and three.
    assert figures["span_f1"] == pytest.approx(2 * 2 / 7)
    assert (figures["span_precision"], figures["span_recall"]) == (0.5, pytest.approx(2 / 3))
    assert figures["span_f1_by_type"] == {"LOC": pytest.approx(2 / 3), "ORG": 1.0, "PER": 0.0}
    assert figures["f1"]["I-PER"] == 0.0 and figures["f1"]["B-PER"] == 1.0
    flat_true, flat_told = ([label for row in rows for label in row] for rows in (TRUE, TOLD))
    names = list(figures["f1"])
    by_label = f1_score(flat_true, flat_told, labels=names, average=None, zero_division=0)
    assert list(figures["f1"].values()) == pytest.approx(list(by_label))
    micro = f1_score(flat_true, flat_told, labels=names, average="micro")
    assert figures["micro_f1"] == pytest.approx(micro) and "O" not in figures["f1"]
    assert figures["support"]["B-LOC"] == 1


def test_all_right_is_one_and_nothing_to_find_is_nothing():
    assert tag_figures(TRUE, TRUE)["micro_f1"] == tag_figures(TRUE, TRUE)["span_f1"] == 1.0
    assert tag_figures([("O",)], [("O",)])["micro_f1"] == 0.0
