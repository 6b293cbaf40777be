"""valm_core/answers.py: small differences are none, yes/no answers list no donut, a guess is told from a look."""

import numpy as np
import pytest

from valm_core.answers import differ, listed
from valm_core.exported.model import ExportedModel, likeliest
from valm_core.outputs import Answer, Prediction


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        (0.5, 0.55, True),
        (0.5, 0.54, False),
        (0.97, 0.97, False),
        (0.97, 0.98, True),
        (0.002, 0.0025, False),
        (0.002, 0.0027, True),
        (0.0, 0.0, False),
        (1.0, 1.0, False),
        (0.0, 1.0, True),
    ],
)
def test_probabilities_differ_by_points_or_by_odds_whichever_way_round(first, second, apart):
    assert differ(first, second) == differ(second, first) == apart


def answers(**probabilities):
    return tuple(Answer(text, probability) for text, probability in probabilities.items())


def test_beside_yes_and_no_only_what_is_likely_is_listed():
    assert listed(answers(no=0.53, yes=0.35, donut=0.0004)) == answers(no=0.53, yes=0.35)
    assert listed(answers(yes=0.98, sand=0.009, no=0.004)) == answers(yes=0.98, no=0.004)
    assert listed(answers(yes=0.5, dog=0.3, no=0.1, sand=0.001)) == answers(yes=0.5, dog=0.3, no=0.1)
    assert listed(answers(dog=0.5, sand=0.001)) == answers(dog=0.5, sand=0.001)
    assert listed(()) == ()


def test_every_predictor_lists_by_this_rule(tiny_predictor, encoded):
    model = tiny_predictor.model
    model.head[-1].bias.data[model.answers.index("yes")] += 50
    told = tiny_predictor.answer(encoded, "what color is the square?", top=100)
    assert [answer.text for answer in told.answers] == ["yes", "no"]
    among = tiny_predictor.what_if(encoded, "what color?", candidates=["red", "yes"])
    assert len(among.answers) == 2  # who names the answers sees them all
    exported = ExportedModel({}, {"answers": ["yes", "sand", "no"], "temperature": 1.0}, None, np.zeros(1))
    found = likeliest(exported, np.array([9.0, 1.0, 2.0], dtype=np.float32), 3)
    assert [answer.text for answer in found] == ["yes", "no"]


def test_a_guess_is_where_neither_leading_answer_moves_without_the_photo():
    def guessed(with_photo, without):
        return Prediction("?", answers(**with_photo), answers(**without), 0.5).guessed_from_question

    assert guessed({"yes": 0.56}, {"yes": 0.54})
    assert guessed({"during the day": 0.188, "daytime": 0.18}, {"daytime": 0.19, "during the day": 0.188})
    assert not guessed({"no": 0.47, "yes": 0.46}, {"yes": 0.52, "no": 0.45})  # by six points
    assert not guessed({"yes": 0.56}, {"no": 0.54})
    assert not guessed({"cat": 0.94}, {"cat": 0.17})
    assert not guessed({"yes": 0.56}, {})
