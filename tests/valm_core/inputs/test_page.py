"""Pages: words keep their places and order, and answers are found on them whatever their spaces and marks."""

import numpy as np
import pytest

from valm_core.inputs.page import (
    MAX_LINES,
    Line,
    checked_line,
    page_of_lines,
    plain,
    reading_order,
    spans_with_text,
)
from valm_core.outputs import InputError

LINES = (
    Line((0.6, 0.50, 0.9, 0.54), "RM60.30"),
    Line((0.1, 0.10, 0.9, 0.14), "INDAH GIFT & HOME"),
    Line((0.1, 0.505, 0.4, 0.545), "TOTAL:"),  # a little lower, and yet beside the amount
    Line((0.1, 0.20, 0.7, 0.24), "27,JALAN DEDAP 13,"),
    Line((0.1, 0.25, 0.7, 0.29), "81100 JOHOR."),
    Line((0.1, 0.80, 0.5, 0.84), "19/10/2018 20:49:59"),
)


def test_words_come_in_reading_order_with_places_inside_their_lines():
    page = page_of_lines(LINES)
    assert page.text(0, len(page.words)).startswith("INDAH GIFT & HOME 27,JALAN DEDAP 13, 81100 JOHOR. TOTAL: RM60.30")
    assert [words[0] for words in page.words_of_lines()] == ["INDAH", "27", "81100", "TOTAL", "RM", "19/10/2018"]
    assert page.line_count == 6 and len(page.boxes) == len(page.words)
    amount = page.words.index("60.30")
    assert page.boxes[amount] == pytest.approx([0.6 + 0.3 * 2 / 7, 0.50, 0.9, 0.54])
    assert (page.boxes[:, :2] <= page.boxes[:, 2:]).all()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("60.30", ["60.30"]),
        ("27, JALAN DEDAP 13, 81100 JOHOR", ["27,JALAN DEDAP 13, 81100 JOHOR"]),
        ("19/10/2018", ["19/10/2018"]),
        ("0.3", []),  # within a word
        ("Kuala Lumpur", []),
        ("?!", []),
    ],
)
def test_answers_are_found_by_their_letters_and_digits(text, found):
    page = page_of_lines(LINES)
    assert [page.text(*span) for span in spans_with_text(page, text)] == found


def test_all_places_of_an_answer_are_found():
    page = page_of_lines([Line((0, y, 1, y + 0.05), text) for y, text in ((0.1, "CASH 9.00"), (0.3, "9.00 SUM 9.00"))])
    assert len(spans_with_text(page, "9.00")) == 3 and plain("RM 9.00!") == "rm900"


def test_rows_of_columns_are_read_from_left_to_right():
    texts = [line.text for line in reading_order([LINES[0], LINES[2], LINES[1]])]
    assert texts == ["INDAH GIFT & HOME", "TOTAL:", "RM60.30"]


@pytest.mark.parametrize("lines", [(), (Line((0, 0, 1, 0.1), "  "),), (Line((0, 0, 1, 0.1), "\u200b"),)])
def test_a_page_without_words_says_so(lines):
    with pytest.raises(InputError, match="No words were found"):
        page_of_lines(lines)


def test_pages_too_large_are_refused():
    line = Line((0, 0, 1, 0.1), "a b")
    with pytest.raises(InputError, match=f"{MAX_LINES + 1} lines"):
        page_of_lines([line] * (MAX_LINES + 1))
    with pytest.raises(InputError, match="at most 300 characters"):
        page_of_lines([Line((0, 0, 1, 0.1), "x" * 301)])
    with pytest.raises(InputError, match="1200 words"):
        page_of_lines([Line((0, 0, 1, 0.1), "a b c d")] * 300)


@pytest.mark.parametrize(
    "values",
    [None, [0, 0, 1, 1], [0, 0, 1, 1, 5], [0, 0, float("nan"), 1, "a"], [0.5, 0, 0.1, 1, "a"], [0, 0, 760, 40, "a"]],
)
def test_a_line_of_another_form_is_refused(values):
    with pytest.raises(ValueError, match=r"\[x0, y0, x1, y1, text\]"):
        checked_line(values)


def test_a_line_that_leaves_the_page_a_little_is_cut_to_it():
    assert checked_line([-0.01, 0, 1.02, 1, "a"]) == Line((0.0, 0.0, 1.0, 1.0), "a")
    assert isinstance(page_of_lines(LINES).lines, np.ndarray)
