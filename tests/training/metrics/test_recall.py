"""Recall against counting by hand."""

import numpy as np
import pytest

from training.metrics.recall import found_by_score, retrieval_figures


def test_figures_equal_those_of_sorting():
    generator = np.random.default_rng(0)
    own = np.repeat(np.arange(20), 3)
    scores = generator.normal(size=(60, 20))
    scores[np.arange(60), own] += 1.0
    figures = retrieval_figures(scores, own)
    ranks = [1 + list(np.argsort(-scores[row])).index(own[row]) for row in range(60)]
    best = [
        1 + min(list(np.argsort(-scores[:, photo])).index(row) for row in np.flatnonzero(own == photo))
        for photo in range(20)
    ]
    for k in (1, 5, 10):
        assert figures[f"search_r{k}"] == pytest.approx(np.mean([rank <= k for rank in ranks]))
        assert figures[f"annotation_r{k}"] == pytest.approx(np.mean([rank <= k for rank in best]))
    assert figures["median_rank"] == np.median(ranks)
    assert figures["annotation_median_rank"] == np.median(best)


def test_a_model_that_says_the_same_of_all_finds_nothing():
    figures = retrieval_figures(np.zeros((30, 30)), range(30))
    assert figures["search_r10"] == figures["annotation_r10"] == 0.0
    assert figures["median_rank"] == 30


def test_a_photo_without_a_text_is_refused():
    with pytest.raises(ValueError, match="3 photos, but texts of 2"):
        retrieval_figures(np.zeros((2, 3)), [0, 2])


def test_a_score_is_told_by_how_often_such_searches_found():
    scores = np.array([[9.0, 0], [0, 8.0], [1.0, 0], [2.0, 0]])
    assert found_by_score(scores, [0, 1, 1, 0], bins=2) == [
        {"low": 1.0, "high": 8.0, "searches": 2, "found": 0.5},
        {"low": 8.0, "high": 9.0, "searches": 2, "found": 1.0},
    ]
