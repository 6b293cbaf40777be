"""All that a visit offers, with an open model in place of ours: panels, links, files, percentages that are chances."""

import base64
import io
import json

import gradio as gr
import numpy as np
import pytest
from fake_predictor import FakePredictor
from PIL import Image
from tiny_vision_language import build_tiny

from demo.downloads.files import FILES, Shown
from demo.page.layout import NO_ATTENTION, NO_WORD_EVIDENCE, limits_of
from demo.panels.compare import answered_by_method, answered_here, answered_html, choices_beside
from demo.panels.peers import load_peer
from demo.panels.what_if import BY_LIKELIHOOD, WhatIf, build_parts
from demo.server.api import Endpoints
from demo.visit import asking, history
from demo.visit.examples import Example
from valm_core.evidence.rules import VERDICTS
from valm_core.loading import load_predictor
from valm_core.vision_language.calibration import Calibration
from valm_core.vision_language.families import SHORT, UNKNOWN
from valm_core.vision_language.predictor import TransformersPredictor
from valm_core.vision_language.sequence import SequenceReader

QUESTION = "what color is it?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a tiny SmolVLM."""
    return build_tiny("smolvlm", tmp_path_factory.mktemp("open") / "smolvlm")


@pytest.fixture(scope="module")
def predictor(folder):
    """The model in it."""
    return load_predictor(folder, "cpu")


@pytest.fixture
def path(tmp_path):
    """Where a small photo lies."""
    Image.effect_noise((60, 40), 60).convert("RGB").save(tmp_path / "noise.png")
    return str(tmp_path / "noise.png")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Quick evidence, and short texts."""
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)
    monkeypatch.setattr("valm_core.vision_language.answers.MAX_TEXT_TOKENS", 40)


def test_what_if_and_the_smallest_change_are_told_in_words(predictor, path):
    reply = asking.ask(predictor, path, None, QUESTION)
    with gr.Blocks():
        parts = build_parts(predictor)
    panel = WhatIf(predictor, parts)
    among = panel.ask_again(reply, None, [], [], "red, two dogs")[parts.outcome]
    assert BY_LIKELIHOOD in among and "two dogs" in among and "answers allowed: red, two dogs" in among
    without = panel.ask_again(reply, None, [0], [], "")[parts.outcome]
    assert "without “what”" in without and "Asked: “color is it?”" in without
    painted = Image.new("RGBA", (60, 40), "grey")
    hidden = panel.ask_again(reply, {"composite": painted, "layers": [painted]}, [], [], "")[parts.outcome]
    assert "a part of the photo painted over" in hidden
    flipped = panel.find_flip(reply)[parts.outcome]
    assert "Found by a greedy search" in flipped
    assert not parts.heads.visible and panel.prepare(reply)[parts.heads]["choices"] == []


def test_another_method_and_another_open_model_stand_beside_it(predictor, folder, path):
    reply = asking.ask(predictor, path, None, QUESTION)
    offered = [name for _, name in choices_beside(predictor, reply.explanation.method, {"mine": "folder"})]
    assert {"model:mine", "relative_attention", "raw_attention", "occlusion"} <= {*offered}
    ours = answered_here(reply, "text_to_image", 0, 1)
    other = answered_by_method(predictor, reply, "relative_attention")
    assert not np.allclose(ours.explanation.image_map, other.explanation.image_map, atol=1e-4)
    peer = load_peer("peer", str(folder)).ask(reply.photo.picture, QUESTION)
    assert peer.answers == reply.prediction.answers and "not calibrated" in peer.note
    assert answered_html([ours, other, peer]).count("<ol>") == 3


def test_what_it_can_not_explain_is_not_offered_and_says_why(predictor):
    assert limits_of(predictor) == [NO_WORD_EVIDENCE] and limits_of(FakePredictor()) == []
    unknown = TransformersPredictor(SequenceReader(predictor.reader.model, predictor.reader.processor, UNKNOWN), {})
    assert limits_of(unknown) == [NO_ATTENTION, NO_WORD_EVIDENCE]


def test_a_link_asks_by_its_prompt_and_explains_by_its_method(predictor, path):
    example = Example(asking.Path(path), asking.digest_of(asking.Path(path).read_bytes()), "Noise", (QUESTION,))
    prompt = f"Look: {{image}} {{question}} {SHORT}"
    reply = asking.ask(predictor, path, None, QUESTION, prompt)
    reply = asking.explain_again(predictor, reply, "relative_attention", "red").reply
    made = history.link_to(reply, (example,), asking.Selection((1,), (2,)), "text_to_image", 1, 0)
    found = history.follow_link(predictor, path, None, made)
    assert found.message == "" and found.reply.prediction == reply.prediction and found.reply.answer == "red"
    assert found.reply.explanation.method == "relative_attention"
    np.testing.assert_allclose(found.reply.explanation.image_map, reply.explanation.image_map, atol=1e-5)
    assert history.selected_by(made, found.reply) == (asking.Selection((1,), (2,)), 1, 0, "")
    kept = history.remember(history.remember((), path, reply), path, asking.ask(predictor, path, None, QUESTION))
    assert len(kept[0].replies) == 2  # one question, two prompts


def test_every_file_is_made_of_a_short_answer_and_of_a_longer_one(predictor, path):
    for prompt in (None, "{image}{question}"):
        reply = asking.ask(predictor, path, None, QUESTION, prompt)
        shown = Shown(reply, asking.Selection((4,), (2,)), layer=1, head=0)
        made = {kind: write(shown, predictor.facts) for kind, (_, write) in FILES.items()}
        assert made["pdf"].startswith(b"%PDF") and made["svg"].startswith(b"<?xml")
        assert all(Image.open(io.BytesIO(made[kind])).format == "PNG" for kind in ("map", "figure"))
        plain = json.loads(made["json"])
        assert plain["explanation"]["words"] == [*QUESTION.split(), *reply.prediction.answers[0].text.split()]
        assert plain["model"]["prompt_without_template"] == (prompt or predictor.facts["prompt_without_template"])
        report = made["report"].decode()
        assert "SmolVLM" in report and "not calibrated" in report and reply.prediction.long == (prompt is not None)


def test_a_calibrated_writers_percentages_and_verdicts_are_its_own_by_its_prompt_only(
    folder, predictor, path, tmp_path
):
    facts = predictor.facts
    calibration = Calibration(
        0.05, -1.0, str(facts["checkpoint_sha256"]), str(facts["prompt"]), 100, 0.3, 0.05, (1.0, 2.0), 100, 0.03
    )
    calibration.to_json(tmp_path / "c.json")
    calibrated = load_predictor(folder, "cpu", calibration=tmp_path / "c.json")
    before, after = (asking.ask(one, path, None, QUESTION) for one in (predictor, calibrated))
    after = asking.weigh(calibrated, after)
    stated = np.array([answer.probability for answer in before.prediction.answers])
    expected = calibration.apply(stated)
    assert [answer.probability for answer in after.prediction.answers] == pytest.approx(expected.tolist())
    assert after.prediction.calibrated and after.evidence.own_thresholds and after.evidence.verdict in VERDICTS
    assert after.evidence.probability == pytest.approx(float(expected[0]), rel=1e-3)
    changed = calibrated.what_if(after.photo.encoded, QUESTION, hidden_words=[0])
    assert (
        changed.calibrated and not calibrated.what_if(after.photo.encoded, QUESTION, candidates=["a", "b"]).calibrated
    )
    other = asking.ask(calibrated, path, None, QUESTION, f"Look: {{image}} {{question}} {SHORT}")
    other = asking.weigh(calibrated, other)
    assert not other.prediction.calibrated and not other.evidence.own_thresholds


def test_the_api_answers_among_given_texts_and_explains_by_any_of_its_methods(predictor, path):
    endpoints = Endpoints(predictor, ())
    photo = "data:image/png;base64," + base64.b64encode(asking.Path(path).read_bytes()).decode()
    among = endpoints.answer(photo, QUESTION, 2, ["Red", "two dogs", "no"])
    assert len(among["answers"]) == 2 and {one["answer"] for one in among["answers"]} <= {"red", "two dogs", "no"}
    explained = endpoints.explain(photo, QUESTION, "relative_attention", "red")
    assert explained["explanation"]["method"] == "relative_attention" and explained["evidence"]["answer"] == "red"
    assert [*explained["explanation"]["words"]] == [*QUESTION.split(), "red"]
    assert np.shape(explained["explanation"]["layer_head_maps"]["text_to_image"])[:3] == (2, 4, 5)
