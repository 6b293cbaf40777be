"""Answers of models that write: likelihoods are the beams' own, answers of one normal form are one."""

import numpy as np
import pytest
import torch
from PIL import Image

from valm_core.vision_language.answers import (
    Written,
    end_tokens,
    forms,
    merged,
    normal_form,
    piece_log_probabilities,
    write,
)
from valm_core.vision_language.families import FAMILIES

WRITERS = [name for name, family in FAMILIES.items() if family.reads in ("sequence", "queries")]


@pytest.mark.parametrize("name", WRITERS)
def test_the_likelihood_of_a_beam_is_its_score(tiny_reader, name):
    reader = tiny_reader(name)
    inputs = reader.inputs([Image.effect_noise((64, 48), 60).convert("RGB")], "what color is it?")
    best = write(reader.model, reader.processor.tokenizer, inputs, beams=3)[0]
    assert len(best) == 3 and best[0].probability >= best[1].probability >= best[2].probability
    for one in best:
        with torch.no_grad():
            pieces = piece_log_probabilities(reader.model, inputs, one.ids, reader.suffix_type)
        assert float(pieces.sum()) == pytest.approx(np.log(one.probability), rel=1e-4)


def test_answers_of_one_normal_form_are_one():
    written = [
        Written("Cat.", (1,), 0.5),
        Written(" dog", (2,), 0.3),
        Written("cat", (3,), 0.1),
        Written(" ", (4,), 0.1),
    ]
    assert [(answer.text, round(answer.probability, 6)) for answer in merged(written, 5)] == [
        ("cat", 0.6),
        ("dog", 0.3),
    ]
    assert normal_form("  “A  Red Bus.” ") == "a red bus"


def test_a_given_answer_is_scored_in_its_likeliest_form_to_the_end(tiny_reader):
    reader = tiny_reader("smolvlm")
    picture = Image.effect_noise((64, 48), 60).convert("RGB")
    found = reader.likelihood([picture], "what color is it?", "red")
    inputs = reader.inputs([picture], "what color is it?")
    with torch.no_grad():
        each = [
            float(piece_log_probabilities(reader.model, inputs, ids).sum())
            for ids in forms("red", reader.processor.tokenizer, spaced=True)
        ]
    assert len(each) == 4 and np.log(found.probabilities[0]) == pytest.approx(max(each), abs=1e-4)
    assert end_tokens(reader.model) and found.pieces.shape[1] == found.words[-1][-1] + 2  # the end comes last


def test_what_a_chat_template_begins_with_is_not_put_there_twice(tiny_reader):
    reader = tiny_reader("gemma3")
    tokenizer = reader.processor.tokenizer
    ids = reader.inputs([Image.new("RGB", (40, 30))], "what?")["input_ids"][0].tolist()
    assert tokenizer("what?")["input_ids"][0] == tokenizer.bos_token_id == ids[0]
    assert ids.count(tokenizer.bos_token_id) == 1
