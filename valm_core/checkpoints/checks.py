"""Checkpoints are data: before anything is built, what a folder may hold and whether its claims fit its weights."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from valm_core.checkpoints.contents import ANSWERS_FILE, CONFIG_FILE, WEIGHTS_FILE
from valm_core.config import ValmConfig

PROGRAMS = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".keras", ".py", ".so")
MAX_ANSWERS = 1_000_000
MAX_JSON_BYTES = 64 * 2**20
MAX_LAYERS = 256
MAX_NUMBER = 1_000_000
ENCODER_SIZES = {  # what transformers configs call them, and what stands for a missing one
    "hidden_size": 0,
    "num_hidden_layers": 0,
    "vocab_size": 0,
    "intermediate_size": 0,
    "max_position_embeddings": 0,
    "type_vocab_size": 0,
    "image_size": 0,
    "patch_size": 1,
    "num_channels": 3,
}
LAYERS = ("fusion.layers.", "layers.")  # of a model that answers, of one that describes
ENCODER_FOLDERS = ("text_encoder", "image_encoder")


def check_files(folder: Path) -> None:
    """Refuse a checkpoint folder with files that can run code when loaded, or that lead out of it.

    Raises:
        ValueError: naming the file and the reason.
    """
    inside = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":  # the Hugging Face hub's cache: links into the folder beside it
        inside.append(folder.resolve().parents[1] / "blobs")
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PROGRAMS:
            raise ValueError(
                f"{path} could run code when it is loaded. A VALM checkpoint is safetensors and JSON: delete that "
                "file, or get the checkpoint from someone you trust."
            )
        try:
            target = path.resolve(strict=path.is_symlink())
        except (
            OSError,
            RuntimeError,
        ) as error:  # a link to nothing or, before Python 3.13 as RuntimeError, in a circle
            raise ValueError(f"{path} is a link that leads nowhere. Put the file itself there.") from error
        if not any(target.is_relative_to(allowed) for allowed in inside):
            raise ValueError(f"{path} leads out of its checkpoint, to {target}. Put the file itself there.")
        if path.suffix == ".json" and path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"{path} has {path.stat().st_size} bytes; at most {MAX_JSON_BYTES} are read.")


def check_claims(folder: Path, config: ValmConfig, answers: object) -> None:
    """Refuse a config or answer list that the stored weights don't bear out, before memory is taken for them.

    Raises:
        ValueError: the weights can't be read, the answers are no list of texts, or the sizes differ.
    """
    if not isinstance(answers, list) or not all(isinstance(answer, str) and answer for answer in answers):
        raise ValueError(f"{folder / ANSWERS_FILE} must be a list of texts. Copy the checkpoint again.")
    if len(answers) > MAX_ANSWERS:
        raise ValueError(f"{folder / ANSWERS_FILE} has {len(answers)} answers; at most {MAX_ANSWERS} are allowed.")
    weights = folder / WEIGHTS_FILE
    try:
        with safe_open(weights, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{weights} is damaged or no safetensors file: {error}. Copy the checkpoint again.") from error
    named = [
        shapes[name] for name in ("text_norm.weight", "word_projection.bias", "memory_norm.weight") if name in shapes
    ]
    width = sum(named[0][:1]) if named else config.width  # a weight without any side has none
    stored_layers = {name.split("layers.")[1].split(".")[0] for name in shapes if name.startswith(LAYERS)}
    layers = len(stored_layers) or config.layers  # dual towers name theirs otherwise; strict loading compares those
    stated = {"width": (config.width, width), "layers": (config.layers, layers)}
    stated["vocabulary"] = config.vocabulary, sum(shapes.get("vocabulary", ())[:1])
    for name, (claimed, stored) in stated.items():
        if claimed != stored:
            raise ValueError(
                f"{weights} doesn't fit its config: {name} is {claimed} there and {stored} in the weights. "
                "Copy the whole checkpoint again."
            )
    # Every layer of every family has at least an attention (4 D x D) and a feed-forward (2 D x ratio D).
    least = config.layers * config.width**2 * (4 + 2 * config.feed_forward_ratio) * (config.fusion != "text")
    _check_size(least, weights, f"layers {config.layers}, width {config.width}, ratio {config.feed_forward_ratio}")
    if config.image_encoder.count(":") > 1:
        raise ValueError(f"image_encoder is {config.image_encoder!r}, an address; a checkpoint names models alone.")
    for name in ENCODER_FOLDERS:
        path = folder / name / CONFIG_FILE
        if path.is_file():
            _check_encoder(path, weights)


def _check_encoder(path: Path, weights: Path) -> None:
    """Refuse a transformers config whose sizes its weights don't bear out."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values = values.get("vision_config", values)
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        if (largest := max(numbers, key=lambda name: numbers[name], default=None)) and numbers[largest] > MAX_NUMBER:
            raise ValueError(f"{largest} is {numbers[largest]}, at most {MAX_NUMBER} is allowed")
        width, layers, words, inner, places, kinds, side, patch, channels = (
            int(numbers.get(name, default)) for name, default in ENCODER_SIZES.items()
        )
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no config of a model ({error}). Copy the checkpoint again.") from error
    patches = (side // max(patch, 1)) ** 2 + patch**2 * channels if side else 0
    least = width * (words + places + kinds + patches) + layers * (4 * width**2 + 2 * width * inner)
    _check_size(least, weights, f"in {path}, hidden_size {width}, num_hidden_layers {layers}, vocab_size {words}")
    if layers > MAX_LAYERS:
        raise ValueError(f"{path} has num_hidden_layers {layers}; at most {MAX_LAYERS} are allowed.")


def _check_size(least: float, weights: Path, claim: str) -> None:
    size = weights.stat().st_size
    if least > size:  # a byte a number, which is less than any format here takes
        raise ValueError(
            f"{weights} doesn't fit its config: {claim} need over {least / 2**20:.0f} MB, and it has "
            f"{size / 2**20:.1f} MB. Copy the whole checkpoint again."
        )
