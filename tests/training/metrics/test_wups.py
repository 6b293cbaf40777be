"""WUPS against values worked by hand from WordNet 3.0's hierarchy."""

import pytest

from training.metrics import wups as module
from training.metrics.wups import WordNetMissing, word_similarity, wups

# dog and cat lie 14 deep, the root counted; their nearest common ancestor, carnivore, 12 deep.
DOG_CAT = 2 * 12 / (14 + 14)


def test_similarity_as_worked_by_hand(wordnet):
    assert word_similarity("dog", "cat") == word_similarity("cat", "dog") == pytest.approx(DOG_CAT)
    assert word_similarity("xqzt", "dog") == 0.0


def test_only_nouns_are_compared(wordnet):
    """As adjectives "radio" and "16" meet at a made-up root right above them (0.5), as nouns at entity, far above."""
    assert word_similarity("radio", "16") == pytest.approx(2 * 1 / 17)
    assert word_similarity("quickly", "slowly") == 0.0  # adverbs


@pytest.mark.parametrize(
    ("prediction", "answer", "threshold", "expected"),
    [
        ("dog", "cat", 0.0, DOG_CAT),
        ("dog", "cat", 0.9, 0.1 * DOG_CAT),
        ("dog", "dog, cat", 0.0, DOG_CAT),  # dog is met, cat by dog; the smaller product counts
        ("dog, cat", "dog", 0.9, 0.1 * DOG_CAT),
        ("cat, dog", "dog,cat", 0.9, 1.0),
        ("xqzt", "dog", 0.0, 0.0),
    ],
)
def test_scores_as_worked_by_hand(wordnet, prediction, answer, threshold, expected):
    assert wups(prediction, answer, threshold) == pytest.approx(expected)


def test_the_same_words_need_no_wordnet():
    assert wups(" Garbage Bin", "garbage bin", 0.9) == 1.0


@pytest.mark.parametrize(("prediction", "threshold", "fault"), [(" , ", 0.9, "holds no answer"), ("a", 2, "threshold")])
def test_faults_are_named(prediction, threshold, fault):
    with pytest.raises(ValueError, match=fault):
        wups(prediction, "dog", threshold)


def test_a_missing_wordnet_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WORDNET_FOLDER", str(tmp_path))
    with pytest.raises(WordNetMissing, match="apt-get install wordnet-base"):
        module.read_wordnet.__wrapped__()
