"""The baselines that bi-attention is compared with: they read both streams, ignore padding, and have its size."""

import subprocess
import sys

import pytest
import torch

from training import baselines  # noqa: F401, adds them to FUSIONS
from valm_core.config import ValmConfig
from valm_core.fusion import FUSIONS

NAMES = ["pooled_product", "one_glimpse", "deep_co_attention"]


def tokens():
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    return torch.randn(2, 5, 32), mask, torch.randn(2, 6, 32)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_and_both_streams_count(name):
    fusion = FUSIONS[name](ValmConfig(width=32, layers=2, heads=4)).eval()
    text, mask, image = tokens()
    fused = fusion(text, mask, image, (2, 3)).fused
    assert fused.shape == (2, 32)
    padded = torch.where(mask[..., None], text, 9.0)
    assert torch.allclose(fusion(padded, mask, image, (2, 3)).fused, fused, atol=1e-5)
    assert not torch.allclose(fusion(text, mask, image + torch.randn_like(image), (2, 3)).fused, fused, atol=1e-2)
    assert not torch.allclose(fusion(text + torch.randn_like(text), mask, image, (2, 3)).fused, fused, atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_poolings_sum_to_one_and_leave_padding_out(name):
    text, mask, image = tokens()
    found = FUSIONS[name](ValmConfig(width=32, layers=1, heads=4)).eval()(text, mask, image, (2, 3))
    assert torch.allclose(found.text_pooling.sum(1), torch.ones(2)) and torch.all(found.text_pooling[~mask] == 0)
    assert torch.allclose(found.image_pooling.sum(1), torch.ones(2))


def test_deep_co_attention_of_ratio_three_has_the_size_of_bi_attention_of_ratio_two():
    sizes = [
        sum(weight.numel() for weight in FUSIONS[name](ValmConfig(width=128, feed_forward_ratio=ratio)).parameters())
        for name, ratio in (("deep_co_attention", 3.0), ("bi_attention", 2.0))
    ]
    assert max(sizes) < 1.05 * min(sizes)


def test_the_app_does_not_know_them():
    code = "import demo.interface; from valm_core.fusion import FUSIONS; print(sorted(FUSIONS))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "['bi_attention', 'concatenation', 'dual_tower']"
