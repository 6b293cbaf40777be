"""The image encoder of a checkpoint that answers, taken over by a model for another task."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from training.datasets.feature_cache import FeatureCache, mean_image_token, read_pixels
from training.datasets.readers.jsonl import RowWithPhoto
from training.run_config import IMAGE_SETTINGS, RunConfig
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.shared import shared_sha256
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.config import ValmConfig
from valm_core.learning.fine_tuning import SettingsError
from valm_core.model.build import build_task_model
from valm_core.model.encoders.encoder_layers import encoder_layers
from valm_core.model.encoders.fixed_convolutions import fix_depthwise
from valm_core.model.encoders.frozen_parts import learns
from valm_core.model.encoders.two_encoders import TwoEncoders
from valm_core.model.fusion.fused_encoders import FusedEncoders
from valm_core.model.model import ValmModel

FUSED_SETTINGS = (  # of a model that stands on ``FusedEncoders``
    *IMAGE_SETTINGS,
    *("task", "text_encoder", "train_text_encoder", "train_image_encoder", "learned_text_layers"),
    *("cell_side", "similarity", "fusion", "product", "width", "layers", "heads", "feed_forward_ratio", "dropout"),
    "max_question_tokens",
)


def model_to_train(
    run: RunConfig,
    config: ValmConfig,
    settings: Sequence[str],
    answers: Sequence[str] = (),
    shared: bool = False,
    start: ValmModel | None = None,
) -> TwoEncoders:
    """A fresh model for a task, with the image encoder of ``run.init`` where one is named; it then stays as it is.

    The last ``learned_text_layers`` of the text encoder learn.

    Args:
        run: names what to start from.
        config: what to build.
        settings: those of ``config`` that the task has; all else is for answering.
        answers: the labels, where the task has some.
        shared: whether checkpoints name the image encoder of ``run.init`` and don't store it.
        start: the model of ``run.init``, where it is loaded already.

    Raises:
        ValueError: the checkpoint's image encoder isn't the one that the config asks for.
    """
    config = ValmConfig(**{name: getattr(config, name) for name in settings})
    if not run.init:
        model = build_task_model(config, answers)
    else:
        start = start or load_checkpoint(run.init)
        check_image_side(start, config, run.init)
        learned = start.config.train_image_encoder
        if learned and shared:
            sha256 = shared_sha256(fetch_checkpoint(run.init))
            config = dataclasses.replace(config, image_encoder_of=run.init, image_encoder_of_sha256=sha256)
        elif learned:
            config = dataclasses.replace(config, train_image_encoder=True)
        model = build_task_model(config, answers, concepts=start.concepts)
        take_image_encoder(model, start)
    learn_text_layers(model, config.learned_text_layers)
    return model


def learn_text_layers(model: TwoEncoders, layers: int) -> None:
    """Let the last ``layers`` of the text encoder learn."""
    for layer in encoder_layers(model.text_encoder)[-layers:] if layers else ():
        layer.requires_grad_(True)


def check_image_side(start: ValmModel, config: object, init: str) -> None:
    """Refuse a config that asks for another image encoder than that of the checkpoint ``init``. Raises ValueError.

    How far photos are reduced before is free: it is no part of the encoder.
    """
    for name in (setting for setting in IMAGE_SETTINGS if setting != "photo_detail"):
        own, wanted = getattr(start.config, name), getattr(config, name)
        if own != wanted:
            raise ValueError(
                f"{name} is {wanted!r}, but the checkpoint {init} has {own!r}. Leave `{name}` out of the model "
                "section to take the checkpoint's."
            )


def take_image_encoder(model: TwoEncoders, start: ValmModel) -> None:
    """Give ``model`` the image encoder of ``start``; it stays as it is."""
    model.image_encoder.load_state_dict(start.image_encoder.state_dict())
    model.image_encoder.requires_grad_(False)


def learn_on(start: TwoEncoders, photo_detail: int) -> None:
    """Make a model that has learned ready to learn on: its encoders stay, photos are reduced as is asked for."""
    for encoder in (start.text_encoder, start.image_encoder):
        encoder.requires_grad_(False)
    start.photo_detail = photo_detail
    start.config = dataclasses.replace(start.config, photo_detail=photo_detail)


def learn_image_layers(model: TwoEncoders, layers: int) -> None:
    """Let the last ``layers`` of the image encoder learn, and what comes after them: matrices alone, that is linear
    layers and 1 × 1 convolutions. Norms, depthwise convolutions and concepts stay, so few photos can't spoil them.

    Raises:
        SettingsError: the encoder has fewer layers, or no matrices in them.
    """
    if not layers:
        return
    encoder, known = model.image_encoder, encoder_layers(model.image_encoder)
    if layers > len(known):
        raise SettingsError(
            f"learned_image_layers is {layers}, but {len(known)} layers of the image encoder can be told apart; "
            f"allowed: 0 to {len(known)}."
        )
    below = {part for layer in known[: len(known) - layers] for part in layer.modules()}
    matrices = [part for part in encoder.backbone.modules() if part not in below and _is_matrix(part)]
    if not matrices:
        raise SettingsError(
            f"learned_image_layers is {layers}, but no matrix is in these layers; take more of them, or 0."
        )
    for part in [*matrices, *([encoder.neck] if encoder.neck else [])]:
        part.requires_grad_(True)
    fix_depthwise(encoder.backbone)
    model.config = dataclasses.replace(model.config, train_image_encoder=True)


def _is_matrix(part: nn.Module) -> bool:
    pointwise = isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and part.groups == 1
    return pointwise or isinstance(part, nn.Linear)


def photo_inputs(model: TwoEncoders, files: list[Path], features: FeatureCache | None) -> dict[str, Tensor]:
    """Photos as the arguments of ``encode_photos``: encoded beforehand where they were, opened else."""
    if features and features.has_images:
        return {"image_tokens": features.image_tokens(files).to(model.device)}
    return {"pixels": torch.stack([read_pixels(model, file) for file in files]).to(model.device)}


def photos_seen(model: FusedEncoders, rows: Iterable[RowWithPhoto]) -> list[Path]:
    """The photo of every row that has one; none where the model sees none."""
    return [row.image for row in rows if row.image] if model.sees_photos else []


def remember_mean_photo(model: FusedEncoders, photos: Sequence[Path], features: FeatureCache | None = None) -> None:
    """Give a model the average token of the photos that it learns from, where there are some."""
    if photos:
        cached = features if features and features.has_images else None
        own = list(photos)
        model.mean_image_token.copy_(cached.mean_image_token(own) if cached else mean_image_token(model, own))


def encode_once(run: RunConfig, model: TwoEncoders, photos: list[Path], texts: list[str]) -> FeatureCache | None:
    """What frozen encoders give for photos and texts, from ``run.cache`` or into it; None where nothing is kept.

    Where the last layers of a packaged text encoder learn, those below them give it.
    """
    if not run.cache:
        return None
    above = model.config.learned_text_layers
    layered = above and not model.config.train_text_encoder and model.config.text_encoder.startswith("package:")
    photos = [] if learns(model.image_encoder) else photos
    texts = texts if layered or not learns(model.text_encoder) else []
    return FeatureCache(model, photos, texts, run.cache, above, model.grid) if photos or texts else None
