"""Chosen rows of attention: equal to what eager attention gives, with its gradients, and nothing else is changed."""

import pytest
import torch
from PIL import Image
from tiny_vision_language import build_tiny_paligemma_2
from transformers import AutoModelForImageTextToText

from valm_core.vision_language.attention_rows import collecting
from valm_core.vision_language.families import FAMILIES
from valm_core.vision_language.loading import load_reader

WRITERS = [name for name, family in FAMILIES.items() if family.reads in ("sequence", "queries")]
QUERIES = torch.tensor([3, 7, -1])


@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_those_of_eager_attention(tiny_reader, tiny_folder, name):
    reader = tiny_reader(name)
    inputs = reader.inputs([Image.effect_noise((64, 48), 60).convert("RGB")], "what color is it?")
    length = inputs["input_ids"].shape[1]
    with torch.no_grad(), collecting([reader.model.get_decoder()], QUERIES % length) as rows:
        output = reader.model(**inputs, use_cache=False)
    eager = AutoModelForImageTextToText.from_pretrained(tiny_folder(name), attn_implementation="eager").eval()
    with torch.no_grad():
        expected = eager(**inputs, use_cache=False, output_attentions=True)
    torch.testing.assert_close(output.logits, expected.logits, atol=2e-4, rtol=1e-3)
    weights = getattr(expected, "attentions", None)
    if weights is None:  # BLIP-2 hands its language model's output on
        weights = expected.language_model_outputs.attentions
    assert len(rows.rows) == len(weights) == 2
    for ours, theirs in zip(rows.rows, weights, strict=True):
        torch.testing.assert_close(ours, theirs[:, :, QUERIES % length], atol=1e-5, rtol=1e-4)


def test_capped_scores_have_the_rows_of_eager_attention(tmp_path):
    """PaliGemma 2: SDPA caps no scores, so every row is computed as eager attention does."""
    folder = build_tiny_paligemma_2(tmp_path / "paligemma-2")
    reader = load_reader(folder, torch.device("cpu"))
    inputs = reader.inputs([Image.effect_noise((64, 48), 60).convert("RGB")], "what color is it?")
    with torch.no_grad(), collecting([reader.model.get_decoder()], QUERIES % inputs["input_ids"].shape[1]) as rows:
        output = reader.model(**inputs, use_cache=False)
    eager = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager").eval()
    assert eager.config.text_config.attn_logit_softcapping
    with torch.no_grad():
        expected = eager(**inputs, use_cache=False, output_attentions=True)
    torch.testing.assert_close(output.logits, expected.logits, atol=2e-4, rtol=1e-3)
    for ours, theirs in zip(rows.rows, expected.attentions, strict=True):
        torch.testing.assert_close(ours, theirs[:, :, rows.queries], atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_eager_attention(tiny_reader, tiny_folder):
    reader = tiny_reader("smolvlm")
    inputs = reader.inputs([Image.effect_noise((64, 48), 60).convert("RGB")], "what color is it?")
    everything = torch.arange(inputs["input_ids"].shape[1])
    with collecting([reader.model.get_decoder()], everything, gradients=True) as rows:
        score = reader.model(**inputs, use_cache=False).logits[0, -1].log_softmax(dim=-1)[5]
        slopes = torch.autograd.grad(score, rows.rows)
    eager = AutoModelForImageTextToText.from_pretrained(tiny_folder("smolvlm"), attn_implementation="eager").eval()
    expected = eager(**inputs, use_cache=False, output_attentions=True)
    theirs = torch.autograd.grad(expected.logits[0, -1].log_softmax(dim=-1)[5], expected.attentions)
    for ours, wanted in zip(slopes, theirs, strict=True):
        torch.testing.assert_close(ours, wanted, atol=1e-6, rtol=1e-3)


def test_nothing_is_collected_outside_of_the_block_or_of_other_modules(tiny_reader):
    reader = tiny_reader("smolvlm")
    inputs = reader.inputs([Image.new("RGB", (32, 32))], "what?")
    with torch.no_grad():
        with collecting([reader.model.lm_head]) as nothing, collecting([reader.model.get_decoder()]) as rows:
            reader.model(**inputs)
        reader.model(**inputs)
    assert nothing.rows == [] and len(rows.rows) == 2
