"""The model, its trainer and its explanations. The version stands here and nowhere else."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valm_core.config import ValmConfig
    from valm_core.model.model import ValmModel
    from valm_core.predictor import VqaPredictor

__version__ = "0.1.0"
__all__ = ["ValmConfig", "ValmModel", "VqaPredictor", "__version__"]

MODULES = {
    "ValmConfig": "valm_core.config",
    "ValmModel": "valm_core.model.model",
    "VqaPredictor": "valm_core.predictor",
}


def __getattr__(name: str) -> Any:
    """Import what is named only once it is used: neither the version nor an export needs torch."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *MODULES})
