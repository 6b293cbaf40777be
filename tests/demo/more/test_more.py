"""The page More: which checkpoints it takes, what it shows of each task, and that nothing typed becomes HTML."""

import dataclasses
import sys

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from demo.more import models
from demo.more.models import MoreModels, open_models
from demo.more.results import labelled_html, read_html, tagged_html
from demo.page.more import TASKS, MorePage
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.inputs.ocr import OcrMissing, rapid_ocr
from valm_core.inputs.page import Line, page_of_lines
from valm_core.outputs import Answer
from valm_core.tasks.labeller import Labelled
from valm_core.tasks.reader import PageAnswer, ReadPage
from valm_core.tasks.tagger import Tagged, TaggedSpan

EVIL = "<img src=x onerror=alert(1)>"


def test_folders_that_cannot_be_used_are_named(tiny_feeling, tmp_path, tiny_model):
    assert open_models(()) is None and open_models((tiny_feeling,)).tasks == ("feel",)
    with pytest.raises(ValueError, match=r"VALM_MORE names .*none"):
        open_models((tmp_path / "none",))
    with pytest.raises(ValueError, match=r"both for the task 'feel'; keep one"):
        open_models((tiny_feeling, tiny_feeling))
    save_checkpoint(tiny_model, tmp_path / "answers")
    with pytest.raises(ValueError, match=r"for the task 'answer'; allowed: tag, relate, judge, feel, read"):
        open_models((tmp_path / "answers",))


def test_a_text_is_labelled_with_and_without_a_photo_and_faults_are_told(tiny_feeling, tmp_path):
    page = MorePage(MoreModels({"feel": tiny_feeling}))
    result, picture, said = page.answer("feel", "is the square red?", None, None, None)
    assert said in ("positive", "negative") and f">{said}</h2>" in result
    assert "positive" in result and "negative" in result and picture == "" and "Without the photo" not in result
    Image.effect_noise((64, 48), 60).convert("RGB").save(tmp_path / "photo.png")
    result, picture, _ = page.answer("feel", "is the square red?", str(tmp_path / "photo.png"), None, None)
    assert "Without the photo" in result and "data:image/jpeg" in picture
    assert "The text is empty" in page.answer("feel", " ", None, None, None)[0]
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    assert "can&#39;t be read as a photo" in page.answer("feel", "red?", str(tmp_path / "broken.jpg"), None, None)[0]
    assert "There is no document yet" in page.answer("read", "What is the total?", None, None, None)[0]


def test_what_was_found_out_is_not_shown_under_another_task():
    page = MorePage(MoreModels({}))
    page.answer = lambda task, *given: [f"{task}: {given[0]}", "", "said"]
    done = page.run("feel", "lovely", None, None, None)
    assert page.show(done, "feel") == ["feel: lovely", "", "said"]
    assert page.show(done, "judge") == page.show(None, "judge") == [gr.skip()] * 3


def test_a_task_shows_what_it_takes_and_no_former_result():
    for name, task in TASKS.items():
        does, _, example, photo, document, number, *results = MorePage(MoreModels({})).choose(name)
        assert task.does in does and example["value"] == task.example and results == ["", "", ""]
        assert photo["visible"] == task.photo and document["visible"] == number["visible"] == task.document


def test_reading_is_offered_where_there_is_ocr(monkeypatch):
    more = MoreModels({"read": "a", "tag": "b"})
    for there in (True, False):
        monkeypatch.setattr(models, "has_ocr", lambda there=there: there)
        assert more.tasks == (("tag", "read") if there else ("tag",)) and more.can_read
    assert not MoreModels({"tag": "b"}).can_read
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    rapid_ocr.cache_clear()
    with pytest.raises(OcrMissing):  # and no checkpoint is looked for
        more.open_page("page.png")
    rapid_ocr.cache_clear()


def test_at_most_two_models_stay_in_memory(monkeypatch):
    loaded = []
    monkeypatch.setattr(
        models, "LOADERS", dict.fromkeys(models.LOADERS, lambda place, device: loaded.append(place) or place)
    )
    more = MoreModels({"tag": "a", "relate": "b", "judge": "c"})
    for task in ("tag", "relate", "tag", "judge", "tag", "relate"):
        assert more._model(task) == more.checkpoints[task]
    assert loaded == ["a", "b", "c", "b"] and list(more._loaded) == ["tag", "relate"]


def test_what_spoke_for_a_label_is_drawn_and_nothing_typed_is_html():
    labels = (Answer("good", 0.9), Answer("bad", 0.1))
    words, effects = (EVIL, "very", "dull"), np.array([0.0, 1.5, -2.5])
    said = ("no difference", "matters", "matters")
    found = labelled_html(Labelled(labels, labels, words, ((0, 1),), effects, said, None, None))
    assert "<img" not in found and "&lt;img" in found and "The photo changed nothing." in found
    assert found.count('class="spoke for"') == found.count('class="spoke against"') == 1
    assert 'class="spoke marked"' in found
    changed = dataclasses.replace(
        Labelled(labels, labels, words, (), effects, said, None, None), blind_labels=labels[::-1]
    )
    assert "The photo changed nothing." not in labelled_html(changed)


def test_entities_are_marked_in_their_sentence():
    span = TaggedSpan(0, 2, "PER", f"Ann {EVIL}", 0.9, 0.2, np.array([0.0, 0.0, 0.4, 0.0]), 3.0, "matters")
    found = tagged_html(Tagged(("Ann", EVIL, "sleeps", "."), ("B-PER", "I-PER", "O", "O"), (0.9,) * 4, (span,)))
    assert "<img" not in found and '<span class="entity-type">PER</span></mark> sleeps .' in found
    assert "<td>sleeps</td>" in found and "90 %" in found and "20 %" in found
    assert "No entity was found" in tagged_html(Tagged(("sleeps",), ("O",), (1.0,), ()))


def test_an_answer_on_a_page_says_how_sure_and_of_which_page():
    page = ReadPage(page_of_lines([Line((0.1, 0.1, 0.9, 0.2), "TOTAL 5.00")]), None, None, 2, 3)
    answer = PageAnswer("total?", EVIL, 1, 2, np.zeros((1, 4)), 0.5, np.zeros(1), 0.0, "no difference", (("7", 0.1),))
    found = read_html(page, answer)
    assert "<img" not in found and "Page 2 of 3." in found and "50 %" in found
    assert "Hiding the framed lines cost the answer no more than chance explains." in found
