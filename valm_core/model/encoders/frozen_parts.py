"""Parts of a model that learn, and parts that are frozen."""

from torch import nn


def learns(module: nn.Module) -> bool:
    """Whether any parameter of a module is learning."""
    return any(parameter.requires_grad for parameter in module.parameters())


def keep_frozen_parts_in_evaluation(module: nn.Module, mode: bool) -> None:
    """Set training mode where something learns; what has frozen parameters alone stays in evaluation mode."""
    if not learns(module):
        module.eval()
        return
    module.training = mode
    for child in module.children():
        if next(child.parameters(), None) is None:  # dropout, activations: as what they belong to
            child.train(mode)
        else:
            keep_frozen_parts_in_evaluation(child, mode)
