"""A CNN made ready for inference: batch norms folded away, 1 x 1 convolutions as matrix products. Same numbers."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


class _Tracer(torch.fx.Tracer):
    """Keeps convolutions and batch norms whole, those of timm that bring padding or activation included."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(module, qualified_name)


class PointwiseConvolution(nn.Module):
    """A 1 x 1 convolution as a matrix product over the channels, which needs no copy of a channels-last tensor.

    On one thread torch takes its slow, channels-first path for such convolutions of fewer than 16 photos.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.register_buffer("weight", convolution.weight.detach().flatten(1).contiguous())  # [D_out, D]
        self.register_buffer("bias", None if convolution.bias is None else convolution.bias.detach())

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, D, rows, columns] -> [B, D_out, rows, columns], both channels-last."""
        return F.linear(pixels.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


def ready_for_inference(network: nn.Module) -> None:
    """Change an image network in place so that it answers faster, the same up to rounding.

    Afterwards its state has other names and values: it must be neither trained nor saved.

    Args:
        network: in evaluation mode; one without convolutions stays as it is.
    """
    fold_batch_norms(network)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d) and _is_pointwise(module):
            network.set_submodule(name, PointwiseConvolution(module))


def fold_batch_norms(network: nn.Module) -> int:
    """Fold every batch norm that alone reads a convolution into it, in place; for inference only.

    Afterwards the network's state has other names and values, so it must be neither trained nor saved. The order is
    that of the data, found by tracing; a network that can't be traced stays as it is.

    Args:
        network: in evaluation mode.

    Returns:
        How many batch norms are gone.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception:  # control flow that depends on the data raises many kinds; then there is nothing to fold
        return 0
    modules = dict(network.named_modules())
    folded = 0
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        before = node.args[0]
        is_convolution = before.op == "call_module" and isinstance(modules[before.target], nn.Conv2d)
        norm = modules[node.target]
        if not is_convolution or len(before.users) > 1 or norm.running_mean is None or norm.training:
            continue
        if sum(other.target in (node.target, before.target) for other in graph.nodes) > 2:
            continue  # a module that is used twice
        fused = fuse_conv_bn_eval(modules[before.target], norm)
        network.set_submodule(before.target, fused.to(memory_format=torch.channels_last))
        network.set_submodule(node.target, _after_norm(norm))
        folded += 1
    return folded


def _is_pointwise(convolution: nn.Conv2d) -> bool:
    same = convolution.kernel_size == convolution.stride == (1, 1) and convolution.groups == 1
    return same and convolution.padding in ((0, 0), 0, "same", "valid")


def _after_norm(norm: nn.BatchNorm2d) -> nn.Module:
    """What a batch norm does besides: timm's hold the activation (and dropout, which is off in evaluation)."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()
