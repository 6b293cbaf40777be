"""Depthwise convolutions whose weights stay: their gradient by another forward convolution, many times as fast."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution of stride 1 that keeps its input's size; the gradient goes to the input alone."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor, dilation: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.dilation = dilation
        return _same_size(pixels, weight, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _same_size(gradients[0], weight.flip(2, 3), ctx.dilation), None, None


def _same_size(pixels: Tensor, weight: Tensor, dilation: tuple[int, int]) -> Tensor:
    return functional.conv2d(pixels, weight, None, 1, _padding(dilation, weight.shape[2:]), dilation, len(weight))


def _padding(dilation: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """What keeps the size: of rows and of columns."""
    return tuple(step * (side // 2) for step, side in zip(dilation, kernel, strict=True))


class FixedDepthwise(nn.Conv2d):
    """An ``nn.Conv2d`` of which ``fix_depthwise`` found that its weights stay."""

    def forward(self, input: Tensor) -> Tensor:
        """input [P, C, rows, columns] -> the same shape."""
        weight = self.weight
        if torch.is_autocast_enabled(input.device.type):
            dtype = torch.get_autocast_dtype(input.device.type)
            input, weight = input.to(dtype), weight.to(dtype)
        return _Depthwise.apply(input, weight, self.dilation)


def fix_depthwise(module: nn.Module) -> int:
    """Make every frozen depthwise convolution of stride 1 in ``module`` a ``FixedDepthwise``, in place.

    PyTorch's own gradient of a dilated one takes fifteen times as long as its forward pass on a CPU; a forward pass
    with the kernel turned round gives the same. Names and weights stay as they are.

    Returns:
        How many were changed.
    """
    changed = 0
    for part in module.modules():
        if type(part) is nn.Conv2d and _is_fixed_depthwise(part):
            part.__class__ = FixedDepthwise  # the same parameters and settings, another forward pass
            changed += 1
    return changed


def _is_fixed_depthwise(part: nn.Conv2d) -> bool:
    keeps_size = part.padding == _padding(part.dilation, part.kernel_size)
    odd = all(side % 2 for side in part.kernel_size)
    depthwise = part.groups == part.in_channels == part.out_channels > 1 and part.bias is None
    return depthwise and keeps_size and odd and part.stride == (1, 1) and not part.weight.requires_grad
