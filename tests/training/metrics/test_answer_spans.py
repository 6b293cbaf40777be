"""Answers against each other: what counts as the same, and how fields are summed."""

import pytest

from training.metrics.answer_spans import answer_figures, overlap, same_text


@pytest.mark.parametrize(
    ("predicted", "true", "same", "shared"),
    [
        ("27,JALAN DEDAP", "27, Jalan Dedap.", True, 1.0),
        ("60.30", "6030", False, 0.0),
        ("HOME DECO", "HOMEDECO", True, 0.0),  # OCR loses spaces
        ("JALAN DEDAP 13", "JALAN DEDAP", False, 0.8),
        ("", "60.30", False, 0.0),
        ("", "", True, 1.0),
    ],
)
def test_marks_and_spaces_do_not_count_but_a_decimal_point_does(predicted, true, same, shared):
    assert same_text(predicted, true) is same and overlap(predicted, true) == pytest.approx(shared)


def test_figures_by_field_take_the_best_of_the_right_answers():
    predicted, true = ["9.00", "1/2/2018", "x"], [("8.00", "9.00"), ("1/2/2018",), ("y",)]
    figures = answer_figures(predicted, true, ["total", "date", "total"])
    assert figures["exact_match"] == {"date": 1.0, "total": 0.5} and figures["f1"]["total"] == 0.5
    assert figures["mean_exact_match"] == pytest.approx(2 / 3) and figures["questions"] == 3
