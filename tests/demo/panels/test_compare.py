"""The panel "Compare" with another method: what is known isn't asked again, and what is shown already isn't offered."""

import dataclasses

import numpy as np
from PIL import Image

from demo.panels.compare import (
    answered_by_method,
    answered_here,
    answered_html,
    choices_beside,
    map_note,
    of_words,
    same_words,
)
from demo.visit import asking


def test_another_method_asks_nothing_again_and_explains_the_picked_answer(tiny_predictor, tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "red").save(path)
    reply = asking.ask(tiny_predictor, str(path), None, "what color is the square?")
    assert map_note(reply, "grad_cam") == "map: grad cam"
    chosen = reply.prediction.answers[1].text
    reply = asking.explain_again(tiny_predictor, reply, "grad_cam", chosen).reply
    expected = tiny_predictor.explain(reply.photo.encoded, reply.prediction.question, "raw_attention", chosen)
    for known in ("encode", "answer", "ask"):
        monkeypatch.delattr(type(tiny_predictor), known)
    answered = answered_by_method(tiny_predictor, reply, "raw_attention")
    assert answered.answers is reply.prediction.answers and answered.name == "ours, raw attention"
    assert (answered.explanation.image_map == expected.image_map).all()
    assert f"explaining “{chosen}”" in answered_html([answered])


def test_what_is_offered_differs_from_the_page_and_ours_is_the_map_on_it(tiny_predictor, tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "red").save(path)
    reply = asking.ask(tiny_predictor, str(path), None, "what color is the square?")
    offered = [name for _, name in choices_beside(tiny_predictor, "raw_attention", {"mine": "folder"})]
    assert offered[0] == "model:mine" and asking.default_method(tiny_predictor) in offered
    assert "raw_attention" not in offered and len(offered) == len(tiny_predictor.explanation_methods)
    reply = asking.explain_again(tiny_predictor, reply, "raw_attention", reply.answer).reply
    whole = answered_here(reply, "text_to_image", None, None)
    assert whole.explanation is reply.explanation and whole.note == "map: raw attention"
    head = answered_here(reply, "text_to_image", 0, 1)
    expected = reply.explanation.text_to_image[0, 1]
    np.testing.assert_allclose(head.explanation.token_to_patch, expected / expected.sum(1, keepdims=True), atol=1e-6)
    assert "layer 1, head 2" in head.note


def test_the_selected_words_are_found_again_in_what_another_model_explains(tiny_predictor, tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "red").save(path)
    ours = asking.ask(tiny_predictor, str(path), None, "what color is the square?").explanation
    color = ours.tokens.index("color")
    assert same_words(ours, (color,), ours) == (color,)
    other = dataclasses.replace(ours, tokens=("Question:", "What", "Color", *ours.tokens[2:]))
    assert same_words(ours, (color,), other) == (2,)
    without = dataclasses.replace(ours, tokens=("question",) * (len(ours.tokens) + 1))
    assert same_words(ours, (color,), without) == () == same_words(ours, (), other)
    assert of_words(ours, (color,)) == "maps of “color”" and of_words(ours, ()) == ""
    side = answered_here(asking.ask(tiny_predictor, str(path), None, "what color?"), "text_to_image", None, None)
    assert "maps of “&lt;b&gt;”" in answered_html([side], "maps of “<b>”")
