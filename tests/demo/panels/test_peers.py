"""Other models beside ours, on tiny ones saved in their real formats."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vision_language import build_tiny

from demo.panels.peers import load_peer
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.method_names import DEFAULT_METHOD
from valm_core.outputs import InputError

QUESTION = "what color is the square?"


@pytest.fixture
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def vilt_folder(tmp_path_factory):
    return str(build_tiny("vilt", tmp_path_factory.mktemp("vilt")))


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory):
    return str(build_tiny("blip", tmp_path_factory.mktemp("blip")))


def test_vilt_answers_and_its_patches_find_their_places(vilt_folder, photo):
    peer = load_peer("other", vilt_folder)
    assert peer.predictor.facts["family"] == "ViLT"
    first, second = peer.ask(photo, QUESTION), peer.ask(photo, QUESTION)
    assert {answer.text for answer in first.answers} == {"yes", "no", "red", "blue", "2"}
    assert first.answers[0].probability >= first.answers[-1].probability
    assert first.explanation.grid == (4, 6)  # 32 x 48 pixels in patches of 8
    # The patches' order is drawn anew every time; the map must not depend on it.
    np.testing.assert_allclose(first.explanation.image_map, second.explanation.image_map, rtol=1e-4)
    assert first.explanation.image_map.std() > 1e-5
    reader = peer.predictor.reader
    inputs = reader.processor(images=photo, text=QUESTION, return_tensors="pt")
    with torch.no_grad():
        expected = reader.model(**inputs).logits.sigmoid().max().item()
    assert first.answers[0].probability == pytest.approx(expected, rel=1e-4)


def test_blip_writes_answers_with_the_probability_of_their_text(blip_folder, photo):
    peer = load_peer("other", blip_folder)
    assert peer.predictor.facts["family"] == "BLIP (VQA)"
    answered = peer.ask(photo, QUESTION)
    shares = [answer.probability for answer in answered.answers]
    assert shares == sorted(shares, reverse=True) and 0 < shares[0] <= 1 and sum(shares) <= 1 + 1e-5
    assert answered.explanation.grid == (4, 4) and answered.explanation.image_map.sum() == pytest.approx(1)


def test_a_valm_checkpoint_is_a_peer_too(tiny_predictor, photo, tmp_path):
    save_checkpoint(tiny_predictor.model, tmp_path / "saved")
    answered = load_peer("mine", str(tmp_path / "saved")).ask(photo, QUESTION)
    encoded = tiny_predictor.encode(photo)
    expected = [answer.text for answer in tiny_predictor.answer(encoded, QUESTION).answers]
    assert [answer.text for answer in answered.answers] == expected
    assert answered.name == "mine" and answered.explanation.method == DEFAULT_METHOD


def test_questions_that_cannot_be_asked_say_so(vilt_folder, blip_folder, photo):
    for folder in (vilt_folder, blip_folder):
        with pytest.raises(InputError, match="empty"):
            load_peer("other", folder).ask(photo, " ")


def test_what_is_no_model_is_named(tmp_path, tiny_text_folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"lost: .*nowhere"):
        load_peer("lost", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no model that answers questions about photos"):
        load_peer("text", str(tiny_text_folder))
