"""BERT made ready for inference gives what transformers gives, and what is no plain BERT is left alone."""

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from valm_core.model.encoders.encoder_layers import encoder_layers
from valm_core.model.encoders.inference_bert import BertSkeleton, InferenceBert, text_ready_for_inference
from valm_core.model.encoders.text_encoder import TextEncoder, build_text_encoder, pretrained_for_inference

SIZE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 90}


def tiny_bert(**settings) -> BertModel:
    torch.manual_seed(0)
    return BertModel(BertConfig(**SIZE, **settings)).eval()


@pytest.mark.parametrize("lengths", [(9,), (1, 9, 4)])
def test_tokens_of_every_layer_stay(lengths):
    bert = tiny_bert()
    torch.nn.init.normal_(bert.encoder.layer[1].attention.self.key.bias)  # fresh ones are zero
    ids = torch.randint(5, 90, (len(lengths), max(lengths)))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    before, ready = TextEncoder(bert), TextEncoder(text_ready_for_inference(bert))
    assert isinstance(ready.backbone, InferenceBert)
    with torch.no_grad():
        expected, found = before(ids, mask), ready(ids, mask)
        upper = ready.upper(before.lower(ids, mask, 2), mask, 2)
    for part in ("tokens", "penultimate"):
        torch.testing.assert_close(getattr(found, part)[mask], getattr(expected, part)[mask], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(upper[mask], expected.tokens[mask], rtol=1e-5, atol=1e-5)
    assert len(encoder_layers(ready)) == 3


def test_the_packaged_encoder_becomes_ready():
    encoder = build_text_encoder("package:all-minilm-l6-v2").eval()
    ids, mask = torch.tensor([[101, 2054, 4111, 2003, 2023, 1029, 102]]), torch.ones(1, 7, dtype=torch.bool)
    with torch.no_grad():
        expected = encoder(ids, mask).tokens
        encoder.backbone = text_ready_for_inference(encoder.backbone)
        torch.testing.assert_close(encoder(ids, mask).tokens, expected, rtol=1e-4, atol=1e-5)
    assert isinstance(encoder.backbone, InferenceBert)


def test_the_skeleton_reads_as_transformers_own_model_does():
    whole, bare = (build_text_encoder("package:all-minilm-l6-v2", for_inference=bare).eval() for bare in (False, True))
    names = {name for name in whole.state_dict() if ".pooler." not in name and "position_ids" not in name}
    assert isinstance(bare.backbone, BertSkeleton) and bare.state_dict().keys() == names
    assert len(encoder_layers(bare)) == 6 and bare.width == 384
    bare.backbone = text_ready_for_inference(bare.backbone)
    ids = torch.tensor([[101, 2054, 4111, 2003, 2023, 1029, 102], [101, 4937, 102, 0, 0, 0, 0]])
    with torch.no_grad():
        expected, found = whole(ids, ids > 0), bare(ids, ids > 0)
        embedded = pretrained_for_inference("package:all-minilm-l6-v2").embed(ids, ids > 0)
    for part in ("tokens", "penultimate"):
        torch.testing.assert_close(
            getattr(found, part)[ids > 0], getattr(expected, part)[ids > 0], rtol=1e-4, atol=1e-5
        )
    torch.testing.assert_close(embedded, whole.embed(ids, ids > 0), rtol=1e-4, atol=1e-5)


def test_other_models_stay_as_they_are():
    distil = DistilBertModel(DistilBertConfig(dim=32, n_layers=1, n_heads=4, hidden_dim=48, vocab_size=90)).eval()
    decoder, other = tiny_bert(is_decoder=True), tiny_bert(hidden_act="relu")
    for backbone in (distil, decoder, other):
        assert text_ready_for_inference(backbone) is backbone
