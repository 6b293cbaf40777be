"""demo/callbacks.py and app.py: one encoding per photo, clear messages, nothing stale, examples that exist."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_predictor import FakePredictor
from PIL import Image

from demo import callbacks
from demo.figures import WHOLE_QUESTION
from valm_core.outputs import InputError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def photo(tmp_path) -> str:
    path = tmp_path / "photo.png"
    Image.new("RGB", (64, 48), (200, 30, 30)).save(path)
    return str(path)


def test_a_second_question_reuses_the_encoding(photo):
    predictor = FakePredictor()
    first = callbacks.ask(predictor, photo, None, "What color is the bus?")
    second = callbacks.ask(predictor, photo, first.photo, "Is it day or night?")
    assert second.photo is first.photo
    assert predictor.calls["encode"] == 1 and predictor.calls["answer"] == 2
    assert second.evidence.answer == second.prediction.answers[0].text


def test_the_same_photo_under_another_path_is_the_same_photo(photo, tmp_path):
    predictor = FakePredictor()
    opened = callbacks.open_photo(predictor, photo, None)
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(photo).read_bytes())
    assert callbacks.open_photo(predictor, str(copy), opened) is opened


def test_another_photo_never_gets_the_old_encoding(photo, tmp_path):
    predictor = FakePredictor()
    opened = callbacks.open_photo(predictor, photo, None)
    other = tmp_path / "photo2.png"
    Image.new("RGB", (64, 48), (0, 0, 250)).save(other)
    reply = callbacks.ask(predictor, str(other), opened, "What color is it?")
    assert reply.photo.digest != opened.digest
    assert predictor.calls["encode"] == 2
    assert reply.photo.picture.getpixel((3, 3)) == (0, 0, 250)


@pytest.mark.parametrize("question", [None, "", "   \n\t "])
def test_an_empty_question_is_told_before_any_work(photo, question):
    predictor = FakePredictor()
    with pytest.raises(InputError, match="Type a question"):
        callbacks.ask(predictor, photo, None, question)
    assert predictor.calls["encode"] == 0


def test_no_photo_and_a_lost_photo_are_told(tmp_path):
    with pytest.raises(InputError, match="Add a photo"):
        callbacks.ask(FakePredictor(), None, None, "What is it?")
    with pytest.raises(InputError, match="no longer on the server"):
        callbacks.ask(FakePredictor(), str(tmp_path / "gone.png"), None, "What is it?")


def test_an_unreadable_file_is_told(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8 no photo at all")
    with pytest.raises(InputError, match="can't be read"):
        callbacks.open_photo(FakePredictor(), str(path), None)


def test_a_long_question_gets_the_predictors_own_words(photo):
    with pytest.raises(InputError, match="too long"):
        callbacks.ask(FakePredictor(), photo, None, "why " * 40)


def test_white_space_around_a_question_does_not_matter(photo):
    reply = callbacks.ask(FakePredictor(), photo, None, "  What\n color?  ")
    assert reply.prediction.question == "What color?"


def test_the_words_to_pick_are_the_questions_own(photo):
    reply = callbacks.ask(FakePredictor(), photo, None, "the cat the")
    choices = callbacks.word_choices(reply.explanation)
    assert choices == [("whole question", WHOLE_QUESTION), ("the", 0), ("cat", 1), ("the", 2)]
    assert callbacks.known_word(reply.explanation, 2) == 2
    assert [callbacks.known_word(reply.explanation, word) for word in (3, -1, -2, None)] == [WHOLE_QUESTION] * 4


def test_a_reply_can_be_kept_in_a_gradio_state(photo):
    """gradio hashes what a State holds; a frozen dataclass of arrays would raise there."""
    reply = callbacks.ask(FakePredictor(), photo, None, "What color?")
    assert hash(reply) != hash(callbacks.ask(FakePredictor(), photo, None, "What color?"))
    assert isinstance(hash(reply.photo), int)


def test_only_input_errors_speak_to_the_person(caplog):
    assert callbacks.message_for(InputError("Too large.")) == "Too large."
    assert "secret" not in callbacks.message_for(RuntimeError("secret path /root"))
    assert "secret" in caplog.text


def test_the_packaged_examples_are_there_small_and_licensed():
    folder = ROOT / "assets" / "examples"
    entries = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    table = (folder / "README.md").read_text(encoding="utf-8")
    assert len(entries) >= 6
    for entry, example in zip(entries, callbacks.read_examples(folder), strict=True):
        assert example.path.stat().st_size < 200_000 and max(Image.open(example.path).size) <= 1024
        assert entry["licence"] in ("CC0", "Public domain") and entry["source"]
        assert len(example.questions) >= 3
        assert entry["file"] in table and entry["source"] in table
    assert {path.name for path in folder.glob("*.jpg")} == {entry["file"] for entry in entries}


def test_a_known_mistake_is_offered_and_labelled(tmp_path, photo):
    entry = {"file": "photo.png", "title": "Red", "questions": ["What color is it?"]}
    entry["known_wrong"] = {"question": "How many buses?", "expected": "none"}
    (tmp_path / "examples.json").write_text(json.dumps([entry]))
    examples = callbacks.read_examples(tmp_path)
    assert examples[0].questions == ("What color is it?", "How many buses?")
    wrong = callbacks.ask(FakePredictor(), photo, None, "how many buses?")
    right = callbacks.ask(FakePredictor(), photo, None, "What color is it?")
    assert callbacks.right_answer(examples, wrong) == "none"
    assert callbacks.right_answer(examples, right) is None
    assert callbacks.read_examples(tmp_path / "nowhere") == ()


def test_a_missing_checkpoint_is_one_line_and_exit_code_1(tmp_path):
    environment = {**os.environ, "VALM_CHECKPOINT": str(tmp_path / "nothing")}
    done = subprocess.run(
        [sys.executable, ROOT / "app.py"], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "VALM_CHECKPOINT" in done.stderr
