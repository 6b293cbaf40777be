"""The panel's plain functions: what was painted, what is written, and that nobody's text becomes HTML."""

import json

import gradio as gr
import numpy as np
import pytest
from fake_predictor import FakePredictor
from PIL import Image

from demo.panels.what_if import (
    WhatIf,
    build_parts,
    comparison_html,
    descriptions_html,
    flip_html,
    head_name,
    painted_photo,
    region_picture,
    split_candidates,
    switched_off,
)
from demo.visit import asking
from valm_core.outputs import Answer, Counterfactual, Prediction

HOSTILE = "<img src=x onerror=alert(1)>"


def prediction(*texts: str, question: str = "what?") -> Prediction:
    answers = tuple(Answer(text, 1 / len(texts)) for text in texts)
    return Prediction(question, answers, (), 0.5)


def test_only_paint_counts_as_a_change():
    photo = Image.new("RGB", (40, 30), "white")
    layer = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    assert painted_photo(None) is None and painted_photo({"composite": photo, "layers": [layer]}) is None
    layer.paste((90, 90, 90, 255), (0, 0, 10, 10))
    painted = Image.new("RGBA", (40, 30), "red")
    assert painted_photo({"composite": painted, "layers": [layer]}).getpixel((5, 5)) == (255, 0, 0)


def test_candidates_are_split_at_commas():
    assert split_candidates("cat，dog、bird") == ["cat", "dog", "bird"]
    assert split_candidates(" cat, , big dog,") == ["cat", "big dog"] and split_candidates(None) == []


def test_the_sentence_says_whether_the_answer_changed():
    assert "stays <strong>cat</strong>" in comparison_html(prediction("cat", "dog"), prediction("cat"))
    changed = comparison_html(prediction("cat"), prediction("dog", question="shorter"))
    assert "from <strong>cat</strong> to <strong>dog</strong>" in changed and "shorter" in changed


def test_all_that_was_switched_off_is_named():
    heads = [json.dumps(["text_to_image", 0, 1]), json.dumps(["image_to_text", 1, 0])]
    off = switched_off("what <b> is it?", [2, 1], heads, ["cat", "dog"], True)
    assert off == [
        "a part of the photo painted over",
        "without “<b>”",
        "without “is”",
        "without the head words read the photo: layer 1, head 2",
        "without the head the photo reads words: layer 2, head 1",
        "answers allowed: cat, dog",
    ]
    text = comparison_html(prediction("cat"), prediction("cat"), "", off)
    assert f"Changed: {'; '.join(off).replace('<b>', '&lt;b&gt;')}." in text
    assert switched_off("what?", [], [], [], False) == []
    assert "Nothing was switched off." in comparison_html(prediction("cat"), prediction("cat"))


def test_nothing_that_people_or_the_model_write_is_html():
    page = comparison_html(prediction(HOSTILE), prediction(HOSTILE * 2, question=HOSTILE), HOSTILE)
    found = Counterfactual(HOSTILE, np.ones((2, 2), dtype=bool), HOSTILE, (0,), HOSTILE)
    page += flip_html(found, HOSTILE.replace(" ", "_"))
    assert "<img" not in page and "&lt;img" in page


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Counterfactual("cat", None, None, None, None), "even when the whole photo is hidden"),
        (Counterfactual("cat", np.eye(2, dtype=bool), "dog", (1,), "no"), "With 2 of 4 cells hidden"),
        (Counterfactual("cat", np.eye(2, dtype=bool), "dog", (1,), "no"), "Without “animal?”"),
    ],
)
def test_a_flip_is_told_in_words(found, text):
    assert text in flip_html(found, "what animal?")


def test_the_region_lies_where_the_model_saw_it():
    encoded = FakePredictor(box=(0.5, 0.0, 1.0, 1.0)).encode(Image.new("RGB", (80, 40), "white"))
    region = np.array([[True, False], [False, False]])
    drawn = region_picture(Image.new("RGB", (80, 40), "white"), region, encoded)
    dark = np.asarray(drawn.convert("L")) < 100
    rows, columns = np.nonzero(dark)
    assert (rows.min(), rows.max(), columns.min()) == (0, 20, 40) and columns.max() in (59, 60)


def test_heads_are_named_from_one():
    assert head_name(("text_to_image", 0, 3)) == "words read the photo: layer 1, head 4"


def test_words_that_came_and_went_are_marked():
    shown = descriptions_html("A dog and a cat on grass.", "A big dog on grass.")
    assert "changes" in shown
    assert "A dog <del>and</del> <del>a</del>" not in shown  # "A" begins the other
    assert 'lang="en">A dog <del>and</del> a <del>cat</del> on grass.</dd>' in shown
    assert 'lang="en">A <ins>big</ins> dog on grass.</dd>' in shown
    same = descriptions_html("A dog.", "A dog.")
    assert "stays the same" in same and "<del>" not in same and "<ins>" not in same
    assert "<img" not in descriptions_html(HOSTILE, "A dog.")


def painted(photo: Image.Image, box: tuple[int, int, int, int]) -> dict:
    """What the editor gives for a photo with a grey box over it."""
    layer = Image.new("RGBA", photo.size, (0, 0, 0, 0))
    layer.paste((128, 128, 128, 255), box)
    return {"composite": Image.alpha_composite(photo.convert("RGBA"), layer), "layers": [layer]}


def test_the_painted_photo_is_described_beside_the_whole_one(tiny_predictor, tiny_captioner, tmp_path):
    with gr.Blocks():
        panel = WhatIf(tiny_predictor, build_parts(tiny_predictor, tiny_captioner), tiny_captioner)
    assert panel.parts.describe.visible
    outcome = panel.parts.outcome
    photo = Image.new("RGB", (48, 32), "red")
    photo.save(tmp_path / "red.png")
    reply = asking.ask(tiny_predictor, str(tmp_path / "red.png"), None, "what is this?")
    assert "question" in panel.describe_again(None, None)[outcome]
    assert "paint on the photo first" in panel.describe_again(reply, None)[outcome]
    edited = painted(photo, (0, 0, 48, 32))
    whole, grey = (tiny_captioner.describe(picture).text for picture in (photo, painted_photo(edited)))
    assert panel.describe_again(reply, edited)[outcome] == descriptions_html(whole, grey)


def test_without_a_model_that_describes_there_is_no_button_for_it(tiny_predictor):
    with gr.Blocks():
        assert not build_parts(tiny_predictor).describe.visible
