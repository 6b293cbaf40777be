"""The reward against pycocoevalcap's own figure of a whole set."""

import pytest
from pycocoevalcap.cider.cider import Cider

from training.metrics.caption_reward import CiderReward

REFERENCES = [
    ["A dog runs on the beach.", "The brown dog is running along the sea."],
    ["Two children play football in a park.", "Kids with a ball."],
    ["A man climbs a steep rock.", "A climber on a cliff."],
]
SAID = ["a dog on the beach", "children with a ball", "a man on a rock"]


def test_one_of_each_is_the_figure_of_the_set_with_the_end_as_a_word():
    people = {place: [f"{text.lower().rstrip('.')} ." for text in texts] for place, texts in enumerate(REFERENCES)}
    _, scores = Cider().compute_score(people, {place: [f"{text} ."] for place, text in enumerate(SAID)})
    reward = CiderReward(REFERENCES)
    assert reward([0, 1, 2], SAID, [True] * 3) == pytest.approx(list(scores))
    assert reward([0, 1, 2], SAID, [True] * 3) == pytest.approx(list(scores))  # nothing is counted twice


def test_more_captions_than_photos_in_any_order():
    reward = CiderReward(REFERENCES)
    one_by_one = [reward([photo], [text], [True])[0] for photo in range(3) for text in SAID]
    photos = [photo for photo in range(3) for _ in SAID]
    assert reward(photos, SAID * 3, [True] * 9) == pytest.approx(one_by_one)
    assert all(one_by_one[3 * photo + photo] == max(one_by_one[3 * photo : 3 * photo + 3]) for photo in range(3))


def test_a_caption_that_breaks_off_is_worth_less():
    reward = CiderReward(REFERENCES)
    whole, broken = reward([0, 0], [SAID[0]] * 2, [True, False])
    assert broken < whole
