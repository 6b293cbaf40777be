"""From a folder or hub name to a reader: which family it is, how much memory it takes, its model and processor."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch

from valm_core.checkpoints.contents import CONFIG_FILE
from valm_core.checkpoints.fingerprints import fingerprint
from valm_core.checkpoints.hub import fetch_files, is_hub_name
from valm_core.model.encoders.packages import sha256_of
from valm_core.vision_language.attention_rows import ROWS
from valm_core.vision_language.families import FAMILIES, UNKNOWN
from valm_core.vision_language.memory import choose_precision, free_memory, parameters_in
from valm_core.vision_language.reader import Reader
from valm_core.vision_language.sequence import SequenceReader

# What transformers reads of such a model: no pickles, no code.
PATTERNS = ("*.json", "*.jinja", "*.safetensors", "*.txt", "tokenizer.model", "*.tiktoken")


def model_type_of(folder: Path) -> str | None:
    """The ``model_type`` of a folder's config.json; None where it has none, as VALM's own checkpoints."""
    try:
        found = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def fetch_model(name: str | Path, device: torch.device) -> Path:
    """The folder of a model: ``name`` itself, or what the hub has, in the local cache.

    Raises:
        FileNotFoundError: the hub didn't give it.
        ValueError: it doesn't fit in the memory of ``device``; told before gigabytes are fetched.
    """
    if is_hub_name(name) and (parameters := _parameters_on_hub(str(name))):
        choose_precision(str(name), parameters, device, free_memory(device))
    return fetch_files(name, PATTERNS)


def _parameters_on_hub(name: str) -> int:
    """How many parameters a model of the hub has, by the headers of its files; 0 where the hub can't be asked."""
    from huggingface_hub import HfApi

    repository, _, revision = name.partition("@")
    try:
        found = HfApi().get_safetensors_metadata(repository, revision=revision or None)
    except Exception:  # of any kind: offline it may be in the cache, and else the one who fetches it says what is wrong
        return 0
    return sum(found.parameter_count.values())


def load_reader(folder: Path, device: torch.device, name: str = "", prompt: str | None = None) -> Reader:
    """Load the model of a folder, in the precision that its device asks for; code that comes with it is never run.

    Args:
        folder: with config.json, safetensors files and the processor's files.
        device: where it computes.
        name: for people; the folder's by default.
        prompt: in place of the family's, with ``{image}`` and ``{question}``.

    Raises:
        FileNotFoundError, ValueError, ImportError: it isn't such a model, doesn't fit in memory, or needs a package.
    """
    if prompt and not ("{image}" in prompt and "{question}" in prompt):
        raise ValueError(f"The prompt is {prompt!r}; it needs {{image}} and {{question}}, once each.")
    kind = model_type_of(folder)
    if kind is None:
        raise ValueError(f"{folder} has no {CONFIG_FILE} with a model_type: it is no model of transformers.")
    name = name or folder.name
    dtype, four_bit, line = choose_precision(name, parameters_in(folder), device, free_memory(device))
    logging.getLogger("valm").info("%s", line)
    family = FAMILIES.get(kind, UNKNOWN)
    if family.reads == "labels":
        from valm_core.vision_language.labels import LabelReader

        return LabelReader(folder, device, dtype)
    if family.reads == "questions":
        from valm_core.vision_language.questions import QuestionReader

        return QuestionReader(folder, device, dtype)
    return SequenceReader(
        _sequence_model(folder, device, dtype, four_bit),
        load_processor(folder),
        family,
        prompt,
    )


def facts_of(folder: Path, reader: Reader) -> dict[str, str | float]:
    """What a report must say of a model: what it is, its files and its precision."""
    weights = sorted(folder.glob("*.safetensors"))
    sha256 = sha256_of(weights[0]) if len(weights) == 1 else fingerprint([*map(_ends_of, weights)])
    revision = folder.name if folder.parent.name == "snapshots" else ""
    facts: dict[str, str | float] = {
        "checkpoint": folder.parent.parent.name if revision else folder.resolve().name,
        "checkpoint_sha256": sha256,
        "model_fingerprint": sha256,
        "family": reader.title,
        "model_type": str(model_type_of(folder)),
        "parameters": float(parameters_in(folder)),
        "precision": str(reader.model.dtype).removeprefix("torch."),
        "probabilities": "not calibrated",
        "prompt": getattr(reader, "asked", ""),
        "prompt_without_template": reader.asks,
    }
    return facts | ({"revision": revision} if revision else {})


def _ends_of(file: Path) -> list[str | int]:
    """Name, size, first and last megabyte (as a hash) of one of several files: all of them take minutes to read."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        first = opened.read(2**20)
        opened.seek(max(size - 2**20, 0))
        return [file.name, size, hashlib.sha256(first + opened.read()).hexdigest()]


def _sequence_model(folder: Path, device: torch.device, dtype: torch.dtype, four_bit: bool) -> Any:
    from transformers import AutoModelForImageTextToText

    settings: dict[str, Any] = {}
    if four_bit:
        from transformers import BitsAndBytesConfig

        settings = {
            "quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype),
            "device_map": {"": device},
        }
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, attn_implementation=ROWS, trust_remote_code=False, **settings
        )
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder} is no model that answers questions about photos with text: {reason}") from error
    if not four_bit:
        model.to(device)
    return model.eval().requires_grad_(False)


def load_processor(folder: Path) -> Any:
    """The processor of a folder.

    SmolVLM's own needs the package num2words for videos; without it, Idefics3's does the same for photos.
    """
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, Idefics3Processor

    if model_type_of(folder) != "smolvlm" or _can_read_videos(folder):
        return AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    settings: dict[str, Any] = {}
    path = folder / "processor_config.json"
    if path.is_file():
        settings = json.loads(path.read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    template = folder / "chat_template.jinja"
    older = folder / "chat_template.json"
    chat = getattr(tokenizer, "chat_template", None)
    if template.is_file():
        chat = template.read_text(encoding="utf-8")
    elif older.is_file():
        chat = json.loads(older.read_text(encoding="utf-8"))["chat_template"]
    return Idefics3Processor(
        AutoImageProcessor.from_pretrained(folder, trust_remote_code=False),
        tokenizer,
        image_seq_len=settings.get("image_seq_len", 169),
        chat_template=chat,
    )


def _can_read_videos(folder: Path) -> bool:
    import importlib.util

    return importlib.util.find_spec("num2words") is not None and any(folder.glob("*video*"))
