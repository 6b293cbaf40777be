"""Which parts of a model learn: whole, its top layers, or small adapters of the peft library on its attention."""

import copy
import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from valm_core.checkpoints.atomic_files import recover_folder, replace_folder
from valm_core.checkpoints.contents import ANSWERS_FILE
from valm_core.model.attention import Attention
from valm_core.model.encoder_layers import encoder_layers
from valm_core.model.model import ValmModel, extend_answers

FINE_TUNING_MODES = ("frozen", "photo", "question", "full", "top_layers", "lora", "ia3")
LAYERED_MODES = ("question", "top_layers")
ADAPTER_MODES = ("lora", "ia3")
FULLY_TRAINED = ("head", "glimpses", "text_projection", "image_projection")  # beside the adapters
LORA_RANK, LORA_ALPHA, LORA_DROPOUT = 8, 16, 0.05


@dataclass(frozen=True)
class FineTuning:
    """What learns.

    Args:
        mode: one of ``FINE_TUNING_MODES``.
        layers: of ``top_layers``, how many layers of each encoder learn; of ``question``, of the text encoder; 0 in
            every other mode.
    """

    mode: str
    layers: int = 0


def parse_fine_tuning(text: str) -> FineTuning:
    """``frozen``, ``photo``, ``question:N``, ``full``, ``top_layers:N``, ``lora`` or ``ia3`` as a ``FineTuning``.

    - ``frozen``: projections, fusion and head learn; the encoders only where ``train_text_encoder`` or
      ``train_image_encoder`` of the model's config say so.
    - ``photo``: as ``frozen``, but a question head stays, where there is one: what reads the photo learns.
    - ``question:N``: the question head and the last N layers of the text encoder learn, nothing else.
    - ``full``: everything learns.
    - ``top_layers:N``: projections, fusion, head and the last N layers of each encoder learn.
    - ``lora``: low-rank updates of the attention of text encoder and fusion (Hu et al. 2022, arXiv 2106.09685); head
      and projections learn fully, all else is frozen.
    - ``ia3``: the same with a learned factor for each output of those layers (Liu et al. 2022, arXiv 2205.05638).

    Raises:
        ValueError: it is none of these.
    """
    mode, colon, count = text.partition(":")
    if mode in LAYERED_MODES and count.isdecimal() and int(count) > 0:
        return FineTuning(mode, int(count))
    if mode in FINE_TUNING_MODES and mode not in LAYERED_MODES and not colon:
        return FineTuning(mode)
    raise ValueError(
        f"fine_tuning is {text!r}; allowed: frozen, photo, question:N, full, top_layers:N (N at least 1, e.g. "
        "top_layers:2), lora, ia3."
    )


def prepare_fine_tuning(model: ValmModel, fine_tuning: FineTuning) -> None:
    """Freeze and unfreeze the parts of a model, or put adapters into it, in place.

    The config's ``train_text_encoder`` and ``train_image_encoder`` become true where an encoder is about to change, so
    that checkpoints hold its weights. Where one of them was true already it stays: the encoder has changed earlier.

    Raises:
        ValueError: an encoder has fewer layers than ``top_layers`` asks for, or the model carries adapters already.
    """
    if adapter_of(model) is not None:
        raise ValueError("The model carries adapters already. Call `merged` first.")
    encoders = {"text": model.text_encoder, "image": model.image_encoder}
    if fine_tuning.mode == "question" and model.question_head is None:
        raise ValueError(
            f"fine_tuning is {fine_tuning.mode!r}, but the model has no question head. Set `question_head: true`."
        )
    if fine_tuning.mode == "photo":
        if model.question_head is not None:
            model.question_head.requires_grad_(False)
    elif fine_tuning.mode == "question":
        model.requires_grad_(False)
        model.question_head.requires_grad_(True)
        nn.ModuleList(_top_layers("text", model.text_encoder, fine_tuning)).requires_grad_(True)
        count = max(fine_tuning.layers, model.config.learned_text_layers)
        if not model.config.train_text_encoder:
            model.config = dataclasses.replace(model.config, learned_text_layers=count)
    elif fine_tuning.mode == "full":
        model.requires_grad_(True)
        _will_change(model, text=True, image=True)
    elif fine_tuning.mode == "top_layers":
        chosen = {name: _top_layers(name, encoder, fine_tuning) for name, encoder in encoders.items()}
        for name, encoder in encoders.items():
            encoder.requires_grad_(False)
            nn.ModuleList(chosen[name]).requires_grad_(True)
        _will_change(model, text=True, image=True)
    elif fine_tuning.mode in ADAPTER_MODES:
        from peft import get_peft_model  # imported here: most runs don't need it

        model.requires_grad_(False)
        _attach(model, get_peft_model(model, _adapter_config(model, fine_tuning.mode)))


def adapter_of(model: ValmModel) -> nn.Module | None:
    """The ``peft.PeftModel`` around a model that carries adapters, else None."""
    return model.__dict__.get("_adapter")


def is_adapter(parameter: str) -> bool:
    """Whether the parameter of this name belongs to an adapter."""
    return ".lora_" in parameter or ".ia3_l." in parameter


def merged(model: ValmModel) -> ValmModel:
    """A plain copy with the adapters worked into the weights: same answers, saveable by ``save_checkpoint``.

    A model without adapters is returned as it is.
    """
    if adapter_of(model) is None:
        return model
    plain = copy.deepcopy(model)
    adapter = plain.__dict__.pop("_adapter")
    adapter.merge_and_unload()
    for module in plain.modules():  # what peft noted on the way
        for name in ("peft_config", "_is_hf_initialized"):
            module.__dict__.pop(name, None)
    plain.requires_grad_(False)
    return plain.eval()


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

    folder = recover_folder(folder)
    for name in ("adapter_config.json", "adapter_model.safetensors", ANSWERS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no VALM adapter: {name} is missing. Check the path.")
    answers = json.loads((folder / ANSWERS_FILE).read_text(encoding="utf-8"))
    known = len(model.answers)
    if answers[:known] != model.answers:
        raise ValueError(f"The adapters in {folder} belong to a model with another answer list. Load that one.")
    if answers[known:]:
        model = extend_answers(model, answers[known:])
    _attach(model, PeftModel.from_pretrained(model, str(folder), is_trainable=True, torch_device=str(model.device)))
    return model.eval()


def _attach(model: ValmModel, adapter: nn.Module) -> None:
    """Note the peft model on the model that it wraps, past nn.Module: as a submodule it would hold its own parent."""
    model.__dict__["_adapter"] = adapter
    _will_change(model, text=True)


def _will_change(model: ValmModel, text: bool = False, image: bool = False) -> None:
    config = model.config
    model.config = dataclasses.replace(
        config,
        train_text_encoder=config.train_text_encoder or text,
        learned_text_layers=0 if text else config.learned_text_layers,
        train_image_encoder=config.train_image_encoder or image,
    )


def _adapter_config(model: ValmModel, mode: str):
    """The peft config: every linear layer of the attention of text encoder and fusion, by its full name."""
    from peft import IA3Config, LoraConfig

    targets = [
        name
        for name, module in model.text_encoder.named_modules(prefix="text_encoder")
        if isinstance(module, nn.Linear) and re.search("attention|attn", name, re.IGNORECASE)
    ]
    for name, module in model.fusion.named_modules(prefix="fusion"):
        if isinstance(module, Attention):
            targets += [f"{name}.{part}" for part, child in module.named_children() if isinstance(child, nn.Linear)]
    # Layer by layer: peft can't merge (IA)³ where a whole nn.Sequential is trained beside it.
    whole = [
        name
        for part in FULLY_TRAINED
        if getattr(model, part) is not None
        for name, module in getattr(model, part).named_modules(prefix=part)
        if isinstance(module, nn.Linear)
    ]
    if mode == "ia3":
        return IA3Config(target_modules=targets, feedforward_modules=[], modules_to_save=whole)
    return LoraConfig(
        r=LORA_RANK,
        lora_alpha=LORA_ALPHA,
        lora_dropout=LORA_DROPOUT,
        target_modules=targets,
        modules_to_save=whole,
    )


def _top_layers(name: str, encoder: nn.Module, fine_tuning: FineTuning) -> list[nn.Module]:
    layers, mode, count = encoder_layers(encoder), fine_tuning.mode, fine_tuning.layers
    if count > len(layers):
        raise ValueError(
            f"fine_tuning is '{mode}:{count}', but the {name} encoder has {len(layers)} layers that can be told "
            f"apart; allowed: {f'{mode}:1' if layers else 'frozen, full, lora, ia3'}"
            f"{f' to {mode}:{len(layers)}' if len(layers) > 1 else ''}."
        )
    return layers[-count:]
