"""load_predictor: whatever a folder or hub name holds, as a ``Predictor``."""

from pathlib import Path

from valm_core.checkpoints.contents import CONFIG_FILE
from valm_core.checkpoints.hub import fetch_files, is_hub_name
from valm_core.devices import choose_device
from valm_core.exported.files import METADATA_FILE
from valm_core.exported.predictor import OnnxPredictor
from valm_core.inputs.text import parse_json, read_text
from valm_core.outputs import Predictor
from valm_core.predictor import VqaPredictor


def load_predictor(
    name: str | Path, device: str = "auto", prompt: str | None = None, calibration: str | Path | None = None
) -> Predictor:
    """Load a checkpoint, what ``training.export`` made of one, or an open vision-language model of transformers.

    An export is known by its ``metadata.json``, an open model by the ``model_type`` in its ``config.json``.

    To load an export without importing torch, call ``OnnxPredictor.from_checkpoint`` itself.

    Args:
        name: folder of the checkpoint or the export, or ``user/model`` on the Hugging Face hub.
        device: auto, cpu, cuda, mps; an export runs on the CPU.
        prompt: what an open model is asked, with ``{image}`` and ``{question}``; None takes its family's.
        calibration: of an open model, a file of ``training.calibrate``; None leaves its probabilities as they are.
            Both are refused for others.

    Raises:
        FileNotFoundError, ImportError, ValueError: see ``VqaPredictor.from_checkpoint`` and
            ``OnnxPredictor.from_checkpoint``.
    """
    exported = (Path(name) / METADATA_FILE).is_file()
    if not exported and is_open_model(name):
        from valm_core.vision_language.predictor import TransformersPredictor  # not above: most pages have none

        return TransformersPredictor.from_pretrained(name, choose_device(device), prompt, calibration)
    _check_open_settings(name, prompt, calibration)
    if not exported:
        return VqaPredictor.from_checkpoint(name, device)
    if device not in ("auto", "cpu"):
        raise ValueError(f"device is {device!r}, but exported models run on the CPU; use `auto` or `cpu`.")
    return OnnxPredictor.from_checkpoint(name)


def _check_open_settings(name: str | Path, prompt: str | None, calibration: str | Path | None) -> None:
    """Refuse what only open models read, for it would be passed over in silence. Raises ValueError."""
    for setting, value in (("prompt", prompt), ("calibration", calibration)):
        if value:
            raise ValueError(
                f"{setting} is {str(value)!r}, but {name} is a checkpoint of VALM, which is asked as it is and brings "
                f"its own calibration. Leave the {setting} out, or name an open model."
            )


def is_open_model(name: str | Path) -> bool:
    """Whether a folder or hub name is a model of transformers: its config.json has a ``model_type``, VALM's has none.

    Raises:
        FileNotFoundError: the hub didn't give it.
    """
    try:
        config = parse_json(read_text(fetch_files(name, (CONFIG_FILE,)) / CONFIG_FILE))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if is_hub_name(name):
            raise
        return False  # what is wrong with a checkpoint says who loads it
    return isinstance(config, dict) and "model_type" in config and "fusion" not in config
