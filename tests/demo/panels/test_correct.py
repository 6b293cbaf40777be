"""The form's plain functions: when it is there, what it refuses, what it says."""

import dataclasses
import logging
import time
from pathlib import Path

import pytest
from fake_predictor import FakePredictor
from PIL import Image
from toy_data import age_corrections

from demo.panels import correct
from demo.settings import Settings
from demo.visit import asking
from valm_core.corrections.database import CorrectionsError, Receipt, add_correction, read_corrections
from valm_core.outputs import InputError

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(feedback=str(tmp_path / "corrections.db"))


@pytest.fixture
def reply(tmp_path) -> asking.Reply:
    Image.new("RGB", (80, 60), "red").save(tmp_path / "red.png")
    return asking.ask(FakePredictor(), str(tmp_path / "red.png"), None, "what color is it?")


def test_the_form_is_off_unless_a_database_is_named():
    assert correct.start(Settings()) is None
    assert correct.start(Settings(space="me/valm")) is None


def test_on_a_space_it_needs_attached_storage_or_a_dataset(tmp_path, monkeypatch, caplog):
    space = Settings(space="me/valm", feedback=str(tmp_path / "storage" / "corrections.db"))
    assert correct.start(space) is None and "lost when this Space restarts" in caplog.text
    monkeypatch.setattr(correct, "SPACE_STORAGE", tmp_path / "storage")
    assert correct.start(space) is None  # a folder of that name is no storage
    monkeypatch.setattr(correct.os.path, "ismount", lambda path: path == tmp_path / "storage")
    settings = correct.start(space)
    assert settings == space and "Community tab of the Space me/valm" in correct.terms_html(settings)
    caplog.clear()
    assert correct.start(dataclasses.replace(space, feedback=str(tmp_path / "elsewhere.db"))) is None
    assert "Attach storage" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr("valm_core.corrections.hub_dataset.CorrectionsUpload", lambda *_: None)
    repo = correct.start(dataclasses.replace(space, feedback_repo="me/corrections"))
    assert "private dataset me/corrections" in correct.terms_html(repo)


def test_a_hub_that_refuses_turns_the_form_off_and_the_page_starts(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError("no token")

    monkeypatch.setattr("valm_core.corrections.hub_dataset.CorrectionsUpload", refuse)
    named = Settings(feedback=str(tmp_path / "corrections.db"), feedback_repo="me/corrections")
    assert correct.start(named) is None and "no token" in caplog.text


def test_a_correction_keeps_what_was_asked_answered_and_typed(settings, reply):
    before = time.time()
    receipt, times = correct.store(settings, reply, " scarlet ", True, (before - 2 * correct.HOUR,))
    stored = next(read_corrections(settings.feedback))
    assert (stored.question, stored.model_answer) == ("what color is it?", reply.prediction.answers[0].text)
    assert stored.right_answer == "scarlet" and stored.photo == receipt.photo
    assert len(times) == 1 and times[0] >= before  # the one of two hours ago no longer counts


def test_nothing_is_kept_without_consent_question_or_beyond_the_hourly_number(settings, reply):
    with pytest.raises(InputError, match="tick the box"):
        correct.store(settings, reply, "scarlet", False, ())
    with pytest.raises(InputError, match="no longer on the server"):
        correct.store(settings, None, "scarlet", True, ())
    with pytest.raises(InputError, match="20 corrections within an hour"):
        correct.store(settings, reply, "scarlet", True, (time.time(),) * correct.MAX_AN_HOUR)
    assert not Path(settings.feedback).exists()


def test_a_failure_names_the_reason_and_no_path(caplog):
    error = CorrectionsError("The database /srv/secret.db can't be used", "the disk is full")
    message = correct.failure(error)
    assert "the disk is full. What you typed is still in the form" in message and "/srv" not in message
    assert "/srv/secret.db" in caplog.text
    with caplog.at_level(logging.CRITICAL):
        assert correct.failure(KeyError("x")) == asking.OUR_FAULT


def test_what_is_too_old_is_deleted_and_trouble_only_logged(settings, caplog):
    correct.delete_old(settings)  # nothing is there yet
    add_correction(settings.feedback, Image.new("RGB", (9, 9)), "what?", "cat", "dog", True)
    correct.delete_old(settings)
    assert len(list(read_corrections(settings.feedback))) == 1
    age_corrections(settings.feedback, 366)
    correct.delete_old(settings)
    assert list(read_corrections(settings.feedback)) == []
    Path(settings.feedback).write_text("no database at all, " * 99)
    correct.delete_old(settings)
    assert "Old corrections were not deleted" in caplog.text


def test_nothing_that_people_write_is_html():
    page = correct.about_html(HOSTILE, HOSTILE) + correct.thanks_html(Receipt("a" * 64, True), HOSTILE, HOSTILE)
    page += correct.terms_html(Settings(feedback="x.db", feedback_contact=HOSTILE))
    assert "<img" not in page and page.count("&lt;img") == 5
