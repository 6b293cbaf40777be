"""Answers of any length: how they stream, what they are worth, the maps of their words, the prompt that allows them."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from patience import PATIENCE
from PIL import Image

from valm_core.outputs import InputError, NotOffered, Prediction
from valm_core.vision_language.answers import MAX_NEW_TOKENS, MAX_TEXT_TOKENS, Written, write_on
from valm_core.vision_language.families import FAMILIES, SHORT, for_longer_texts
from valm_core.vision_language.predictor import TransformersPredictor

PICTURE = Image.effect_noise((40, 30), 60).convert("RGB")
QUESTION = "what is it?"
LONG = "{image}\n{question}"
TEXT = " ".join(["the cat sits on the red table"] * 4)


@pytest.fixture
def predictor(tiny_reader, monkeypatch):
    """A tiny SmolVLM whose texts are at most 40 tokens long, with quick evidence."""
    monkeypatch.setattr("valm_core.vision_language.answers.MAX_TEXT_TOKENS", 40)
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)
    return TransformersPredictor(tiny_reader("smolvlm"), {})


@pytest.fixture
def image(predictor):
    """A photo that may be answered at length."""
    return replace(predictor.encode(PICTURE), prompt=LONG)


def test_only_the_wish_for_a_short_answer_leaves_a_prompt():
    assert for_longer_texts("USER: {image}\n{question} " + SHORT + " ASSISTANT:") == (
        "USER: {image}\n{question} ASSISTANT:"
    )
    assert for_longer_texts("{image}answer en {question}") == "{image}answer en {question}"


def test_a_long_answer_comes_word_by_word_and_is_the_greedy_one(predictor, image):
    *parts, prediction = predictor.write(image, QUESTION)
    assert isinstance(prediction, Prediction) and prediction.long and not prediction.calibrated
    (answer,) = prediction.answers
    texts = [" ".join(part.split()) for part in parts]
    assert len(texts) > 1 and all(answer.text.startswith(text) for text in texts)
    assert [len(text) for text in texts] == sorted({len(text) for text in texts})  # each is longer than the one before
    reader = predictor.reader.asked_by(LONG)
    with torch.no_grad():
        made = reader.model.generate(**reader.inputs([PICTURE], QUESTION), max_new_tokens=40, do_sample=False)
    plain = reader.processor.tokenizer.decode(
        made[0, reader.inputs([PICTURE], QUESTION)["input_ids"].shape[1] :], skip_special_tokens=True
    )
    assert answer.text == " ".join(plain.split())
    assert predictor.answer(image, QUESTION).answers == prediction.answers  # unstreamed


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.reads in ("sequence", "queries")])
def test_every_family_that_writes_tells_its_text_and_where_each_word_looked(tiny_reader, name, monkeypatch):
    monkeypatch.setattr("valm_core.vision_language.answers.MAX_TEXT_TOKENS", 24)
    reader, told = tiny_reader(name).asked_by(LONG), []
    text = write_on(reader.model, reader.processor.tokenizer, reader.inputs([PICTURE], QUESTION), told.append)
    assert 0 < len(text.ids) <= 24
    assert all(text.text.startswith(part) for part in told) and told == sorted(told, key=len)
    rows = reader.word_rows(PICTURE, QUESTION, TEXT, "gradients")
    assert rows.answer_words == len(TEXT.split()) and np.isfinite(rows.weights).all()


def test_its_probability_is_that_of_one_piece(predictor, image):
    found = predictor.reader.asked_by(LONG).likelihood([PICTURE], QUESTION, TEXT)
    assert found.long and found.pieces.shape[1] > MAX_NEW_TOKENS
    assert found.probabilities == pytest.approx(np.exp(found.pieces.mean(axis=1)))
    assert not predictor.reader.likelihood([PICTURE], QUESTION, TEXT).long  # asked for a short answer it is none


def test_every_word_of_a_long_answer_has_its_map(predictor, image):
    prediction, explanation, evidence = predictor.ask(image, QUESTION, "raw_attention", TEXT)
    assert prediction.long and prediction.prompt == LONG
    assert explanation.tokens == (*QUESTION.split(), *TEXT.split()) and explanation.answer_words == len(TEXT.split())
    np.testing.assert_allclose(explanation.token_to_patch.sum(axis=1), 1, atol=1e-3)
    first, last = explanation.token_map(len(QUESTION.split())), explanation.token_map(len(explanation.tokens) - 1)
    assert not np.array_equal(first, last)
    assert evidence.answer == TEXT and evidence.probability > 1e-4  # not that of so many words, which is next to 0


def test_many_maps_keep_their_layers_and_lose_their_heads(predictor, image, monkeypatch):
    whole = predictor.explain(image, QUESTION, "raw_attention", TEXT)
    monkeypatch.setattr("valm_core.vision_language.maps.MAX_WEIGHTS", 100)
    fewer = predictor.explain(image, QUESTION, "raw_attention", TEXT)
    assert whole.text_to_image.shape[1] > 1 and fewer.text_to_image.shape[:2] == (whole.text_to_image.shape[0], 1)
    np.testing.assert_array_equal(whole.token_to_patch, fewer.token_to_patch)


def test_a_prompt_that_asks_for_a_short_answer_gets_five(predictor, image):
    asked = replace(image, prompt="{image}\nLook well. {question} " + SHORT)
    (prediction,) = predictor.write(asked, QUESTION)
    assert not prediction.long and len(prediction.answers) > 1 and prediction.prompt == asked.prompt
    (own,) = predictor.write(replace(image, prompt=predictor.reader.asks), QUESTION)
    assert own.prompt is None and own.answers == predictor.answer(predictor.encode(PICTURE), QUESTION).answers


def test_a_short_text_of_a_free_prompt_gets_five_candidates(predictor, image, monkeypatch):
    monkeypatch.setattr("valm_core.vision_language.answers.MAX_TEXT_TOKENS", MAX_NEW_TOKENS)
    *_, prediction = predictor.write(image, QUESTION)
    assert not prediction.long and len(prediction.answers) > 1


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("{image} What is it?", "needs {image}"),
        ("{question}", "needs {image}"),
        ("{image}{image}{question}", "once each"),
        ("{image}{question}" + "x" * 1000, "1000 characters at most"),
    ],
)
def test_a_prompt_that_can_not_be_asked_is_refused(predictor, image, prompt, message):
    with pytest.raises(InputError, match=message.replace("{", r"\{")):
        list(predictor.write(replace(image, prompt=prompt), QUESTION))


def test_special_tokens_in_a_visitors_prompt_are_words(predictor, image):
    token = predictor.reader.processor.image_token
    asked = replace(image, prompt="{image} {question} " + token + " " + SHORT)
    assert predictor.answer(asked, QUESTION).answers
    reader = predictor.reader.asked_by(asked.prompt)
    own = predictor.reader.inputs([PICTURE], QUESTION)["input_ids"]
    count = len(reader.image_positions(reader.inputs([PICTURE], QUESTION)["input_ids"][0]))
    assert count == len(reader.image_positions(own[0]))


def test_what_changes_a_long_text_is_not_searched(predictor, image):
    with pytest.raises(NotOffered, match="short answer first"):
        predictor.counterfactual(image, QUESTION)


def test_a_written_text_of_cut_letters_is_explained_although_it_is_read_as_more_tokens(predictor, image, monkeypatch):
    monkeypatch.setattr("valm_core.vision_language.answers.MAX_TEXT_TOKENS", 40)
    text = "\ufffdhr\ufffdqu anj" + "\ufffdyqu anj" * 7
    ids = predictor.reader.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > 40 + MAX_NEW_TOKENS
    assert np.isfinite(predictor.explain(image, QUESTION, "raw_attention", text).image_map).all()


def test_an_answer_longer_than_any_is_refused(predictor, image):
    with pytest.raises(InputError, match="too long for the model"):
        predictor.explain(image, QUESTION, "raw_attention", "red " * 4 * MAX_TEXT_TOKENS)


def test_a_text_that_nobody_waits_for_ends(predictor, image):
    reader = predictor.reader.asked_by(LONG)
    told = []
    inputs = reader.inputs([PICTURE], QUESTION)
    whole = write_on(reader.model, reader.processor.tokenizer, inputs)
    ended = write_on(reader.model, reader.processor.tokenizer, inputs, told.append, lambda: bool(told))
    assert isinstance(ended, Written) and len(ended.ids) < len(whole.ids) and len(told) == 1

    writing = predictor.write(image, QUESTION)
    next(writing)
    writing.close()
    for thread in threading.enumerate():
        if thread.name == "valm-writes":
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert predictor.answer(image, QUESTION).answers  # its turn was given back
