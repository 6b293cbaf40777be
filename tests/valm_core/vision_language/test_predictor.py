"""Every family behind the one protocol: answers, maps, evidence, what if, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vision_language import TINY, build_tiny_t5

from valm_core.evidence.rules import VERDICTS
from valm_core.outputs import InputError, NotOffered, UnknownAnswer
from valm_core.vision_language.answers import piece_log_probabilities, write
from valm_core.vision_language.families import UNKNOWN
from valm_core.vision_language.predictor import ANY_MODEL, ROW_METHODS, TransformersPredictor
from valm_core.vision_language.sequence import SequenceReader

PICTURE = Image.effect_noise((90, 60), 60).convert("RGB")
QUESTION = "what color is the square?"


@pytest.fixture(scope="session")
def tiny_vlm(tiny_reader):
    """``tiny_vlm(name)``: the predictor of a family's tiny checkpoint."""
    return lambda name: TransformersPredictor(tiny_reader(name), {"checkpoint": name})


def check_explanation(explanation, image):
    """Shapes fit and everything that should sum to 1 does."""
    words, cells = len(explanation.tokens), image.grid[0] * image.grid[1]
    assert explanation.image_map.shape == image.grid == explanation.grid
    assert explanation.token_to_patch.shape == (words, cells) and explanation.patch_to_token.shape == (cells, words)
    assert explanation.text_to_image.shape[2:] == (words, cells)
    assert explanation.image_to_text.shape[2:] == (cells, words)
    assert explanation.image_map.sum() == pytest.approx(1, abs=1e-4)
    assert explanation.token_scores.sum() == pytest.approx(1, abs=1e-4)
    for rows in (explanation.token_to_patch, explanation.patch_to_token, explanation.text_to_image):
        assert np.isfinite(rows).all() and (rows >= 0).all()
        np.testing.assert_allclose(rows.sum(axis=-1), 1, atol=1e-3)


@pytest.mark.parametrize("name", TINY)
def test_every_family_answers_and_explains(tiny_vlm, name, monkeypatch):
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)  # each takes four runs of the model
    predictor = tiny_vlm(name)
    image = predictor.encode(PICTURE)
    prediction, explanation, evidence = predictor.ask(image, QUESTION)
    assert prediction.question == QUESTION and 1 <= len(prediction.answers) <= 5 and prediction.blind_answers
    probabilities = [answer.probability for answer in prediction.answers]
    assert probabilities == sorted(probabilities, reverse=True) and 0 < probabilities[0] <= 1
    assert explanation.method == predictor.explanation_methods[0] == "grad_cam"
    check_explanation(explanation, image)
    assert evidence.verdict in VERDICTS and evidence.answer == prediction.answers[0].text
    assert len(evidence.hottest_hidden) == len(evidence.hidden_shares) and 0 < evidence.probability <= 1
    for method in ("raw_attention", *(["occlusion"] if name in ("vilt", "blip") else [])):
        check_explanation(predictor.explain(image, QUESTION, method, prediction.answers[0].text), image)
    assert explanation.tokens[: len(QUESTION.split())] == tuple(QUESTION.split())


def test_evidence_is_about_the_answer_as_it_was_explained(tiny_vlm, monkeypatch):
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)
    predictor = tiny_vlm("blip")
    image = predictor.encode(PICTURE)
    _, _, evidence = predictor.ask(image, QUESTION, "raw_attention", " Red.")
    assert evidence.answer == "red"


@pytest.mark.parametrize("name", ["smolvlm", "qwen2_vl", "blip-2"])
def test_words_of_the_answer_have_their_maps(tiny_vlm, name):
    predictor = tiny_vlm(name)
    image = predictor.encode(PICTURE)
    for method in (*ROW_METHODS, "occlusion"):
        explanation = predictor.explain(image, QUESTION, method, "the red cat")
        assert explanation.tokens == (*QUESTION.split(), "the", "red", "cat") and explanation.answer_words == 3
        check_explanation(explanation, image)
        first, last = explanation.token_map(5), explanation.token_map(7)
        assert np.abs(first - last).max() > 1e-5  # not by rounding alone


def test_methods_differ_and_a_layer_of_raw_attention_is_the_models(tiny_vlm):
    predictor = tiny_vlm("smolvlm")
    image = predictor.encode(PICTURE)
    maps = {name: predictor.explain(image, QUESTION, name, "red").image_map for name in predictor.explanation_methods}
    assert set(maps) == {*ROW_METHODS, *ANY_MODEL}
    assert len({image_map.tobytes() for image_map in maps.values()}) == len(maps)
    explanation = predictor.explain(image, QUESTION, "raw_attention", "red")
    reader = predictor.reader
    inputs = reader.inputs([image.picture], QUESTION)
    from valm_core.vision_language.attention_rows import collecting

    last = torch.tensor([inputs["input_ids"].shape[1] - 1])  # leads to the first token of the answer
    with torch.no_grad(), collecting([reader.model.get_decoder()], last) as rows:
        reader.model(**inputs, use_cache=False)
    image_tokens = reader.image_positions(inputs["input_ids"][0])
    expected = rows.rows[1][0, 0, 0, image_tokens].numpy() @ reader.places(image.picture).projection()
    ids = reader.answer_ids(image.picture, QUESTION, "red")
    if len(reader.processor.tokenizer.decode(ids[:1]).strip()) == 3:  # one token: the answer's row is this one
        np.testing.assert_allclose(explanation.text_to_image[1, 0, -1], expected / expected.sum(), atol=1e-4)


def test_what_if_in_pixels_words_and_given_answers(tiny_vlm):
    predictor = tiny_vlm("smolvlm")
    image = predictor.encode(PICTURE)
    everything = np.ones(image.grid, dtype=bool)
    changed = predictor.what_if(image, QUESTION, hidden_cells=everything)
    assert changed.answers == predictor.answer(image, QUESTION).blind_answers  # no photo is left
    assert predictor.what_if(image, QUESTION, hidden_words=[0]).question == "color is the square?"
    chosen = predictor.what_if(image, QUESTION, candidates=["Red", "blue", "two dogs"])
    assert {answer.text for answer in chosen.answers} == {"red", "blue", "two dogs"}
    assert sum(answer.probability for answer in chosen.answers) == pytest.approx(1)
    likely = [
        predictor.reader.likelihood([PICTURE], QUESTION, answer.text).probabilities[0] for answer in chosen.answers
    ]
    assert likely == sorted(likely, reverse=True)
    with pytest.raises(NotOffered):
        predictor.what_if(image, QUESTION, masked_heads=[("text_to_image", 0, 0)])
    with pytest.raises(InputError, match="Leave at least one"):
        predictor.what_if(image, "what?", hidden_words=[0])
    with pytest.raises(ValueError, match="grid"):
        predictor.what_if(image, QUESTION, hidden_cells=np.ones((1, 1), dtype=bool))


def test_a_counterfactual_is_true_of_the_model(tiny_vlm):
    from valm_core.vision_language.pixels import without_regions

    predictor = tiny_vlm("vilt")
    image = predictor.encode(PICTURE)
    found = predictor.counterfactual(image, QUESTION)
    assert found.answer == predictor.answer(image, QUESTION).answers[0].text
    if found.region is not None:
        hidden = without_regions(PICTURE, found.region, image.box)
        assert found.region_answer != found.answer and predictor.reader.first_answers([hidden], QUESTION)
    if found.words is not None:
        left = " ".join(word for place, word in enumerate(QUESTION.split()) if place not in found.words)
        assert predictor.reader.first_answers([PICTURE], left)[0] == found.words_answer != found.answer


def test_an_unknown_family_answers_and_gets_the_maps_that_any_model_has(tiny_folder, monkeypatch):
    monkeypatch.setattr("valm_core.vision_language.loading.FAMILIES", {})
    predictor = TransformersPredictor.from_pretrained(tiny_folder("smolvlm"), torch.device("cpu"))
    assert predictor.facts["family"] == UNKNOWN.title
    assert predictor.explanation_methods == ANY_MODEL
    image = predictor.encode(PICTURE)
    prediction, explanation, evidence = predictor.ask(image, QUESTION)
    assert prediction.answers and explanation.method == "occlusion" and evidence.verdict in VERDICTS
    check_explanation(explanation, image)
    with pytest.raises(ValueError, match="allowed: occlusion"):
        predictor.explain(image, QUESTION, "grad_cam")


def test_special_tokens_of_a_visitor_are_words(tiny_vlm):
    predictor = tiny_vlm("smolvlm")
    image = predictor.encode(PICTURE)
    question = "what is <image> </s> here?"
    assert predictor.answer(image, question).question == question
    check_explanation(predictor.explain(image, question, "raw_attention", "red"), image)


def test_an_answer_that_a_list_lacks_is_refused(tiny_vlm):
    predictor = tiny_vlm("vilt")
    image = predictor.encode(PICTURE)
    assert predictor.answers == ["yes", "no", "red", "blue", "2"]
    with pytest.raises(UnknownAnswer, match="'zebra'"):
        predictor.explain(image, QUESTION, answer="zebra")


def test_labels_of_any_spelling_can_be_explained_and_chosen_from(tiny_vlm, monkeypatch):
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)
    predictor = tiny_vlm("vilt")
    monkeypatch.setattr(predictor.reader, "labels", ["Yes", "No", "p.m.", "Blue", "2"])
    image = predictor.encode(PICTURE)
    own = predictor.answer(image, QUESTION).answers[0].text
    for answer in (own, "P.M.", "blue", "NO."):
        assert predictor.evidence(image, QUESTION, "center", answer).verdict in VERDICTS
    shown = predictor.what_if(image, QUESTION, candidates=["yes", "p.m.", "Blue"]).answers
    assert {answer.text for answer in shown} == {"Yes", "p.m.", "Blue"}
    assert predictor.explain(image, QUESTION, "random", own).tokens == tuple(QUESTION.split())
    with pytest.raises(UnknownAnswer, match="'zebra'"):
        predictor.explain(image, QUESTION, answer="zebra")


def test_a_model_with_a_decoder_of_its_own_answers_and_gets_the_maps_that_any_model_has(tmp_path, monkeypatch):
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)
    predictor = TransformersPredictor.from_pretrained(build_tiny_t5(tmp_path / "blip-2-t5"), torch.device("cpu"))
    assert predictor.explanation_methods == ANY_MODEL
    image = predictor.encode(PICTURE)
    prediction, explanation, evidence = predictor.ask(image, QUESTION)
    assert prediction.answers and explanation.method == "occlusion" and evidence.verdict in VERDICTS
    reader = predictor.reader
    best = write(reader.model, reader.processor.tokenizer, reader.inputs([PICTURE], QUESTION))[0][0]
    pieces = piece_log_probabilities(reader.model, reader.inputs([PICTURE], QUESTION), best.ids)
    assert float(pieces.sum().exp()) == pytest.approx(best.probability, rel=1e-3)  # the beam search's own


def test_a_photo_whose_tokens_lie_elsewhere_is_answered_and_explained_by_hiding(tiny_vlm, monkeypatch):
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)
    predictor = tiny_vlm("smolvlm")
    monkeypatch.setattr(SequenceReader, "places", lambda self, picture: None)
    image = predictor.encode(PICTURE)
    prediction, explanation, _ = predictor.ask(image, QUESTION)
    assert prediction.answers and explanation.method == "occlusion"
    with pytest.raises(InputError, match="Choose occlusion"):
        predictor.explain(image, QUESTION, "grad_cam")
