"""The baselines that bi-attention is compared with: they read both streams, ignore padding, and have its size."""

import pytest
import torch

from training.experiments.baselines import BASELINES, allowed
from valm_core.config import ValmConfig
from valm_core.model.fusion.families import FUSIONS


def tokens():
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    return torch.randn(2, 5, 32), mask, torch.randn(2, 6, 32)


@pytest.mark.parametrize("name", BASELINES)
def test_padding_changes_nothing_and_both_streams_count(name):
    fusion = BASELINES[name](ValmConfig(width=32, layers=2, heads=4)).eval()
    text, mask, image = tokens()
    fused = fusion(text, mask, image, (2, 3)).fused
    assert fused.shape == (2, 32)
    padded = torch.where(mask[..., None], text, 9.0)
    assert torch.allclose(fusion(padded, mask, image, (2, 3)).fused, fused, atol=1e-5)
    assert not torch.allclose(fusion(text, mask, image + torch.randn_like(image), (2, 3)).fused, fused, atol=1e-2)
    assert not torch.allclose(fusion(text + torch.randn_like(text), mask, image, (2, 3)).fused, fused, atol=1e-2)


@pytest.mark.parametrize("name", BASELINES)
def test_poolings_sum_to_one_and_leave_padding_out(name):
    text, mask, image = tokens()
    found = BASELINES[name](ValmConfig(width=32, layers=1, heads=4)).eval()(text, mask, image, (2, 3))
    assert torch.allclose(found.text_pooling.sum(1), torch.ones(2)) and torch.all(found.text_pooling[~mask] == 0)
    assert torch.allclose(found.image_pooling.sum(1), torch.ones(2))


def test_deep_co_attention_of_ratio_three_has_the_size_of_bi_attention_of_ratio_two():
    deep = BASELINES["deep_co_attention"](ValmConfig(width=128, feed_forward_ratio=3.0))
    ours = FUSIONS["bi_attention"](ValmConfig(width=128, feed_forward_ratio=2.0))
    sizes = [sum(weight.numel() for weight in fusion.parameters()) for fusion in (deep, ours)]
    assert max(sizes) < 1.05 * min(sizes)


def test_a_config_may_name_them_only_while_they_are_allowed():
    before = dict(FUSIONS)
    with pytest.raises(KeyError), allowed():
        assert set(BASELINES) < set(FUSIONS)
        raise KeyError
    assert before == FUSIONS and not set(BASELINES) & set(FUSIONS)
