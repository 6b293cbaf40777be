"""Models that carry adapters of the peft library: noting them, finding them, working them into the weights."""

import copy
import dataclasses
from typing import TYPE_CHECKING

from valm_core.model.build import reconfigure
from valm_core.model.model import ValmModel

if TYPE_CHECKING:
    from peft import PeftModel


def adapter_of(model: ValmModel) -> "PeftModel | None":
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


def attach_adapter(model: ValmModel, adapter: "PeftModel") -> None:
    """Note the peft model on the model that it wraps, past nn.Module: as a submodule it would hold its own parent."""
    model.__dict__["_adapter"] = adapter
    will_change(model, text=True)


def will_change(model: ValmModel, text: bool = False, image: bool = False) -> None:
    """Note in the config that an encoder is about to change, so that checkpoints hold its weights."""
    config = model.config
    changed = dataclasses.replace(
        config,
        train_text_encoder=config.train_text_encoder or text,
        learned_text_layers=0 if text else config.learned_text_layers,
        train_image_encoder=config.train_image_encoder or image,
    )
    reconfigure(model, changed)
