"""Text encoders: the packaged one is the official one, any transformers model fits, unknown sources are named."""

import pytest
import torch
from transformers import AutoModel

from valm_core.inputs.question import QuestionTokenizer
from valm_core.model.encoders.text_encoder import build_text_encoder, build_tokenizer

PACKAGED = "package:all-minilm-l6-v2"


def test_the_packaged_encoder_puts_like_meanings_together():
    encoder = build_text_encoder(PACKAGED).eval()
    tokenizer = QuestionTokenizer(build_tokenizer(PACKAGED), 32)
    with torch.no_grad():
        vectors = encoder.embed(*tokenizer(["a small dog", "a little puppy", "the stock market fell"]))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert vectors[0] @ vectors[1] > 0.6 > 0.2 > vectors[0] @ vectors[2]


def test_tokens_are_those_of_the_transformers_model(tiny_text_folder):
    source = f"transformers:{tiny_text_folder}"
    encoder = build_text_encoder(source).eval()
    ids, mask = QuestionTokenizer(build_tokenizer(source), 16)(["what color", "what color is the square"])
    reference = AutoModel.from_pretrained(tiny_text_folder).eval()
    expected = reference(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
    assert torch.equal(encoder(ids, mask).tokens, expected.last_hidden_state)
    assert torch.equal(encoder(ids, mask).penultimate, expected.hidden_states[-2])


def test_an_embedding_does_not_depend_on_padding(tiny_text_folder):
    source = f"transformers:{tiny_text_folder}"
    encoder, tokenizer = build_text_encoder(source).eval(), QuestionTokenizer(build_tokenizer(source), 16)
    together = encoder.embed(*tokenizer(["what color", "what color is the square there"]))
    torch.testing.assert_close(together[:1], encoder.embed(*tokenizer(["what color"])), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", ["bert-base-uncased", "package:efficientnet", "hub:bert", "transformers:"])
def test_an_unknown_source_is_named(source):
    with pytest.raises(ValueError, match=f"text_encoder is '{source}'"):
        build_text_encoder(source)
