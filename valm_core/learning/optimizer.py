"""The optimizer of a run: which parameters take which steps."""

from typing import Any

import torch
from torch import nn

from valm_core.learning.training_config import SGD_MOMENTUM, TrainingConfig
from valm_core.model.adapters import is_adapter


def build_optimizer(objective: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over what learns, with the learning rates and the weight decay of the config."""
    groups = parameter_groups(objective, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=SGD_MOMENTUM)
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def parameter_groups(objective: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """Split what learns into groups: encoders, answer head or the rest, decayed (matrices) or not (biases, norms).

    Adapters belong to the rest wherever they sit: they start afresh and need more than an encoder's small steps.
    """
    rates = {"encoder": config.encoder_learning_rate, "head": config.head_learning_rate, "fusion": config.learning_rate}
    groups: dict[tuple[str, bool], list[Any]] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            part = name.removeprefix("model.")
            in_encoder = part.startswith(("text_encoder.", "image_encoder.")) and not is_adapter(name)
            kind = "head" if part.startswith("head.") else "encoder" if in_encoder else "fusion"
            decayed = parameter.ndim > 1 and ".ia3_l." not in name  # a factor that decays would switch its layer off
            groups.setdefault((kind, decayed), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rates[kind] or config.learning_rate,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (kind, decayed), parameters in groups.items()
    ]
