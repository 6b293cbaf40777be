"""Frozen depthwise convolutions: the same numbers and the same gradient as PyTorch's own, under the same names."""

import copy

import pytest
import torch
from torch import nn

from valm_core.model.encoders.fixed_convolutions import FixedDepthwise, fix_depthwise


def depthwise(kernel=3, dilation=1, **settings):
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(6, 6, kernel, padding=padding, dilation=dilation, groups=6, bias=False, **settings)
    return conv.requires_grad_(False)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("half", [False, True])
def test_numbers_and_gradient_are_pytorchs(kernel, dilation, half):
    torch.manual_seed(0)
    own = depthwise(kernel, dilation)
    fixed = copy.deepcopy(own)
    assert fix_depthwise(fixed) == 1
    results = []
    for conv in (own, fixed):
        pixels = torch.randn(2, 6, 7, 9, generator=torch.Generator().manual_seed(1), requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = conv(pixels)
        (output.float() * torch.arange(9.0)).sum().backward()
        results.append((output.detach().float(), pixels.grad))
    tolerance = 0.05 if half else 1e-5
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=tolerance * expected.abs().max().item(), rtol=0)
    assert fixed.state_dict().keys() == own.state_dict().keys()


def test_what_learns_or_changes_size_or_mixes_channels_stays_as_it_is():
    others = nn.Sequential(
        depthwise().requires_grad_(True),
        nn.Conv2d(6, 6, 3, padding=1, stride=2, groups=6, bias=False).requires_grad_(False),
        nn.Conv2d(6, 6, 3, groups=6, bias=False).requires_grad_(False),
        nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False).requires_grad_(False),
        nn.Conv2d(6, 6, 3, padding=1, groups=6).requires_grad_(False),
    )
    assert fix_depthwise(others) == 0
    assert not any(isinstance(part, FixedDepthwise) for part in others)
