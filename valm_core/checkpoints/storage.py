"""Models in checkpoint folders: saving, loading, and which tensors a folder holds. The one place that sees folders."""

import json
import tempfile
from pathlib import Path
from typing import cast

from safetensors.torch import load_file, save_file
from torch import Tensor

from valm_core.checkpoints.atomic_files import replace_folder, whole_folder
from valm_core.checkpoints.checks import check_claims, check_files
from valm_core.checkpoints.contents import (
    ANSWERS_FILE,
    CARD_FILE,
    CONCEPTS_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_fingerprints,
    missing_file,
    write_fingerprints,
)
from valm_core.checkpoints.hub import fetch_checkpoint, push_folder
from valm_core.checkpoints.shared import take_shared_image_encoder
from valm_core.config import LABELLED_TASKS, ValmConfig
from valm_core.inputs.text import TwiceError, parse_json, read_text
from valm_core.model.build import build_model, build_task_model, stores_image_encoder, stores_text_encoder
from valm_core.model.encoders.encoder_layers import encoder_layers
from valm_core.model.encoders.folding import ready_for_inference
from valm_core.model.encoders.image_encoder import IMAGE_ENCODER_FOLDER
from valm_core.model.encoders.inference_bert import text_ready_for_inference
from valm_core.model.encoders.text_encoder import TEXT_ENCODER_FOLDER, TOKENIZER_FOLDER
from valm_core.model.encoders.two_encoders import TwoEncoders
from valm_core.model.model import ValmModel
from valm_core.model.tasks.captioner import CaptionModel
from valm_core.model.tasks.retrieval import RetrievalModel

AnyModel = ValmModel | TwoEncoders


def save_checkpoint(
    model: AnyModel,
    folder: str | Path,
    extra_files: dict[str, str] | None = None,
    half: bool = False,
) -> None:
    """Write a checkpoint folder; an existing one is replaced as a whole or not at all.

    Args:
        model: without adapters.
        folder: where to write ``config.json``, ``model.safetensors``, ``answers.json`` and, where the encoders
            aren't packaged, their configs and the tokenizer.
        extra_files: further text files by name, e.g. the model card.
        half: store float32 tensors as float16, at half the size.
    """
    with replace_folder(folder) as fresh:
        model.config.to_json(fresh / CONFIG_FILE)
        if model.config.task in LABELLED_TASKS:
            answers = json.dumps(model.answers, indent=0, ensure_ascii=False) + "\n"
            (fresh / ANSWERS_FILE).write_text(answers, encoding="utf-8")
        if model.concepts:
            (fresh / CONCEPTS_FILE).write_text(json.dumps(model.concepts, indent=0) + "\n", encoding="utf-8")
        state = stored_state(model).items()
        save_file(
            {
                name: (value.half() if half and value.is_floating_point() else value).contiguous()
                for name, value in state
            },
            fresh / WEIGHTS_FILE,
        )
        (fresh / WEIGHTS_FILE).chmod(0o644)  # safetensors makes it readable for its owner alone
        if stores_text_encoder(model.config):
            model.text_encoder.backbone.config.save_pretrained(fresh / TEXT_ENCODER_FOLDER)
            model.tokenizer.tokenizer.save_pretrained(fresh / TOKENIZER_FOLDER)
        if model.config.image_encoder.startswith("transformers:"):
            model.image_encoder.backbone.config.save_pretrained(fresh / IMAGE_ENCODER_FOLDER)
        for name, content in (extra_files or {}).items():
            (fresh / name).write_text(content, encoding="utf-8")
        write_fingerprints(fresh)


def load_checkpoint(name: str | Path, for_inference: bool = False) -> ValmModel:
    """Load a checkpoint, ready to answer. Strict: every tensor must be there, none more, each of its shape.

    Args:
        name: its folder, or ``user/model`` on the Hugging Face hub, see ``hub.fetch_checkpoint``.
        for_inference: make its encoders ready for inference on a CPU: loaded and computed faster, the same up to
            rounding; the model must then be neither trained nor saved.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing, or the hub didn't give it.
        ValueError: the checkpoint doesn't fit the config, or the packaged weights it was trained on, or its files
            were not written together, or it is for another task.
    """
    return cast(ValmModel, load_task_checkpoint(name, "answer", for_inference=for_inference))


def load_retrieval_checkpoint(name: str | Path, for_inference: bool = False) -> RetrievalModel:
    """Load a checkpoint that finds photos, ready to use. Arguments and errors as of ``load_checkpoint``."""
    return cast(RetrievalModel, load_task_checkpoint(name, "retrieval", for_inference=for_inference))


def load_caption_checkpoint(name: str | Path, for_inference: bool = False) -> CaptionModel:
    """Load a checkpoint that describes photos, ready to use. Arguments and errors as of ``load_checkpoint``."""
    return cast(CaptionModel, load_task_checkpoint(name, "caption", for_inference=for_inference))


def load_task_checkpoint(name: str | Path, *tasks: str, for_inference: bool = False) -> AnyModel:
    """Load a checkpoint of one of the tasks, ready to use. All else as of ``load_checkpoint``."""
    folder = whole_folder(fetch_checkpoint(name))
    if missing := missing_file(folder):
        raise FileNotFoundError(
            f"{folder} is no VALM checkpoint: {missing} is missing. Train one with "
            f"`python -m training.train --config training/configs/{_config_of(tasks[0])}`."
        )
    check_files(folder)
    try:
        config = ValmConfig.from_json(folder / CONFIG_FILE)
        answers = parse_json(read_text(folder / ANSWERS_FILE)) if config.task in LABELLED_TASKS else []
        concepts = parse_json(read_text(folder / CONCEPTS_FILE)) if config.concepts else []
    except (json.JSONDecodeError, UnicodeDecodeError, TwiceError) as error:
        raise ValueError(
            f"{folder} is damaged: {CONFIG_FILE} or {ANSWERS_FILE} is no JSON ({error}). Copy the checkpoint again."
        ) from error
    if config.task not in tasks:
        needed = " or ".join(map(repr, tasks))
        raise ValueError(f"{folder} is for the task {config.task!r}; a checkpoint for {needed} is needed here.")
    check_claims(folder, config, answers)
    if not isinstance(concepts, list) or not all(isinstance(name, str) for name in concepts):
        raise ValueError(f"{folder / CONCEPTS_FILE} must be a list of texts. Copy the checkpoint again.")
    try:
        model: AnyModel
        build = build_model if config.task == "answer" else build_task_model
        model = build(config, answers, checkpoint=folder, concepts=concepts, for_inference=for_inference)
    except (ValueError, OSError):
        raise
    except Exception as error:  # transformers and timm raise many kinds for configs that make no sense
        raise ValueError(f"{folder} names a model that can't be built: {error!r}. Copy it again.") from error
    load_stored_state(model, load_file(folder / WEIGHTS_FILE), str(folder / WEIGHTS_FILE))
    if isinstance(model, TwoEncoders):
        take_shared_image_encoder(model, folder)
    check_fingerprints(folder)  # the last: what is damaged was told more exactly above
    model.eval()
    if for_inference:
        ready_for_inference(model.image_encoder.backbone)
        model.text_encoder.backbone = text_ready_for_inference(model.text_encoder.backbone)
    return model


def _config_of(task: str) -> str:
    """The shipped config that trains a model for a task."""
    return "everyday.yaml" if task == "answer" else f"{task}.yaml"


def push_to_hub(model: ValmModel, name: str, private: bool = True, card: str | None = None, half: bool = False) -> str:
    """Upload a model to the Hugging Face hub as ``user/model``, and return the commit's address.

    The finished folder of a run has a card with figures: ``hub.push_folder`` uploads it as it is.

    Args:
        model: without adapters.
        name, private: see ``hub.push_folder``.
        card: Markdown with metadata; None writes one that names the parts.
        half: as for ``save_checkpoint``.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "checkpoint"
        save_checkpoint(model, folder, {CARD_FILE: card} if card else None, half)
        return push_folder(folder, name, private)


def stored_state(model: AnyModel) -> dict[str, Tensor]:
    """What a checkpoint holds: all tensors but those of frozen packaged encoders, which are named by their hash."""
    left_out, kept = [], []
    if not stores_text_encoder(model.config):
        left_out += ["text_encoder."]
        kept = _learned_text_layers(model)
    if model.config.image_encoder_of:
        left_out += ["image_encoder."]
    elif not stores_image_encoder(model.config):
        left_out += ["image_encoder.backbone."]
    return {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(tuple(kept)) or not name.startswith(tuple(left_out))
    }


def load_stored_state(model: AnyModel, stored: dict[str, Tensor], source: str) -> None:
    """Load what ``stored_state`` gave; half-precision tensors are widened to the model's own.

    Args:
        model: changed in place.
        stored: tensors by name.
        source: what they came from, for messages.

    Raises:
        ValueError: naming the missing, unexpected or misshapen tensors, or those with values that are no numbers.
    """
    expected = stored_state(model)
    faults = [f"{name} is missing" for name in expected.keys() - stored.keys()]
    faults += [f"{name} is unexpected" for name in stored.keys() - expected.keys()]
    faults += [
        f"{name} has shape {tuple(stored[name].shape)}, not {tuple(expected[name].shape)}"
        for name in expected.keys() & stored.keys()
        if stored[name].shape != expected[name].shape
    ]
    if faults:
        raise ValueError(f"{source} doesn't fit its config: {'; '.join(sorted(faults)[:5])} ({len(faults)} faults).")
    broken = [name for name, value in stored.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(
            f"{source} holds values that are no numbers (NaN or infinite), in {', '.join(sorted(broken)[:5])}. "
            "Take an earlier checkpoint of the run."
        )
    model.load_state_dict(stored, strict=False)


def _learned_text_layers(model: AnyModel) -> list[str]:
    """How the names of the tensors begin that belong to the last ``learned_text_layers`` of the text encoder."""
    count = model.config.learned_text_layers
    if not count:
        return []
    layers = encoder_layers(model.text_encoder)
    if count > len(layers):
        raise ValueError(f"learned_text_layers is {count}; allowed: 0 to {len(layers)}, as many as there are.")
    names = {module: name for name, module in model.named_modules()}
    return [f"{names[layer]}." for layer in layers[-count:]]
