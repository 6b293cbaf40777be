"""An image encoder that several checkpoints share: one stores it, the others name it with its hash."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from valm_core.checkpoints.contents import WEIGHTS_FILE
from valm_core.model.encoders.two_encoders import TwoEncoders

PREFIX = "image_encoder."


def shared_sha256(folder: str | Path) -> str:
    """The hash of the image encoder that a checkpoint stores. Errors as of ``stored_image_encoder``."""
    return _sha256(stored_image_encoder(folder))


def stored_image_encoder(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of the image encoder that a checkpoint stores, by their names in it.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it stores no image encoder, or can't be read.
    """
    path = Path(folder) / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {folder}: {WEIGHTS_FILE} is missing.")
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118
            tensors = {name.removeprefix(PREFIX): file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}. Copy the checkpoint again.") from error
    if not any(name.startswith("backbone.") for name in tensors):
        raise ValueError(f"{folder} stores no image encoder, so it can't share one.")
    return tensors


def take_shared_image_encoder(model: TwoEncoders, folder: Path) -> None:
    """Give a model the image encoder that its config names, found by its hash.

    It is looked for in the checkpoint that the config names: beside ``folder``, then where the name leads; then in all
    others beside it.

    Args:
        model: changed in place; where it stores its own image encoder nothing happens.
        folder: its own checkpoint.

    Raises:
        ValueError: no checkpoint there has it.
    """
    name, sha256 = model.config.image_encoder_of, model.config.image_encoder_of_sha256
    if not name:
        return
    beside = folder.resolve().parent
    candidates = [
        beside / Path(name).name,
        Path(name),
        *sorted(path.parent for path in beside.glob(f"*/{WEIGHTS_FILE}")),
    ]
    for candidate in dict.fromkeys(candidates):
        try:
            tensors = stored_image_encoder(candidate)
        except (OSError, ValueError):
            continue
        if _sha256(tensors) == sha256:
            model.image_encoder.load_state_dict({key: value.float() for key, value in tensors.items()})
            return
    raise ValueError(
        f"{folder} shares the image encoder of the checkpoint {name} (sha256 {sha256[:12]}…), which is neither beside "
        "it nor there. Copy that checkpoint beside this one."
    )


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
