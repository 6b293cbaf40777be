"""demo/visit/asking.py and app.py: one encoding per photo, clear messages, nothing stale, examples that exist."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from fake_predictor import VOCABULARY, FakePredictor
from PIL import Image

from demo.downloads.files import Shown
from demo.page.layout import example_card
from demo.terminal.check_examples import check_examples
from demo.visit import asking
from demo.visit.examples import MODEL_ANSWERS_FILE, is_right, read_examples, right_answer
from demo.visit.map_parts import ALL, all_heads, part_of, place_in
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.outputs import Answer, InputError, Prediction

ROOT = Path(__file__).parents[3]


@pytest.fixture
def photo(tmp_path) -> str:
    path = tmp_path / "photo.png"
    Image.new("RGB", (64, 48), (200, 30, 30)).save(path)
    return str(path)


def test_a_second_question_reuses_the_encoding(photo):
    predictor = FakePredictor()
    first = asking.ask(predictor, photo, None, "What color is the bus?")
    second = asking.ask(predictor, photo, first.photo, "Is it day or night?")
    assert second.photo is first.photo
    assert predictor.calls["encode"] == 1 and predictor.calls["answer"] == 2


def test_the_evidence_comes_after_the_answer_and_belongs_to_one_map(photo, caplog):
    predictor = FakePredictor()
    reply = asking.ask(predictor, photo, None, "What color is the bus?")
    assert reply.awaited and reply.evidence is None and reply.answer == reply.prediction.answers[0].text
    weighed = asking.weigh(predictor, reply)
    assert not weighed.awaited and weighed.evidence.answer == reply.answer
    assert weighed.evidence.method == reply.explanation.method
    put = asking.with_evidence(reply, weighed)
    assert put.evidence is weighed.evidence and not put.awaited and put.explanation is reply.explanation
    assert asking.with_evidence(put, weighed) is put  # it is there already
    again = asking.explain_again(predictor, reply, "random", reply.answer).reply
    assert again.evidence.method == "random" and asking.with_evidence(again, weighed) is again
    other = asking.ask(predictor, photo, reply.photo, "What color is the bus?")
    assert asking.with_evidence(other, weighed) is other
    predictor.evidence = lambda *given: 1 / 0
    failed = asking.weigh(predictor, reply)
    assert failed.evidence is None and not failed.awaited and "ZeroDivisionError" in caplog.text
    predictor.ask = lambda *given, weigh: FakePredictor.ask(predictor, *given)  # as on ZeroGPU
    predictor.evidence = FakePredictor().evidence
    assert asking.ask(predictor, photo, reply.photo, "What color is it?").awaited is False


def test_the_same_photo_under_another_path_is_the_same_photo(photo, tmp_path):
    predictor = FakePredictor()
    opened = asking.open_photo(predictor, photo, None)
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(photo).read_bytes())
    assert asking.open_photo(predictor, str(copy), opened) is opened


def test_another_photo_never_gets_the_old_encoding(photo, tmp_path):
    predictor = FakePredictor()
    opened = asking.open_photo(predictor, photo, None)
    other = tmp_path / "photo2.png"
    Image.new("RGB", (64, 48), (0, 0, 250)).save(other)
    reply = asking.ask(predictor, str(other), opened, "What color is it?")
    assert reply.photo.digest != opened.digest
    assert predictor.calls["encode"] == 2
    assert reply.photo.picture.getpixel((3, 3)) == (0, 0, 250)


@pytest.mark.parametrize("question", [None, "", "   \n\t "])
def test_an_empty_question_is_told_before_any_work(photo, question):
    predictor = FakePredictor()
    with pytest.raises(InputError, match="Type a question"):
        asking.ask(predictor, photo, None, question)
    assert predictor.calls["encode"] == 0


def test_no_photo_and_a_lost_photo_are_told(tmp_path):
    with pytest.raises(InputError, match="Add a photo"):
        asking.ask(FakePredictor(), None, None, "What is it?")
    with pytest.raises(InputError, match=r"deleted after a few hours\. Upload it again"):
        asking.ask(FakePredictor(), str(tmp_path / "gone.png"), None, "What is it?")


def test_an_unreadable_file_is_told(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8 no photo at all")
    with pytest.raises(InputError, match="can't be read"):
        asking.open_photo(FakePredictor(), str(path), None)


def test_a_long_question_gets_the_predictors_own_words(photo):
    with pytest.raises(InputError, match="too long"):
        asking.ask(FakePredictor(), photo, None, "why " * 40)


def test_white_space_around_a_question_does_not_matter(photo):
    reply = asking.ask(FakePredictor(), photo, None, "  What\n color?  ")
    assert reply.prediction.question == "What color?"


def test_picking_replaces_adds_takes_back_and_ignores_what_is_not_there():
    assert asking.select((), [2], False, 5) == (2,)
    assert asking.select((2,), [4], False, 5) == (4,)
    assert asking.select((2,), [2], False, 5) == ()
    assert asking.select((2, 4), [4], False, 5) == (4,)
    assert asking.select((2,), [4, 0], True, 5) == (2, 4, 0)
    assert asking.select((2, 4), [2], True, 5) == (4,)
    assert asking.select((), [-1, 5, 3, 3, "1", 1.0, True, None], False, 5) == (3,)
    assert asking.select((2,), "rubbish", False, 5) == ()
    assert asking.select((0, 1, 2), [4], True, 5, most=3) == (1, 2, 4)


def test_another_answer_or_method_costs_one_explanation_and_its_evidence(photo):
    predictor = FakePredictor()
    reply = asking.ask(predictor, photo, None, "What color is the bus?")
    before = dict(predictor.calls)
    again = asking.explain_again(predictor, reply, "occlusion", "  Green ")
    assert again.asked is reply and again.message == ""
    assert again.reply.answer == "green" and again.reply.explanation.method == "occlusion"
    assert again.reply.prediction is reply.prediction and again.reply.photo is reply.photo
    added = {name: count - before[name] for name, count in predictor.calls.items() if count != before[name]}
    assert added == {"explain": 1, "evidence": 1}
    assert asking.explain_again(predictor, again.reply, "occlusion", "green").reply is again.reply
    assert predictor.calls["explain"] == before["explain"] + 1


def test_an_answer_that_the_model_does_not_know_is_told_with_those_it_knows(tiny_predictor, photo):
    reply = asking.ask(tiny_predictor, photo, None, "what color is the square?")
    again = asking.explain_again(tiny_predictor, reply, "grad_cam", "zebra <b>")
    assert again.reply is None and "“zebra <b>” is not in the model’s list" in again.message
    assert all(f"“{answer.text}”" in again.message for answer in reply.prediction.answers)
    assert asking.explain_again(tiny_predictor, reply, "grad_cam", "  ").message == asking.NO_ANSWER
    known = asking.explain_again(tiny_predictor, reply, "grad_cam", "Yellow")
    assert known.reply.evidence.answer == "yellow" and known.message == ""


def test_a_part_of_an_explanation_is_the_attention_of_that_layer_and_head(tiny_predictor, photo):
    explanation = asking.ask(tiny_predictor, photo, None, "what color is the square?").explanation
    assert part_of(explanation, "text_to_image") is explanation
    part = part_of(explanation, "text_to_image", 1, 0)
    assert np.allclose(part.token_to_patch, explanation.text_to_image[1, 0], atol=1e-6)
    assert np.allclose(part.image_map.ravel(), explanation.token_scores @ explanation.text_to_image[1, 0], atol=1e-6)
    read = part_of(explanation, "image_to_text", None, 1)
    expected = explanation.image_to_text[:, 1].mean(axis=0)  # [N, W]
    assert np.allclose(read.patch_to_token, expected)
    assert np.allclose(read.token_to_patch, (expected / expected.sum(axis=0)).T, atol=1e-6)
    heads = all_heads(explanation, "text_to_image")
    assert [len(layer) for layer in heads] == [2, 2]
    assert np.allclose(heads[0][1].token_to_patch, explanation.text_to_image[0, 1], atol=1e-6)


def test_every_method_can_be_chosen_the_default_first():
    choices = asking.method_choices(FakePredictor())
    names = [name for _, name in choices]
    assert sorted(names) == sorted(EXPLANATION_METHODS) and names[0] == asking.DEFAULT_METHOD
    assert names[-2:] == ["random", "center"] and choices[-1][0].key == "center (control)"


def test_a_reply_can_be_kept_in_a_gradio_state(photo):
    """gradio hashes what a State holds; a frozen dataclass of arrays would raise there."""
    reply = asking.ask(FakePredictor(), photo, None, "What color?")
    assert hash(reply) != hash(asking.ask(FakePredictor(), photo, None, "What color?"))
    assert isinstance(hash(reply.photo), int)


def test_only_input_errors_speak_to_the_person(caplog):
    assert asking.message_for(InputError("Too large.")) == "Too large."
    assert "secret" not in asking.message_for(RuntimeError("secret path /root"))
    assert "secret" in caplog.text


def test_the_packaged_examples_are_there_small_and_licensed():
    folder = ROOT / "assets" / "examples"
    entries = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    table = (folder / "README.md").read_text(encoding="utf-8")
    assert len(entries) >= 6
    for entry, example in zip(entries, read_examples(folder), strict=True):
        assert example.path.stat().st_size < 200_000 and max(Image.open(example.path).size) <= 1024
        assert entry["licence"] in ("CC0", "Public domain") and entry["source"]
        assert len(example.questions) >= 3
        assert entry["file"] in table and entry["source"] in table
    assert {path.name for path in folder.glob("*.jpg")} == {entry["file"] for entry in entries}


def test_picking_nothing_clears_also_while_several_are_picked():
    assert asking.select((2, 4), [], False, 5) == asking.select((2, 4), [], True, 5) == ()


@pytest.mark.parametrize("method", ["random", "center", "occlusion", "attention_rollout"])
def test_a_method_without_heads_shows_its_own_map_whatever_head_was_picked(tiny_predictor, photo, method):
    reply = asking.ask(tiny_predictor, photo, None, "what color is the square?")
    again = asking.explain_again(tiny_predictor, reply, method, reply.answer).reply
    part = part_of(again.explanation, "text_to_image", 1, 0)
    assert part is again.explanation and place_in(again.explanation, 1, 0) == (None, None)
    assert place_in(reply.explanation, 1, ALL) == (1, None)
    shown = Shown(again, asking.Selection(), layer=1, head=0)
    assert shown.part is again.explanation and shown.place.endswith("all layers and heads")


def test_what_the_cards_say_is_what_was_found_out_about_this_model(tmp_path, photo):
    Image.open(photo).save(tmp_path / "photo.png")
    entry = {"file": "photo.png", "title": "Red", "questions": ["What?", "Is it red?"]}
    entry["accepted"] = {"What?": list(VOCABULARY), "Is it red?": ["purple"]}
    (tmp_path / "examples.json").write_text(json.dumps([entry]))
    predictor = FakePredictor()
    fingerprint = predictor.facts["model_fingerprint"]
    assert read_examples(tmp_path, fingerprint)[0].right is None
    report = check_examples(predictor, read_examples(tmp_path))
    assert [reply["right"] for reply in report["examples"]["photo.png"]] == [True, False]
    (tmp_path / MODEL_ANSWERS_FILE).write_text(json.dumps(report))
    examples = read_examples(tmp_path, fingerprint)
    assert examples[0].right == 1
    assert read_examples(tmp_path, "another")[0].right is None
    assert '"key": "Red \\u00b7 the model gets 1 of 2 right"' in example_card(examples[0]).value
    assert '"key": "Red"' in example_card(read_examples(tmp_path, "another")[0]).value
    wrong = asking.ask(predictor, str(tmp_path / "photo.png"), None, "is it red?")
    assert right_answer(examples, wrong) == "purple"
    right = asking.ask(predictor, str(tmp_path / "photo.png"), None, "What?")
    assert right_answer(examples, right) is None
    del entry["accepted"]["What?"]
    (tmp_path / "examples.json").write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match=r"photo.png: “What\?” has no accepted answers"):
        check_examples(predictor, read_examples(tmp_path))


def test_a_known_mistake_is_offered_and_labelled(tmp_path, photo):
    entry = {"file": "photo.png", "title": "Red", "questions": ["What color is it?"]}
    entry["known_wrong"] = {"question": "How many buses?", "expected": "none"}
    (tmp_path / "examples.json").write_text(json.dumps([entry]))
    examples = read_examples(tmp_path)
    assert examples[0].questions == ("What color is it?", "How many buses?")
    wrong = asking.ask(FakePredictor(), photo, None, "how many buses?")
    right = asking.ask(FakePredictor(), photo, None, "What color is it?")
    assert right_answer(examples, wrong) == "none"
    assert right_answer(examples, right) is None
    assert read_examples(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(("text", "right"), [("a tabby cat", True), ("It is a Cat.", True), ("cats and a dog", False)])
def test_a_model_that_writes_freely_is_right_where_it_names_the_answer(text, right):
    prediction = Prediction("what is it?", (Answer(text, 0.5),), (), None, any_language=True)
    assert is_right(prediction, ("cat",)) is right
    assert not is_right(dataclasses.replace(prediction, any_language=False), ("cat",))


def test_what_a_panel_finds_out_is_shown_only_beside_the_answer_it_is_about(photo):
    predictor = FakePredictor()
    asked = asking.ask(predictor, photo, None, "What color is the bus?")
    later = asking.Later(asked, {"message": "found"})
    other_map = asking.explain_again(predictor, asked, "occlusion", asked.answer).reply
    assert later.if_still(asked) == later.if_still(other_map) == {"message": "found"}
    assert later.if_still(asking.ask(predictor, photo, asked.photo, "Is it night?")) == {}
    assert later.if_still(None) == {}
    assert asking.Later(None, {"message": "ask first"}).if_still(None) == {"message": "ask first"}
