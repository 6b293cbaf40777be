"""Attention against PyTorch's own, masks, pooling."""

import pytest
import torch
from torch import nn

from valm_core.model.fusion.attention import Attention, AttentionPooling


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return Attention(width=12, heads=3).eval()


@pytest.mark.parametrize("return_weights", [True, False])
def test_it_equals_torchs_multihead_attention(attention, return_weights):
    reference = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    reference.in_proj_weight.data = torch.cat([attention.query.weight, attention.key_value.weight]).data
    reference.in_proj_bias.data = torch.cat([attention.query.bias, attention.key_value.bias]).data
    reference.out_proj.load_state_dict(attention.output.state_dict())
    query, context = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    attended, weights = attention(query, context, mask, return_weights)
    expected, expected_weights = reference(query, context, context, key_padding_mask=~mask, average_attn_weights=False)
    torch.testing.assert_close(attended, expected)
    if return_weights:
        torch.testing.assert_close(weights, expected_weights)
    else:
        assert weights is None


def test_what_is_masked_has_no_influence(attention):
    query, context = torch.randn(1, 2, 12), torch.randn(1, 4, 12)
    mask = torch.tensor([[True, True, False, True]])
    before, _ = attention(query, context, mask)
    context[0, 2] = 1e3
    after, weights = attention(query, context, mask, return_weights=True)
    torch.testing.assert_close(before, after)
    assert (weights[..., 2] == 0).all()


def test_pooling_is_a_weighted_mean_of_the_real_tokens():
    torch.manual_seed(0)
    pooling, tokens = AttentionPooling(8), torch.randn(2, 4, 8)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    pooled, weights = pooling(tokens, mask)
    assert (weights[1, 2:] == 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    torch.testing.assert_close(pooled[1], weights[1, 0] * tokens[1, 0] + weights[1, 1] * tokens[1, 1])


def test_a_silent_head_adds_nothing(attention):
    width = attention.output.in_features
    generator = torch.Generator().manual_seed(3)
    query, context = torch.randn(2, 3, width, generator=generator), torch.randn(2, 5, width, generator=generator)
    usual = attention(query, context)[0]
    silenced = attention(query, context, masked_heads=[0])[0]
    torch.testing.assert_close(attention(query, context, None, True, [0])[0], silenced)
    assert not torch.allclose(usual, silenced)
    with torch.no_grad():
        attention.output.weight[:, : width // attention.heads] = 0  # the part of the output that reads the first head
    torch.testing.assert_close(attention(query, context)[0], silenced)
