"""How a config becomes a model: the one place that knows what its settings mean."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from valm_core.config import ValmConfig
from valm_core.inputs.question import QuestionTokenizer
from valm_core.model.build_tasks import TASK_MODELS
from valm_core.model.encoders.concepts import ConceptHead
from valm_core.model.encoders.image_encoder import ImageEncoder, build_image_encoder
from valm_core.model.encoders.packages import PACKAGES
from valm_core.model.encoders.text_encoder import (
    TextEncoder,
    build_text_encoder,
    build_tokenizer,
    pretrained_for_inference,
)
from valm_core.model.encoders.two_encoders import Encoders, TwoEncoders
from valm_core.model.fusion.bi_attention import WordCellSimilarity
from valm_core.model.fusion.families import FUSIONS
from valm_core.model.heads import AnswerHead, Glimpses, QuestionHead
from valm_core.model.model import ValmModel
from valm_core.model.tasks.captioner import CaptionModel


def build_model(
    config: ValmConfig,
    answers: Sequence[str],
    checkpoint: Path | None = None,
    concepts: Sequence[str] = (),
    for_inference: bool = False,
) -> ValmModel:
    """A model with pretrained encoders, all else random, in training mode.

    Args:
        config: what to build.
        answers: the answer list, in the order of the logits, as shown to people.
        checkpoint: folder of a saved model whose weights the caller is about to load: encoders that it holds stay
            random.
        concepts: names of the concepts to look for, ``config.concepts`` of them.
        for_inference: see ``build_text_encoder``; the caller makes it ready.

    Raises:
        ValueError: the fusion or an encoder is unknown, an answer or concept is given twice or not at all, or packaged
            weights aren't those that the config names.
    """
    if config.fusion not in FUSIONS:
        raise ValueError(f"fusion is {config.fusion!r}; allowed: {', '.join(FUSIONS)}.")
    if not answers or len(set(answers)) != len(answers):
        raise ValueError("The answer list is empty or has duplicates; give each answer once.")
    _check_task(config, "answer")
    # Seeds give the same model as long as the parts are built in this order.
    config, tokenizer, text_encoder, image_encoder = _build_encoders(config, checkpoint, concepts, for_inference)

    text_projection = nn.Linear(text_encoder.width, config.width)
    image_projection = nn.Linear(image_encoder.feature_width, config.width)
    fusion = FUSIONS[config.fusion](config)
    similarity = (
        WordCellSimilarity(text_encoder.width, image_encoder.width, config.width) if config.similarity else None
    )
    glimpses = None
    if config.glimpse_width:
        sizes = QuestionHead.HIDDEN, image_encoder.width, config.width, config.heads
        glimpses = Glimpses(*sizes, config.glimpse_width, config.dropout)
    read = config.width if glimpses is None else glimpses.width
    head = AnswerHead(read, len(answers), config.dropout, hidden=2 * config.width)
    question_head = None
    if config.question_head:
        question_head = QuestionHead(text_encoder.width, len(answers), config.dropout)
        for parameter in head[-1].parameters():  # the photo adds nothing until something is learned from it
            nn.init.zeros_(parameter)

    packaged = config.text_encoder.startswith("package:")
    pretrained = pretrained_for_inference if for_inference else build_text_encoder
    model = ValmModel(
        answers,
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        image_encoder=image_encoder,
        text_projection=text_projection,
        image_projection=image_projection,
        fusion=fusion,
        head=head,
        similarity=similarity,
        glimpses=glimpses,
        question_head=question_head,
        dropout=config.dropout,
        concepts=concepts,
        pretrained_text_encoder=functools.partial(pretrained, config.text_encoder) if packaged else None,
    )
    reconfigure(model, config)
    return model


def reconfigure(model: ValmModel, config: ValmConfig) -> None:
    """Give a model, of parts that ``config`` fits, what it reads of the config, and the config as its note."""
    model.config = config
    model.image_size, model.photo_detail = config.image_size, config.photo_detail
    model.temperature, model.yes_no_temperature = config.temperature, config.yes_no_temperature
    model.neutral_yes_no, model.learned_text_layers = config.neutral_yes_no, config.learned_text_layers


def build_task_model(
    config: ValmConfig,
    answers: Sequence[str] = (),
    checkpoint: Path | None = None,
    concepts: Sequence[str] = (),
    for_inference: bool = False,
) -> TwoEncoders:
    """The model of a task beside answering, with pretrained encoders, all else random, in training mode.

    Arguments as of ``build_model``; ``answers`` are the labels, for tasks that have some (``LABELLED_TASKS``).

    Raises:
        ValueError: as ``build_model`` does for encoders and concepts, or there is no such model.
    """
    if config.task not in TASK_MODELS:
        raise ValueError(f"task is {config.task!r}; allowed here: {', '.join(TASK_MODELS)}.")
    config, tokenizer, text_encoder, image_encoder = _build_encoders(config, checkpoint, concepts, for_inference)
    encoders = Encoders(tokenizer, text_encoder, image_encoder, config.image_size, config.photo_detail, tuple(concepts))
    model = TASK_MODELS[config.task](config, encoders, answers)
    model.config = config
    return model


def build_caption_model(
    config: ValmConfig, checkpoint: Path | None = None, concepts: Sequence[str] = ()
) -> CaptionModel:
    """A model that describes photos. Arguments and errors as of ``build_task_model``."""
    _check_task(config, "caption")
    return cast(CaptionModel, build_task_model(config, (), checkpoint, concepts))


def _check_task(config: ValmConfig, task: str) -> None:
    if config.task != task:
        raise ValueError(f"task is {config.task!r}, but a model for {task!r} is needed. Change `task` in the config.")


def _build_encoders(
    config: ValmConfig, checkpoint: Path | None, concepts: Sequence[str], for_inference: bool
) -> tuple[ValmConfig, QuestionTokenizer, TextEncoder, ImageEncoder]:
    """What reads texts and photos, learning as the config says, and the config with the hashes of packaged weights."""
    if len(set(concepts)) != config.concepts:
        raise ValueError(f"concepts is {config.concepts}, but {len(set(concepts))} different names are given.")
    config = dataclasses.replace(
        config,
        text_encoder_sha256=_checked_sha256(config.text_encoder, config.text_encoder_sha256),
        image_encoder_sha256=_checked_sha256(config.image_encoder, config.image_encoder_sha256),
    )
    stored_text = checkpoint if stores_text_encoder(config) else None
    tokenizer = QuestionTokenizer(build_tokenizer(config.text_encoder, stored_text), config.max_question_tokens)
    text_encoder = build_text_encoder(config.text_encoder, stored_text, for_inference)
    image_encoder = _build_image_encoder(config, checkpoint, text_encoder.width)
    if image_encoder.concept_head is not None and checkpoint is None:  # else about to be loaded
        image_encoder.concept_head.embeddings.copy_(_name_embeddings(tokenizer, text_encoder, concepts))
    text_encoder.requires_grad_(config.train_text_encoder)
    image_encoder.requires_grad_(config.train_image_encoder)
    return config, tokenizer, text_encoder, image_encoder


def stores_text_encoder(config: ValmConfig) -> bool:
    """Whether a checkpoint holds the text encoder's weights: all but frozen packaged ones, which have their sha256."""
    return config.train_text_encoder or not config.text_encoder.startswith("package:")


def stores_image_encoder(config: ValmConfig) -> bool:
    """Whether a checkpoint holds the image encoder's weights, as for the text encoder."""
    return config.train_image_encoder or not config.image_encoder.startswith("package:")


def _build_image_encoder(config: ValmConfig, checkpoint: Path | None, embedding_width: int) -> ImageEncoder:
    """The image encoder with its concept head and its neck, where the config has them."""
    stored = checkpoint if stores_image_encoder(config) else None
    encoder = build_image_encoder(config.image_encoder, config.image_size, stored, config.image_stride)
    if config.concepts:
        encoder.concept_head = ConceptHead(encoder.backbone_width, config.concepts, embedding_width)
    if config.cell_width:
        encoder.add_neck(config.cell_width)
    return encoder


@torch.no_grad()
def _name_embeddings(tokenizer: QuestionTokenizer, encoder: TextEncoder, names: Sequence[str]) -> Tensor:
    """Text embeddings [len(names), D_text] of names of things, as long as the encoder's own token vectors."""
    encoder.eval()
    parts = [tokenizer(list(names[first : first + 100])) for first in range(0, len(names), 100)]
    embeddings = torch.cat([encoder.embed(*part) for part in parts])
    # As exact as a checkpoint in half precision stores it, so that fresh and saved models encode photos alike.
    return (embeddings * encoder.width**0.5).half().float()


def _checked_sha256(source: str, recorded: str) -> str:
    """The sha256 of a packaged encoder ("" for others); it must equal the recorded one where there is one."""
    package = PACKAGES.get(source.removeprefix("package:")) if source.startswith("package:") else None
    current = package.sha256 if package else ""
    if recorded and recorded != current:
        raise ValueError(
            f"The checkpoint was trained on {source} with sha256 {recorded}, but here it is {current or 'unknown'}. "
            "Install the package version that the checkpoint was trained on, or train again."
        )
    return current
