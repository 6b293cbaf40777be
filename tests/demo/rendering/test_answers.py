"""What stands beside the answers is true of them, and no text becomes HTML."""

from pathlib import Path

import pytest
from fake_predictor import bump
from PIL import Image
from planted_maps import explanation_with

from demo.downloads import files
from demo.rendering import theme
from demo.rendering.answers import announcement_text, is_doubted, record_html, result_html
from demo.rendering.evidence import evidence_html, gate_html
from demo.rendering.map import colour_bar_html, map_html, served_html
from demo.rendering.overlay import Look
from demo.rendering.words import subject_html, words_html
from valm_core.outputs import Answer, Prediction, TrackRecord

HOSTILE = "<img src=x onerror=alert(1)>"


def test_nothing_that_was_typed_or_answered_becomes_html():
    prediction = Prediction(HOSTILE, (Answer(HOSTILE, 0.6),), (Answer(HOSTILE, 0.5),), 0.5)
    explanation = explanation_with(bump((2, 2))[None], (HOSTILE,))
    for html in (
        result_html(prediction, HOSTILE),
        colour_bar_html(explanation, (0,), Look()),
        words_html(explanation, (0,)),
        served_html(explanation, (0,), "text_to_image"),
        subject_html(HOSTILE, explanation, "text_to_image", None, None),
        map_html(Image.new("RGB", (8, 8)), explanation, (0,), (), Look()).replace('<img src="data:', ""),
    ):
        assert "<img" not in html
        assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_the_result_says_what_the_question_alone_suggests():
    same = Prediction("?", (Answer("yes", 0.6),), (Answer("yes", 0.4),), 0.62)
    other = Prediction("?", (Answer("bus", 0.6),), (Answer("yes", 0.4),), 0.62)
    assert "the same answer" in result_html(same)
    assert "changed the answer" in result_html(other)
    assert "question 62 %" in gate_html(0.62) and "photo 38 %" in gate_html(0.62)
    assert "gets this one wrong" not in result_html(same)
    assert "gets this one wrong" in result_html(same, "no")


def test_a_track_record_says_how_many_were_right_and_when_the_model_does_not_know():
    record = TrackRecord(0.2, 0.3, 812, 0.27, "other")
    html = record_html(record)
    assert "812 validation questions answered with a word" in html and "(20 to 30 %), 27 % were right" in html
    assert "does not know" in html
    assert "does not know" not in record_html(TrackRecord(0.6, 0.7, 300, 0.62, "other"))
    assert "answered with yes or no this surely" in record_html(TrackRecord(0.6, 0.7, 300, 0.62, "yes/no"))
    assert record_html(None) == ""


def prediction_of(question="Is it a bus?", with_photo=0.6, without=0.3, unfamiliar=()):
    answers, blind = (Answer("yes", with_photo), Answer("no", 0.1)), (Answer("yes", without),)
    return Prediction(question, answers, blind, 0.5, unfamiliar=unfamiliar)


@pytest.mark.parametrize(
    "prediction",
    [
        prediction_of("Was ist das für ein Tier?"),
        prediction_of(unfamiliar=("photo",)),
        prediction_of(unfamiliar=("question",)),
    ],
)
def test_under_a_warning_no_share_of_right_answers_is_told_and_no_answer_is_bold(prediction):
    record = TrackRecord(0.5, 0.6, 300, 0.62, "yes/no")
    html = result_html(prediction, None, record)
    assert (
        "were right" not in html and html.startswith('<div class="doubted">') and 'class="known-mistake doubt"' in html
    )
    sheet = (Path(theme.__file__).parent / "style.css").read_text(encoding="utf-8")
    assert ".doubted .answers li:first-child, .doubted dd strong { font-weight: inherit; }" in sheet
    rule = ".doubted .answers li:first-child, .doubted .blind strong, .doubted dd strong { font-weight: inherit; }"
    assert rule in files.STYLE
    assert 'class="evidence doubted"' in evidence_html(None, 0.5, is_doubted(prediction))
    assert "It may be meaningless" in announcement_text(prediction)
    plain = result_html(prediction_of(), None, record)
    assert "62 % were right" in plain and "doubt" not in plain


def test_a_guess_from_the_question_alone_leads():
    html = result_html(prediction_of(with_photo=0.6, without=0.58))
    assert html.startswith('<p class="guess"><strong>A guess from the question alone.</strong>')
    assert "A guess from the question alone." in announcement_text(prediction_of(without=0.58))
    assert "guess" not in result_html(prediction_of(with_photo=0.6, without=0.3))
    assert announcement_text(prediction_of()) == "Answer to “Is it a bus?”: yes, 60%."
