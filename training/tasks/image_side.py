"""The image encoder of a checkpoint that answers, taken over by a model for another task."""

from pathlib import Path

import torch
from torch import Tensor

from training.datasets.feature_cache import FeatureCache, read_pixels
from valm_core.model.captioner import CaptionModel
from valm_core.model.model import ValmModel
from valm_core.model.retrieval import RetrievalModel

IMAGE_SETTINGS = ("image_encoder", "image_size", "image_stride", "cell_width", "concepts")


def check_image_side(start: ValmModel, config: object, init: str) -> None:
    """Refuse a config that asks for another image encoder than that of the checkpoint ``init``. Raises ValueError."""
    for name in IMAGE_SETTINGS:
        own, wanted = getattr(start.config, name), getattr(config, name)
        if own != wanted:
            raise ValueError(
                f"{name} is {wanted!r}, but the checkpoint {init} has {own!r}. Leave `{name}` out of the model "
                "section to take the checkpoint's."
            )


def take_image_encoder(model: RetrievalModel | CaptionModel, start: ValmModel) -> None:
    """Give ``model`` the image encoder of ``start``; it stays as it is."""
    model.image_encoder.load_state_dict(start.image_encoder.state_dict())
    model.image_encoder.requires_grad_(False)


def photo_inputs(
    model: RetrievalModel | CaptionModel, files: list[Path], features: FeatureCache | None
) -> dict[str, Tensor]:
    """Photos as the arguments of ``encode_photos``: encoded beforehand where they were, opened else."""
    if features and features.has_images:
        return {"image_tokens": features.image_tokens(files).to(model.device)}
    return {"pixels": torch.stack([read_pixels(model, file) for file in files]).to(model.device)}
