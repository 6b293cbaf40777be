"""The sentence that leads says what was measured, and the table in the docs has every one of them."""

import dataclasses

import pytest
from fake_predictor import FakePredictor

from demo.languages.translate import speaking
from demo.rendering.evidence import verdict_words
from demo.rendering.sentences import (
    SENTENCES,
    TABLE,
    answer_name,
    photo_sentence,
    place_sentence,
    right_sentence,
    sentence_html,
    sentences_table,
    word_sentence,
)
from valm_core.evidence.rules import HIDDEN_SHARES
from valm_core.outputs import Answer, Prediction, TrackRecord, WordEvidence

EVIDENCE = FakePredictor().evidence(None, "?", answer="surfing")
EXPLANATION = FakePredictor().explain(None, "Is he surfing?")


def prediction_of(with_photo=0.6, without=0.3, blind="surfing"):
    return Prediction("What is he doing?", (Answer("surfing", with_photo),), (Answer(blind, without),), 0.5)


def record_of(share):
    return TrackRecord(0.4, 0.5, 100, share, "other")


@pytest.mark.parametrize(
    ("share", "name"),
    [
        (1, "very likely"),
        (0.85, "very likely"),
        (0.84, "probably"),
        (0.55, "probably"),
        (0.54, "perhaps"),  # right about half the time is no "probably"
        (0.3, "perhaps"),
        (0.1, "unknown"),
    ],
)
def test_the_more_often_it_is_right_the_surer_it_sounds(share, name):
    assert answer_name(share) == name


@pytest.mark.parametrize(
    ("share", "part"),
    [
        (0.97, "nearly always right"),
        (0.94, "about 9 of 10"),
        (0.5, "half the time"),
        (0.44, "about 4 of 10"),
        (0.06, "about 1 of 10"),
        (0.04, "hardly ever"),
    ],
)
def test_how_often_it_is_right_is_the_track_record(share, part):
    assert part in right_sentence(record_of(share))


def test_without_a_record_or_under_a_warning_no_share_of_right_answers_is_claimed():
    assert "not measured" in right_sentence(None)
    assert "It says surfing." in sentence_html(prediction_of(0.93), None, EVIDENCE)  # seen too seldom to be "likely"
    html = sentence_html(prediction_of(), record_of(0.97), EVIDENCE, doubted=True)
    assert "not measured" in html and "It says surfing." in html


def test_what_the_photo_did_follows_the_blind_answer():
    assert photo_sentence(prediction_of(blind="cat")) == "The photo decided it."
    assert "less surely" in photo_sentence(prediction_of(0.6, 0.3))
    assert "more surely" in photo_sentence(prediction_of(0.3, 0.6))
    assert "guessed" in photo_sentence(prediction_of(0.6, 0.58))
    assert photo_sentence(dataclasses.replace(prediction_of(), blind_answers=())) == ""


@pytest.mark.parametrize("verdict", ["matters", "matters a little", "no difference", "cannot tell"])
def test_each_verdict_has_its_sentence_and_names_another_answer_that_is_explained(verdict):
    evidence = dataclasses.replace(EVIDENCE, verdict=verdict)
    assert place_sentence(evidence, "surfing") == SENTENCES[verdict].text
    assert place_sentence(evidence, "cat") == f"For “surfing”: {SENTENCES[verdict].text}"


def test_what_is_called_a_guess_is_not_said_to_rest_on_where_it_looked():
    guess = prediction_of(0.11, 0.13)
    said = sentence_html(guess, record_of(0.12), dataclasses.replace(EVIDENCE, verdict="matters"))
    assert "hardly mattered" in said and "Where it looked mattered" not in said and "less sure" in said
    assert "Where it looked mattered" in sentence_html(
        prediction_of(), None, dataclasses.replace(EVIDENCE, verdict="matters")
    )


@pytest.mark.parametrize("name", ["cannot tell", "word cannot tell"])
def test_that_the_answer_stays_is_said_of_what_was_hidden_alone(name):
    """The sentence before may say that the photo decided the answer: with all of it hidden there is another."""
    assert max(HIDDEN_SHARES) == 0.9
    assert "nine tenths of the photo" in SENTENCES[name].text and "whatever" not in SENTENCES[name].text


@pytest.mark.parametrize("name", ["no difference", "word no difference"])
def test_hiding_that_moves_the_answer_as_chance_does_is_not_said_to_have_made_no_difference(name):
    """That verdict is given to answers that do fall once their places are hidden, from 80 to 20 % for example."""
    assert "no difference" not in SENTENCES[name].text and "chance" in SENTENCES[name].text


def test_a_control_is_never_said_to_be_where_the_model_looked():
    for verdict in ("matters", "no difference", "cannot tell"):
        evidence = dataclasses.replace(EVIDENCE, verdict=verdict, method="random")
        assert place_sentence(evidence, "surfing") == SENTENCES["control"].text
    assert "it looked" not in verdict_words(dataclasses.replace(EVIDENCE, verdict="matters", method="center"))
    explanation = dataclasses.replace(EXPLANATION, method="center")
    assert word_sentence(explanation, WordEvidence(0, False, None, EVIDENCE)) == SENTENCES["control"].text


def test_every_part_links_to_its_evidence_and_nothing_becomes_html():
    evidence = dataclasses.replace(EVIDENCE, verdict="matters", answer="<b>")
    html = sentence_html(dataclasses.replace(prediction_of(), answers=(Answer("<i>", 0.6),)), record_of(0.5), evidence)
    assert "<i>" not in html and "<b>" not in html
    assert [place for place in ("how-sure", "photo-needed", "place-mattered") if f'href="#{place}"' in html] == [
        "how-sure",
        "photo-needed",
        "place-mattered",
    ]
    with speaking("zh"):
        assert "一半时候是对的" in sentence_html(prediction_of(), record_of(0.5), evidence)


def test_the_docs_have_every_sentence_in_both_languages():
    assert TABLE.read_text(encoding="utf-8") == sentences_table()
    assert all(sentence.text in sentences_table() for sentence in SENTENCES.values())
