"""Which parts of a model learn: whole, its top layers, or small adapters of the peft library on its attention."""

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch import nn

from valm_core.model.adapters import adapter_of, attach_adapter, will_change
from valm_core.model.build import reconfigure
from valm_core.model.encoders.encoder_layers import encoder_layers
from valm_core.model.fusion.attention import Attention
from valm_core.model.heads import QuestionHead
from valm_core.model.model import ValmModel

if TYPE_CHECKING:
    from peft import PeftConfig

FINE_TUNING_MODES = ("frozen", "photo", "question", "full", "top_layers", "lora", "ia3")
LAYERED_MODES = ("question", "top_layers")
ADAPTER_MODES = ("lora", "ia3")
FULLY_TRAINED = ("head", "glimpses", "text_projection", "image_projection")  # beside the adapters
LORA_RANK, LORA_ALPHA, LORA_DROPOUT = 8, 16, 0.05


class SettingsError(ValueError):
    """Settings that are allowed alone but don't fit together, or don't fit the model: others may do."""


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
        SettingsError: an encoder has fewer layers than ``top_layers`` asks for, or there is no question head.
        ValueError: the model carries adapters already.
    """
    if adapter_of(model) is not None:
        raise ValueError("The model carries adapters already. Call `merged` first.")
    encoders = {"text": model.text_encoder, "image": model.image_encoder}
    if fine_tuning.mode == "question" and model.question_head is None:
        raise SettingsError(
            f"fine_tuning is {fine_tuning.mode!r}, but the model has no question head. Set `question_head: true`."
        )
    if fine_tuning.mode == "photo":
        if model.question_head is not None:
            model.question_head.requires_grad_(False)
    elif fine_tuning.mode == "question":
        model.requires_grad_(False)
        cast(QuestionHead, model.question_head).requires_grad_(True)
        nn.ModuleList(_top_layers("text", model.text_encoder, fine_tuning)).requires_grad_(True)
        count = max(fine_tuning.layers, model.config.learned_text_layers)
        if not model.config.train_text_encoder:
            reconfigure(model, dataclasses.replace(model.config, learned_text_layers=count))
    elif fine_tuning.mode == "full":
        model.requires_grad_(True)
        will_change(model, text=True, image=True)
    elif fine_tuning.mode == "top_layers":
        chosen = {name: _top_layers(name, encoder, fine_tuning) for name, encoder in encoders.items()}
        for name, encoder in encoders.items():
            encoder.requires_grad_(False)
            nn.ModuleList(chosen[name]).requires_grad_(True)
        will_change(model, text=True, image=True)
    elif fine_tuning.mode in ADAPTER_MODES:
        from peft import get_peft_model  # imported here: most runs don't need it

        model.requires_grad_(False)
        attach_adapter(model, get_peft_model(model, _adapter_config(model, fine_tuning.mode)))


def _adapter_config(model: ValmModel, mode: str) -> "PeftConfig":
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
        raise SettingsError(
            f"fine_tuning is '{mode}:{count}', but the {name} encoder has {len(layers)} layers that can be told "
            f"apart; allowed: {f'{mode}:1' if layers else 'frozen, full, lora, ia3'}"
            f"{f' to {mode}:{len(layers)}' if len(layers) > 1 else ''}."
        )
    return layers[-count:]
