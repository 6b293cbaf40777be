"""Which answers a reader gives for the spans of a page that it finds likely."""

import numpy as np
import pytest
import torch

from valm_core.inputs.page import Line, page_of_lines
from valm_core.tasks.reader import Reader

PAGE = page_of_lines([Line((0.1, 0.1, 0.9, 0.2), "TOTAL 9.00"), Line((0.1, 0.4, 0.9, 0.5), "CASH 20.00 TOTAL 9.00")])


def _likely(**spans):
    """Log-probabilities [W, W] of spans named `w_FIRST_LAST`; the rest is as good as impossible."""
    likely = torch.full((len(PAGE.words),) * 2, -40.0)
    for name, probability in spans.items():
        likely[tuple(int(part) for part in name.split("_")[1:])] = np.log(probability)
    return likely


def test_the_same_text_at_two_places_is_one_answer_as_likely_as_both_together():
    answers = Reader._answers(PAGE, _likely(w_1_1=0.4, w_3_3=0.45, w_5_5=0.1), 3)
    assert [text for _, _, text, _ in answers] == ["9.00", "20.00"]
    assert answers[0][:2] == (1, 2), "the words are those of the likeliest place"
    assert [value for *_, value in answers] == pytest.approx([0.5, 0.45])


def test_the_same_words_cut_otherwise_are_no_further_answer():
    answers = Reader._answers(PAGE, _likely(w_1_1=0.5, w_0_1=0.3, w_2_3=0.1), 3)
    assert [text for _, _, text, _ in answers] == ["9.00", "CASH 20.00"]


def test_one_answer_at_least_and_as_many_as_asked():
    assert len(Reader._answers(PAGE, torch.full((6, 6), -50.0), 3)) == 1
    assert len(Reader._answers(PAGE, _likely(w_0_0=0.3, w_1_1=0.3, w_2_2=0.3), 2)) == 2
