"""The layers of an encoder, whatever library it comes from."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

LAYER_LISTS = ("blocks", "layer", "layers", "stages")  # what timm and transformers call them


def encoder_layers(encoder: nn.Module) -> list[nn.Module]:
    """The layers of a text or image encoder from input to output; [] where none are known.

    They are the entries of the outermost list called ``blocks``, ``layer``, ``layers`` or ``stages``, the children
    ``layer1``, ``layer2``, ... of a ResNet, or the children of a plain sequence. What comes before and after (stem,
    embeddings, last norm, pooler) is no layer, nor is what has no parameters.
    """
    backbone: Any = encoder.backbone
    if isinstance(backbone, nn.Sequential):
        return _with_parameters(backbone.children())
    lists = [
        (name.count("."), module)
        for name, module in backbone.named_modules()
        if name.rpartition(".")[2] in LAYER_LISTS and isinstance(module, nn.ModuleList | nn.Sequential)
    ]
    if lists:
        return _with_parameters(min(lists, key=lambda found: found[0])[1].children())
    return _with_parameters(
        module for name, module in backbone.named_modules() if re.fullmatch(r"(model\.)?layer\d+", name)
    )


def _with_parameters(modules: Iterable[nn.Module]) -> list[nn.Module]:
    return [module for module in modules if next(module.parameters(), None) is not None]
