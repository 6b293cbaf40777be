"""From rows to batches: the answer list, the targets, photos that come once, blind batches."""

import pytest
import torch

from training.datasets.feature_cache import FeatureCache
from training.datasets.questions import QuestionDataset, answer_index, build_answer_list
from training.datasets.readers.jsonl import DataError, Row, read_rows
from valm_core.learning.losses import OBJECTIVE_INPUTS


def row(*answers: str) -> Row:
    return Row(None, "what color is it?", answers)


def test_the_answer_list_holds_the_most_common_ones_first():
    rows = [row("cat"), row("dog", "dog"), row("dog"), row("bird"), row("cat")]
    assert build_answer_list(rows, 10) == ["dog", "cat", "bird"]
    assert build_answer_list(rows, 2) == ["dog", "cat"]


def test_spellings_of_one_answer_count_together_and_the_commonest_is_shown():
    rows = [row("cat"), row("cat"), row("Two"), row("two "), row("2"), row("the two")]
    assert build_answer_list(rows, 10) == ["two", "cat"]


def test_an_answer_of_which_the_rules_for_scoring_leave_nothing_stays():
    assert build_answer_list([row("the"), row("?"), row("red")], 10) == ["the", "?", "red"]


def test_answers_are_found_by_their_normal_form():
    assert answer_index(["two", "dont know"]) == {"2": 0, "don't know": 1}


def test_targets_share_out_what_people_said_among_listed_answers(tiny_model):
    rows = [row("Red.", "the red", "blue", "purple"), row("green"), row("purple")]
    targets = QuestionDataset(rows, tiny_model, blind=True).collate([0, 1, 2])["targets"]
    red, green, blue = (tiny_model.answers.index(answer) for answer in ("red", "green", "blue"))
    expected = torch.zeros(3, 6)
    expected[0, red], expected[0, blue] = 2 / 3, 1 / 3  # "purple" isn't in the list
    expected[1, green] = 1
    torch.testing.assert_close(targets, expected)


def test_soft_targets_as_worked_by_hand(tiny_model):
    ten = ["red"] * 5 + ["Blue."] * 3 + ["green", "purple"]
    rows = [row("purple"), row(*ten), row("yes", "the yes")]
    dataset = QuestionDataset(rows, tiny_model, blind=True, soft_targets=True).answerable()
    expected = torch.zeros(2, 6)
    for place, answer, score in ((0, "red", 1.0), (0, "blue", 0.9), (0, "green", 0.3), (1, "yes", 0.6)):
        expected[place, tiny_model.answers.index(answer)] = score
    torch.testing.assert_close(dataset.collate([0, 1])["targets"], expected)


def test_only_rows_with_a_listed_answer_can_be_learned_from(tiny_model):
    rows = [row("purple"), row("red"), row("purple", "blue")]
    assert QuestionDataset(rows, tiny_model).answerable().rows == rows[1:]


def test_a_photo_of_several_questions_comes_once(tiny_model, colored_squares):
    rows = read_rows(colored_squares)  # two questions a photo
    batch = QuestionDataset(rows, tiny_model).collate([6, 0, 7, 1])
    assert batch["photo_index"].tolist() == [0, 1, 0, 1]
    assert batch["pixels"].shape == (2, 3, 32, 32)
    yellow, red = batch["pixels"].mean(dim=(2, 3))
    torch.testing.assert_close(yellow * 255, torch.tensor([230.0, 220, 40]), atol=0.5, rtol=0)
    torch.testing.assert_close(red * 255, torch.tensor([220.0, 30, 30]), atol=0.5, rtol=0)
    together = tiny_model(**{name: value for name, value in batch.items() if name not in OBJECTIVE_INPUTS}).logits
    for place, index in enumerate([6, 0, 7, 1]):
        batch = QuestionDataset(rows, tiny_model).collate([index])
        alone = {name: value for name, value in batch.items() if name not in OBJECTIVE_INPUTS}
        torch.testing.assert_close(together[place : place + 1], tiny_model(**alone).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cached", [False, True])
def test_a_blind_batch_holds_no_photo(tiny_model, tmp_path, cached):
    rows = [row("red"), row("blue")]
    features = FeatureCache(tiny_model, [], [row.question for row in rows], tmp_path / "cache") if cached else None
    batch = QuestionDataset(rows, tiny_model, features, blind=True).collate([0, 1])
    assert batch.keys() == {"text_mask", "targets", "text_tokens" if cached else "token_ids"}


def test_an_overlong_question_is_cut_and_not_refused(tiny_model):
    rows = [Row(None, "what color is the square? " * 10, ("red",))]
    assert QuestionDataset(rows, tiny_model, blind=True).collate([0])["token_ids"].shape == (1, 16)


def test_an_unreadable_photo_is_named(tiny_model, colored_squares):
    (colored_squares.parent / "red.png").write_text("not a photo")
    with pytest.raises(DataError, match=r"red\.png"):
        QuestionDataset(read_rows(colored_squares), tiny_model).collate([0])
