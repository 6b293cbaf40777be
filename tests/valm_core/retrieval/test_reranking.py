"""What was found, ordered once more: by the sum of both logarithms, whatever becomes of the photos."""

import numpy as np
import pytest

from valm_core.outputs import InputError
from valm_core.retrieval.index import Found
from valm_core.retrieval.reranking import read_again

FOUND = [Found("a.png", 30.0, 0.4), Found("b.png", 29.0), Found("gone.png", 28.5), Found("c.png", 28.0)]
LIKELY = {"a.png": -12.0, "b.png": -10.5, "c.png": -10.0}


class FakeCaptioner:
    """Gives each photo a number by its name, and can't read one."""

    def log_probabilities(self, texts, photo):
        assert texts == ["a dog"]
        if photo.name not in LIKELY:
            raise InputError("There is no file {name}.", name=photo.name)
        return np.array([LIKELY[photo.name]])


def test_photos_are_ordered_by_the_sum_and_keep_their_scores(tmp_path):
    steps = []
    read = read_again(FakeCaptioner(), "a dog", FOUND, lambda name: tmp_path / name, lambda *step: steps.append(step))
    assert [(one.name, one.score, one.found_share) for one in read] == [
        ("b.png", 29.0, None),  # 18.5
        ("a.png", 30.0, None),  # 18.0, as the next one, which was found later
        ("c.png", 28.0, None),
        ("gone.png", 28.5, None),
    ]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_words_without_a_word_are_refused_before_a_photo_is_opened():
    with pytest.raises(InputError, match="has no word"):
        read_again(FakeCaptioner(), "?!", FOUND, lambda name: pytest.fail(name))
