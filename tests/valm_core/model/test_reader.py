"""The reader: spans against all written out, places that count, and lines that leave no trace once hidden."""

import dataclasses

import numpy as np
import pytest
import torch

from valm_core.inputs.page import Line, page_of_lines
from valm_core.model.build import build_task_model
from valm_core.model.tasks.page_encoding import encode_page, pad_pages
from valm_core.model.tasks.reader import BUCKETS, ReadModel, best_spans, distance_buckets, span_scores

LINES = (
    Line((0.1, 0.1, 0.9, 0.15), "the red square"),
    Line((0.1, 0.3, 0.4, 0.35), "what is"),
    Line((0.6, 0.3, 0.9, 0.35), "12.50"),
    Line((0.1, 0.7, 0.9, 0.75), "blue color"),
)


@pytest.fixture(scope="module")
def model(tiny_config) -> ReadModel:
    torch.manual_seed(2)
    model = build_task_model(dataclasses.replace(tiny_config, task="read")).eval()
    return model


def test_spans_equal_those_of_all_pairs_written_out():
    torch.manual_seed(0)
    scores, most = torch.randn(2, 2, 5), 3
    for row in range(2):
        pairs = {
            (i, j): float(scores[row, 0, i] + scores[row, 1, j]) for i in range(5) for j in range(i, min(i + 3, 5))
        }
        total = torch.tensor(list(pairs.values())).logsumexp(0)
        likely = span_scores(scores, most)[row]
        for i in range(5):
            for j in range(5):
                share = np.exp(pairs[i, j] - float(total)) if (i, j) in pairs else 0.0
                assert likely[i, j].exp().item() == pytest.approx(share, abs=1e-6)
        first, last, value = best_spans(scores, most)
        assert (first[row].item(), last[row].item()) == max(pairs, key=pairs.get)
        assert value[row].item() == pytest.approx(max(pairs.values()) - float(total), abs=1e-5)


def test_pages_of_different_length_side_by_side_read_as_each_alone(model):
    pages = [encode_page(model, page_of_lines(lines)) for lines in (LINES, LINES[:2])]
    questions = model.encode_questions(["what is this", "what color"])
    together = model(**pad_pages(pages), questions=questions)
    alone = model(**pad_pages(pages[1:]), questions=questions[1:])
    assert torch.allclose(together[1, :, :5], alone[0], atol=1e-4)
    assert (together[1, :, 5:] < -1000).all()


def test_a_hidden_line_leaves_no_trace(model):
    """Hidden, it is as if it said anything else: neither attention nor the text encoder has carried it elsewhere."""
    other = (*LINES[:3], Line(LINES[3].box, "what this"))
    questions = model.encode_questions(["what is this"])
    scores = []
    for lines in (LINES, other):
        inputs = pad_pages([encode_page(model, page_of_lines(lines))])
        whole = model(**inputs, questions=questions)
        inputs["mask"][:, -2:] = False
        scores.append((whole, model(**inputs, questions=questions)))
    assert torch.allclose(scores[0][1], scores[1][1], atol=1e-5)
    assert not torch.allclose(scores[0][0][..., :-2], scores[1][0][..., :-2], atol=1e-5)


def test_places_count(model):
    moved = (*LINES[:2], Line((0.6, 0.8, 0.9, 0.85), "12.50"), LINES[3])
    questions = model.encode_questions(["what is this"])
    here, there = (
        model(**pad_pages([encode_page(model, page_of_lines(lines))]), questions=questions) for lines in (LINES, moved)
    )
    assert here.shape == there.shape and not torch.allclose(here, there)


def test_distances_tell_left_from_right_and_near_from_far():
    boxes = torch.tensor([[[0.1, 0.1, 0.2, 0.2], [0.15, 0.1, 0.3, 0.2], [0.9, 0.6, 0.95, 0.7]]])
    across, down = distance_buckets(boxes)
    assert across.min() >= 0 and across.max() < BUCKETS
    assert across[0, 0, 0] == 0 and down[0, 0, 1] == 0
    assert across[0, 0, 1] >= BUCKETS // 2 > across[0, 1, 0]  # to the right, to the left
    assert across[0, 0, 2] > across[0, 0, 1] and down[0, 2, 0] < BUCKETS // 2 <= down[0, 0, 2]
