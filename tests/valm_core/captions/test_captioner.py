"""A description: words with maps and probabilities that fit, verdicts by hiding, the same after saving and loading."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from valm_core.captions.captioner import Captioner
from valm_core.captions.describing import sentence
from valm_core.checkpoints.storage import load_caption_checkpoint, save_checkpoint
from valm_core.evidence.rules import VERDICTS
from valm_core.inputs.word_pieces import join_word_pieces
from valm_core.model.tasks.beam_search import BEGIN, END, UNKNOWN
from valm_core.outputs import InputError


@pytest.fixture(scope="module")
def photo():
    pixels = np.random.default_rng(2).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_every_word_has_a_map_a_probability_and_a_verdict(tiny_caption_model, tiny_captioner, photo):
    described = tiny_captioner.describe(photo)
    words = [word.text for word in described.words]
    assert described.text == sentence(tuple(words))
    assert described.maps.shape == (len(words), *tiny_caption_model.image_encoder.grid)
    assert described.maps.sum(axis=(1, 2)) == pytest.approx(np.ones(len(words)), abs=1e-5)
    assert all(0 < word.probability < 1 and word.verdict in VERDICTS for word in described.words)
    assert described.text not in described.others
    explanation = described.explanation()
    assert explanation.tokens == tuple(words)
    assert explanation.token_map(1) == pytest.approx(described.maps[1])


def test_probabilities_are_those_of_reading_the_sentence(tiny_caption_model, tiny_captioner, photo):
    described = tiny_captioner.describe(photo, beams=1)
    vocabulary = tiny_caption_model.vocabulary.tolist()
    ids = tiny_caption_model.tokenizer.tokenizer.convert_tokens_to_ids([word.text for word in described.words])
    places = [vocabulary.index(token) for token in ids]
    with torch.no_grad():
        cells = tiny_caption_model.encode_photos(tiny_caption_model.pixels(photo)[None])
        likely = tiny_caption_model.read(torch.tensor([[0, *places[:-1]]]), cells).logits[0].softmax(dim=-1)
    expected = likely[range(len(places)), places].tolist()
    assert [word.probability for word in described.words] == pytest.approx(expected, abs=1e-5)


def test_saved_and_loaded_it_says_the_same(tiny_caption_model, tiny_captioner, photo, tmp_path):
    save_checkpoint(tiny_caption_model, tmp_path / "checkpoint")
    loaded = load_caption_checkpoint(tmp_path / "checkpoint")
    for name, value in tiny_caption_model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    said = [
        captioner.describe(photo)
        for captioner in (
            tiny_captioner,
            Captioner.from_checkpoint(tmp_path / "checkpoint", "cpu"),
        )
    ]
    assert said[0].text == said[1].text
    assert said[0].maps == pytest.approx(said[1].maps, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "claimed", "stored"), [("vocabulary", 1_000_000, 10), ("layers", 3, 2), ("width", 32, 16)]
)
def test_a_config_that_the_weights_do_not_bear_out_is_refused(tiny_caption_model, tmp_path, name, claimed, stored):
    save_checkpoint(tiny_caption_model, tmp_path / "checkpoint")
    config = tmp_path / "checkpoint" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {name: claimed}))
    with pytest.raises(ValueError, match=f"{name} is {claimed} there and {stored} in the weights"):
        load_caption_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize("beams", [0, 11, True, 2.0])
def test_senseless_beams_are_refused(tiny_captioner, photo, beams):
    with pytest.raises(InputError, match="allowed: 1 to 10"):
        tiny_captioner.describe(photo, beams=beams)


def test_a_broken_photo_is_refused(tiny_captioner):
    with pytest.raises(InputError):
        tiny_captioner.describe(b"no photo")


def test_pieces_join_to_words():
    pieces = ["a", "snow", "##board", "##er", "'", "s", "t", "-", "shirt"]
    assert join_word_pieces(pieces) == (("a", "snowboarder's", "t-shirt"), (0, 1, 1, 1, 1, 1, 2, 2, 2))
    assert join_word_pieces([]) == ((), ())


def test_how_likely_a_text_is_equals_reading_it_piece_by_piece(tiny_caption_model, tiny_captioner, photo):
    model = tiny_caption_model
    vocabulary = model.vocabulary.tolist()
    pieces = {
        word: vocabulary.index(model.tokenizer.tokenizer.convert_tokens_to_ids(word)) for word in ("red", "square")
    }
    with torch.no_grad():
        cells = model.encode_photos(model.pixels(photo)[None])

    def likely(places):
        logits = model.read(torch.tensor([[BEGIN, *places[:-1]]]), cells).logits[0].log_softmax(dim=-1)
        return float(sum(logits[step, place] for step, place in enumerate(places) if place != UNKNOWN))

    with torch.no_grad():
        expected = [
            likely([pieces["red"], pieces["square"], END]),
            likely([pieces["square"], END]),
            likely([UNKNOWN, pieces["red"], END]),  # counts for nothing, but is read
        ]
    found = tiny_captioner.log_probabilities(["Red square!", "square", "color red"], photo)
    assert found == pytest.approx(expected, abs=1e-5)
    long = tiny_captioner.log_probabilities(["red " * 100], photo)
    assert np.isfinite(long).all() and long[0] < found[1]
    with pytest.raises(InputError, match=r"The text '\?!' has no word"):
        tiny_captioner.log_probabilities(["red", "?!"], photo)
