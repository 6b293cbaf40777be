"""Hostile photos, texts and folders where photos are described, found and judged; what a model writes is text alone."""

import numpy as np
import pytest
from hostile.doors import faults_of, through, write
from hostile.photos import PICTURE, black_png, corpus, saved
from hostile.questions import HOSTILE_QUESTIONS, INJECTIONS, MARKER
from hostile.task_doors import describe_door, find_photo_door, find_words_door, more_door

from demo.finding.collection import Collection, Search
from demo.finding.results import found_html
from demo.more.models import MoreModels
from demo.page.more import MorePage
from demo.rendering.answers import result_html
from demo.rendering.description import description_html
from valm_core.captions.describing import DescribedWord, Description
from valm_core.outputs import Answer, Prediction
from valm_core.retrieval.index import Found

TAGS = ("<script", "<img src=x", "<iframe", "<b id=", "<style>", "<a href", "<svg/onload", "<details open")


@pytest.fixture
def collection(tiny_finder, tmp_path):
    """A collection of one right photo."""
    (tmp_path / "photos").mkdir()
    write(tmp_path / "photos", "right.png", saved(PICTURE, "PNG"))
    found = Collection(tmp_path / "photos", tiny_finder, tmp_path / "index")
    found.update()
    return found


@pytest.fixture
def feeling(tiny_feeling):
    """The page More with a tiny model that feels."""
    return MorePage(MoreModels({"feel": tiny_feeling}))


def test_every_photo_is_described_found_and_judged_or_refused_clearly(tiny_captioner, collection, feeling, tmp_path):
    doors = {
        "describe": (describe_door(tiny_captioner), "described-sentence"),
        "find": (find_photo_door(collection), "found-photos"),
        "feel": (more_door(feeling, "feel"), "more-title"),
    }
    faults, answered = [], 0
    for photo in corpus()[::10]:  # `make soak` sends all of them
        path = write(tmp_path, photo.name[-80:], photo.content)
        for name, (door, shown) in doors.items():
            passage = through(door, path, "red?")
            answered += shown in passage.shown
            if photo.opened is not None and (shown in passage.shown) != photo.opened:
                faults.append(f"{name}, {photo.name}: {passage.shown[:100]}")
            faults += [f"{name}, {photo.name}: {fault}" for fault in faults_of(passage)]
    assert faults == [] and answered


def test_every_text_finds_something_or_is_refused_clearly(collection, feeling, tmp_path):
    photo = write(tmp_path, "photo.png", black_png(8, 8))
    faults = []
    for door in (find_words_door(collection), more_door(feeling, "feel")):
        for question in HOSTILE_QUESTIONS:
            passage = through(door, photo, question)
            faults += [f"{question[:40]!r}: {fault}" for fault in faults_of(passage)]
            if any(tag in passage.shown for tag in TAGS):
                faults.append(f"{question[:40]!r} became HTML")
    assert faults == []


def test_a_folder_of_hostile_files_is_indexed_around_them(tiny_finder, tmp_path):
    (tmp_path / "photos").mkdir()
    sent = corpus()[::10]
    for number, photo in enumerate(sent):
        write(tmp_path / "photos", f"{number}-{photo.name[-60:]}.png", photo.content)
    collection = Collection(tmp_path / "photos", tiny_finder, tmp_path / "index")
    collection.update()
    told = collection.progress
    assert told.fault == "" and told.photos + told.unreadable == len(sent)
    assert told.photos >= sum(photo.opened is True for photo in sent) > 0
    assert told.unreadable >= sum(photo.opened is False for photo in sent) > 0


def test_what_a_model_read_in_a_photo_is_shown_as_text():
    """A model that reads a photo repeats what stands there: the answer, a caption and a file's name are never HTML."""
    for written in INJECTIONS:
        word = DescribedWord(written, 0.5, 0.0, "cannot tell")
        description = Description(written, (word,), np.full((1, 2, 2), 0.25, np.float32))
        answers = (Answer(written, 0.6), Answer("no", 0.2))
        pieces = (
            description_html(PICTURE, description),
            result_html(Prediction("what does the sign say?", answers, answers, None)),
            found_html(Search((Found(written, 1.0),)), [None], 0),
        )
        for piece in pieces:
            assert MARKER in piece and not any(tag in piece for tag in TAGS)
