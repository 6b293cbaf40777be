"""Suggested questions name what is surely on the photo, and nothing that is in doubt."""

import pytest

from demo.visit.asking import GENERAL_QUESTIONS
from demo.visit.mentions import mentions_of
from demo.visit.nouns import NOUNS
from demo.visit.suggestions import KINDS, SURE, TOO_WIDE, named_concepts, questions_for


def test_four_questions_name_the_surest_things_first():
    concepts = (("object", 0.99), ("dog", 0.95), ("couch", 0.9), ("cat", 0.85), ("lamp", 0.8), ("pillow", 0.75))
    assert questions_for(concepts) == (
        "What is the dog doing?",
        "What color is the couch?",
        "What color is the lamp?",
        "What color is the dog?",
    )
    assert [word for word, _ in named_concepts(concepts)] == ["dog", "couch", "lamp"]  # one animal, two things


@pytest.mark.parametrize("concepts", [(), (("dog", SURE - 0.01),), (("object", 0.99), ("animal", 0.99), ("good", 0.9))])
def test_what_is_in_doubt_is_not_named(concepts):
    assert questions_for(concepts) == GENERAL_QUESTIONS and named_concepts(concepts) == []


def test_every_question_that_can_be_made_names_its_thing():
    for kind in KINDS:
        for word in set(kind.split()) - set(TOO_WIDE):
            ((named, questions),) = named_concepts(((word, 0.9),))
            assert named == word and word in NOUNS
            offered = questions_for(((word, 0.9),))
            assert len(set(offered)) == 4 and set(questions) <= set(offered)
            for question in questions:
                assert [mention.noun for mention in mentions_of(question)][:1] in ([word], ["wall"], [])
