"""The form's plain functions: when it is there, what it refuses, what it says."""

import logging
import re
import time

import pytest
from fake_predictor import FakePredictor
from PIL import Image
from toy_data import age_corrections

from demo import callbacks, feedback
from demo.languages import speaking
from valm_core.corrections import OTHER_REASON, REASONS, CorrectionsError, Receipt, add_correction, read_corrections
from valm_core.outputs import InputError

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def settings(tmp_path) -> feedback.Settings:
    return feedback.read_settings({"VALM_FEEDBACK": str(tmp_path / "corrections.db")})


@pytest.fixture
def reply(tmp_path) -> callbacks.Reply:
    Image.new("RGB", (80, 60), "red").save(tmp_path / "red.png")
    return callbacks.ask(FakePredictor(), str(tmp_path / "red.png"), None, "what color is it?")


def test_the_form_is_off_unless_a_database_is_named():
    assert feedback.read_settings({}) is None
    assert feedback.start({"SPACE_ID": "me/valm"}) is None


def test_on_a_space_it_needs_attached_storage_or_a_dataset(tmp_path, monkeypatch, caplog):
    space = {"SPACE_ID": "me/valm", "VALM_FEEDBACK": str(tmp_path / "storage" / "corrections.db")}
    assert feedback.start(space) is None and "lost when this Space restarts" in caplog.text
    monkeypatch.setattr(feedback, "SPACE_STORAGE", tmp_path / "storage")
    assert feedback.start(space) is None  # a folder of that name is no storage
    monkeypatch.setattr(feedback.os.path, "ismount", lambda path: path == tmp_path / "storage")
    settings = feedback.read_settings(space)
    assert settings.repo == "" and "Community tab of the Space me/valm" in feedback.terms_html(settings)
    with pytest.raises(ValueError, match="Attach storage"):
        feedback.read_settings(space | {"VALM_FEEDBACK": str(tmp_path / "elsewhere.db")})
    monkeypatch.undo()
    repo = feedback.read_settings(space | {"VALM_FEEDBACK_REPO": "me/corrections"})
    assert "private dataset me/corrections" in feedback.terms_html(repo)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"VALM_FEEDBACK_MB": "lots"}, "VALM_FEEDBACK_MB is 'lots'"),
        ({"VALM_FEEDBACK_DAYS": "0"}, "VALM_FEEDBACK_DAYS is '0'"),
        ({"VALM_FEEDBACK": "", "VALM_FEEDBACK_REPO": "me/corrections"}, "but not VALM_FEEDBACK"),
    ],
)
def test_a_wrong_setting_turns_the_form_off_and_is_told_in_the_log(tmp_path, caplog, wrong, message):
    assert feedback.start({"VALM_FEEDBACK": str(tmp_path / "corrections.db")} | wrong) is None
    assert message in caplog.text


def test_a_hub_that_refuses_turns_the_form_off_and_the_page_starts(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError("no token")

    monkeypatch.setattr("valm_core.corrections_repo.CorrectionsUpload", refuse)
    named = {"VALM_FEEDBACK": str(tmp_path / "corrections.db"), "VALM_FEEDBACK_REPO": "me/corrections"}
    assert feedback.start(named) is None and "no token" in caplog.text


def test_a_correction_keeps_what_was_asked_answered_and_typed(settings, reply):
    before = time.time()
    receipt, times = feedback.store(settings, reply, " scarlet ", True, (before - 2 * feedback.HOUR,))
    stored = next(read_corrections(settings.database))
    assert (stored.question, stored.model_answer) == ("what color is it?", reply.prediction.answers[0].text)
    assert stored.right_answer == "scarlet" and stored.photo == receipt.photo
    assert len(times) == 1 and times[0] >= before  # the one of two hours ago no longer counts


def test_nothing_is_kept_without_consent_question_or_beyond_the_hourly_number(settings, reply):
    with pytest.raises(InputError, match="tick the box"):
        feedback.store(settings, reply, "scarlet", False, ())
    with pytest.raises(InputError, match="no longer on the server"):
        feedback.store(settings, None, "scarlet", True, ())
    with pytest.raises(InputError, match="20 corrections within an hour"):
        feedback.store(settings, reply, "scarlet", True, (time.time(),) * feedback.MOST_AN_HOUR)
    assert not settings.database.exists()


def test_a_failure_names_the_reason_and_no_path(caplog):
    error = CorrectionsError("The database /srv/secret.db can't be used", "the disk is full")
    message = feedback.failure(error)
    assert "the disk is full. What you typed is still in the form" in message and "/srv" not in message
    assert "/srv/secret.db" in caplog.text
    with caplog.at_level(logging.CRITICAL):
        assert feedback.failure(KeyError("x")) == callbacks.OUR_FAULT


def test_what_is_too_old_is_deleted_and_trouble_only_logged(settings, caplog):
    feedback.delete_old(settings)  # nothing is there yet
    add_correction(settings.database, Image.new("RGB", (9, 9)), "what?", "cat", "dog", True)
    feedback.delete_old(settings)
    assert len(list(read_corrections(settings.database))) == 1
    age_corrections(settings.database, 366)
    feedback.delete_old(settings)
    assert list(read_corrections(settings.database)) == []
    settings.database.write_text("no database at all, " * 99)
    feedback.delete_old(settings)
    assert "Old corrections were not deleted" in caplog.text


def test_it_is_said_in_chinese_too(settings):
    reasons = [reason for _, reason, _ in REASONS] + [OTHER_REASON[0], "the store of corrections is full"]
    with speaking("zh"):
        told = [feedback.failure(CorrectionsError("", reason)) for reason in reasons]
        told += [feedback.terms_html(settings), feedback.thanks_html(Receipt("a" * 64, True), "", "")]
        told += [feedback.about_html("", "")]
    for text in told:
        assert "您" in text or "模型回答" in text
        assert not re.search("[a-z]{4} ", re.sub("<[^>]*>", "", text)), text  # no English words


def test_nothing_that_people_write_is_html():
    page = feedback.about_html(HOSTILE, HOSTILE) + feedback.thanks_html(Receipt("a" * 64, True), HOSTILE, HOSTILE)
    page += feedback.terms_html(feedback.read_settings({"VALM_FEEDBACK": "x.db", "VALM_FEEDBACK_CONTACT": HOSTILE}))
    assert "<img" not in page and page.count("&lt;img") == 5
