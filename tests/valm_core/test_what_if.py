"""What if: every switch by hand on a tiny model, and what can't be switched says so."""

import numpy as np
import pytest

from valm_core.outputs import InputError

QUESTION = "what color is the square?"


def test_nothing_switched_off_changes_nothing(tiny_predictor, encoded):
    assert tiny_predictor.what_if(encoded, QUESTION) == tiny_predictor.answer(encoded, QUESTION)


def test_hidden_cells_are_the_average_token_and_all_of_them_are_a_photo_of_it(tiny_predictor, encoded):
    hidden = np.zeros(encoded.grid, dtype=bool)
    hidden[1, 2] = True
    tokens = encoded.tokens.clone()
    tokens[0, encoded.grid[1] + 2] = tiny_predictor.model.mean_image_token
    by_hand = tiny_predictor.answer(type(encoded)(tokens, encoded.grid), QUESTION)
    assert tiny_predictor.what_if(encoded, QUESTION, hidden_cells=hidden) == by_hand
    assert by_hand != tiny_predictor.answer(encoded, QUESTION)
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(4, 4\)"):
        tiny_predictor.what_if(encoded, QUESTION, hidden_cells=np.zeros((2, 2)))


def test_hidden_words_leave_a_shorter_question(tiny_predictor, encoded):
    found = tiny_predictor.what_if(encoded, QUESTION, hidden_words=[0, 3])
    assert found == tiny_predictor.answer(encoded, "color is square?")
    with pytest.raises(ValueError, match="has 9, but the question has the words 0 to 4"):
        tiny_predictor.what_if(encoded, QUESTION, hidden_words=[9])
    with pytest.raises(InputError, match="at least one"):
        tiny_predictor.what_if(encoded, QUESTION, hidden_words=range(5))


def test_silent_heads_reach_the_model(tiny_predictor, encoded):
    heads = tiny_predictor.attention_heads
    config = tiny_predictor.model.config
    assert len(heads) == 4 * config.layers * config.heads == len(set(heads))
    changed = [tiny_predictor.what_if(encoded, QUESTION, masked_heads=[head]).answers for head in heads]
    assert tiny_predictor.answer(encoded, QUESTION).answers not in changed[: config.layers * config.heads]
    with pytest.raises(ValueError, match="attention_heads"):
        tiny_predictor.what_if(encoded, QUESTION, masked_heads=[("text_to_image", 0, 99)])


def test_candidates_in_the_list_are_renormalised(tiny_predictor, encoded):
    usual = {answer.text: answer.probability for answer in tiny_predictor.answer(encoded, QUESTION, top=99).answers}
    found = tiny_predictor.what_if(encoded, QUESTION, candidates=["Red", " no ", "r\u00aded", "ｒｅｄ", "\u200b"])
    assert tiny_predictor.masks(["red", "no"])
    for answer in found.answers:
        assert answer.probability == pytest.approx(usual[answer.text] / (usual["red"] + usual["no"]))
    assert sorted(answer.text for answer in found.answers) == ["no", "red"]


def test_candidates_outside_the_list_are_scored_by_meaning(tiny_predictor, encoded):
    found = tiny_predictor.what_if(encoded, QUESTION, candidates=["many squares", "red", "blue"])
    assert not tiny_predictor.masks(["many squares", "red"])
    assert {answer.text for answer in found.answers} == {"many squares", "red", "blue"}
    assert sum(answer.probability for answer in found.answers) == pytest.approx(1)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [(["red"], "at least two"), ([str(number) for number in range(101)], "at most 100"), (["a" * 999, "b"], "at most")],
)
def test_candidates_that_cannot_be_chosen_among_say_why(tiny_predictor, encoded, candidates, message):
    with pytest.raises(InputError, match=message):
        tiny_predictor.what_if(encoded, QUESTION, candidates=candidates)
