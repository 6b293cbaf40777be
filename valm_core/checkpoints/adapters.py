"""Adapters in folders: saving what they, head and projections have learned, and putting it back onto a model."""

import json
from pathlib import Path

from valm_core.checkpoints.atomic_files import replace_folder, whole_folder
from valm_core.checkpoints.contents import ANSWERS_FILE
from valm_core.model.adapters import adapter_of, attach_adapter
from valm_core.model.model import ValmModel, extend_answers


def save_adapter(model: ValmModel, folder: str | Path) -> None:
    """Write what the adapters, head and projections have learned; an existing folder is replaced whole or not at all.

    The folder holds ``adapter_config.json`` and ``adapter_model.safetensors``, readable by
    ``peft.PeftModel.from_pretrained`` on the model that training started from, and the answer list.

    Raises:
        ValueError: the model carries no adapters.
    """
    adapter = adapter_of(model)
    if adapter is None:
        raise ValueError("The model carries no adapters. Use `save_checkpoint`, or set `fine_tuning` to lora or ia3.")
    with replace_folder(folder) as fresh:
        adapter.save_pretrained(str(fresh), save_embedding_layers=False)
        (fresh / "README.md").unlink(missing_ok=True)  # peft's empty form of a model card
        (fresh / "adapter_model.safetensors").chmod(0o644)  # safetensors makes it readable for its owner alone
        answers = json.dumps(model.answers, indent=0, ensure_ascii=False) + "\n"
        (fresh / ANSWERS_FILE).write_text(answers, encoding="utf-8")


def load_adapter(model: ValmModel, folder: str | Path) -> ValmModel:
    """Put saved adapters onto the model that their training started from.

    Args:
        model: changed in place, unless the adapters know more answers: then an extended copy is.
        folder: what ``save_adapter`` wrote.

    Returns:
        The model with adapters, in evaluation mode; ``merged`` makes a plain one of it. The photo that stands for an
        unseen one stays the base model's.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the adapters belong to a model with other answers.
    """
    from peft import PeftModel

    folder = whole_folder(folder)
    for name in ("adapter_config.json", "adapter_model.safetensors", ANSWERS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no VALM adapter: {name} is missing. Check the path.")
    answers = json.loads((folder / ANSWERS_FILE).read_text(encoding="utf-8"))
    known = len(model.answers)
    if answers[:known] != model.answers:
        raise ValueError(f"The adapters in {folder} belong to a model with another answer list. Load that one.")
    if answers[known:]:
        model = extend_answers(model, answers[known:])
    attach_adapter(
        model, PeftModel.from_pretrained(model, str(folder), is_trainable=True, torch_device=str(model.device))
    )
    return model.eval()
