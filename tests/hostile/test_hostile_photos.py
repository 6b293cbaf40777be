"""The hostile corpus through the predictor and the page's handler: an answer or a clear message, in time and memory."""

import os

import pytest
from hostile.doors import OUR_FAULT, faults_of, through, write
from hostile.photos import black_png, corpus, hostile_photos, many_scans
from hostile.questions import HOSTILE_QUESTIONS, INJECTIONS, LONG, MARKER, ODD
from PIL import ImageFile

from demo.rendering.answers import result_html
from demo.rendering.map import map_html, served_html
from demo.rendering.overlay import Look
from demo.rendering.wording import notice_html
from demo.rendering.words import subject_html, words_html
from demo.visit import asking
from valm_core.outputs import InputError

QUESTION = "what color is the square?"


def predictor_door(predictor):
    """The predictor as a program uses it."""

    def door(photo, question):
        try:
            return predictor.answer(predictor.encode(photo), question).answers[0].text
        except InputError as error:
            return str(error)

    return door


def page_door(predictor):
    """The page's handler, and the HTML that it shows."""

    def door(photo, question):
        outcome = asking.answer(predictor, str(photo), None, question)
        if outcome.reply is None:
            return notice_html(outcome.message)
        return result_html(outcome.reply.prediction)

    return door


DOORS = {"predictor": predictor_door, "page": page_door}


def test_the_corpus_is_large_and_always_the_same():
    first, second = corpus(), tuple(hostile_photos())
    assert len(first) >= 300 and len({photo.name for photo in first}) == len(first)
    assert [photo.content for photo in first] == [photo.content for photo in second]


@pytest.mark.parametrize("name", DOORS)
def test_every_photo_is_answered_or_refused_clearly(name, tiny_predictor, tmp_path):
    door, faults = DOORS[name](tiny_predictor), []
    # `make soak` sends all of them through the page; after the photo is open, it does the same for each.
    for photo in corpus()[:: 1 if name == "predictor" else 6]:
        passage = through(door, write(tmp_path, photo.name[-80:], photo.content), QUESTION)
        answered = passage.shown in tiny_predictor.model.answers or "answer-text" in passage.shown
        if photo.opened is not None and answered != photo.opened:
            faults.append(f"{photo.name}: {'opened' if answered else passage.shown}")
        faults += [f"{photo.name}: {fault}" for fault in faults_of(passage)]
    assert faults == []


@pytest.mark.parametrize("name", DOORS)
def test_every_question_is_answered_or_refused_clearly(name, tiny_predictor, tmp_path):
    photo = write(tmp_path, "photo.png", black_png(8, 8))
    door, faults = DOORS[name](tiny_predictor), []
    for question in HOSTILE_QUESTIONS:
        passage = through(door, photo, question)
        assert len(passage.shown) < 10_000, "a long question comes back whole"
        # Questions talk of files and errors themselves; what counts is that none is unforeseen.
        faults += [f"{question[:40]!r}: {fault}" for fault in faults_of(passage)]
    assert faults == []


def test_no_question_becomes_html_anywhere_on_the_page(tiny_predictor, tmp_path):
    photo = write(tmp_path, "photo.png", black_png(8, 8))
    shown = 0
    for question in INJECTIONS:
        reply = asking.answer(tiny_predictor, str(photo), None, question).reply
        if reply is None:
            continue
        part = reply.explanation
        pieces = (
            result_html(reply.prediction, question),
            words_html(part, (0,)),
            map_html(reply.photo.picture, part, (0,), (0,), Look()),
            served_html(part, (0,), "text_to_image"),
            subject_html(question, part, "text_to_image", None, None),
            notice_html(question),
        )
        for piece in pieces:
            shown += MARKER in piece
            assert not any(tag in piece for tag in ("<script", "<img src=x", "<iframe", "<b id=", "<style>", "<a href"))
    assert shown > len(INJECTIONS)


def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded(tiny_predictor, tmp_path, monkeypatch):
    photo = write(tmp_path, "scans.jpg", many_scans(8000, 8000, 50_000))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("It is decoded."))
    assert "JPEG scans" in predictor_door(tiny_predictor)(photo, QUESTION)


def test_a_photo_within_the_limits_keeps_memory_bounded(tiny_predictor, tmp_path):
    photo = write(tmp_path, "large.png", black_png(6399, 2000, 16, 0))  # 12.8 million pixels of 16 bits
    passage = through(predictor_door(tiny_predictor), photo, QUESTION)
    assert passage.shown in tiny_predictor.model.answers and passage.megabytes < 450


def test_a_symbolic_link_is_only_a_name(tiny_predictor, tmp_path):
    (tmp_path / "secret.txt").write_text("root:x:0:0")
    os.symlink(tmp_path / "secret.txt", tmp_path / "photo.jpg")
    os.symlink(tmp_path / "nothing", tmp_path / "gone.jpg")
    os.symlink(tmp_path, tmp_path / "folder.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    door = predictor_door(tiny_predictor)
    assert "can't be read as a photo" in door(tmp_path / "photo.jpg", QUESTION)
    for name in ("gone.jpg", "folder.jpg", "pipe.jpg"):
        assert "There is no file" in door(tmp_path / name, QUESTION)


def test_an_unforeseen_error_shows_nothing_of_the_inside(tiny_predictor, tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret/path.py line 3")

    monkeypatch.setattr(tiny_predictor, "encode", broken)
    shown = page_door(tiny_predictor)(write(tmp_path, "photo.png", black_png(8, 8)), QUESTION)
    assert OUR_FAULT in shown and "secret" not in shown and "secret" in caplog.text


def test_the_corpus_of_questions_holds_what_it_should():
    assert any(len(question) >= 2**20 for question in LONG) and len(INJECTIONS) > 20 and len(ODD) > 20
