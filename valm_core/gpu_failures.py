"""When a GPU runs out of memory or vanishes, the CPU takes over for good."""

import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from valm_core.checkpoints.storage import load_checkpoint
from valm_core.model.model import ValmModel


class OnDevice(Protocol):
    """What computes with a model on a device, and may have to move: ``VqaPredictor``."""

    model: ValmModel
    device: torch.device
    folder: str | Path | None  # the checkpoint that the model came from
    notice: str  # for people: why answers come more slowly now
    falling_back: threading.Lock


def on_cpu_when_gpu_fails(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same method of a predictor, done once more on the CPU where the GPU has no memory left or is gone."""

    @functools.wraps(method)
    def safe(self: OnDevice, *arguments: Any, **named: Any) -> Any:
        before = self.device
        try:
            return method(self, *arguments, **named)
        except RuntimeError as error:  # torch's two errors are such, and so is a model that another thread has moved
            with self.falling_back:  # which a thread holds that is moving the model
                moved = self.device != before
            if not moved:
                if before.type == "cpu" or not isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError):
                    raise
                fall_back_to_cpu(self, error)
        return method(self, *arguments, **named)

    return safe


def fall_back_to_cpu(predictor: OnDevice, error: Exception) -> None:
    """Put its model on the CPU. Raises what torch raises where the weights are lost and there is no checkpoint."""
    with predictor.falling_back:
        if predictor.device.type == "cpu":  # another thread did it meanwhile
            return
        full = isinstance(error, torch.OutOfMemoryError)
        predictor.notice = (
            f"The GPU {'ran out of memory' if full else 'stopped working'}; the CPU answers now, more slowly."
        )
        logging.getLogger("valm").error("%s Restart to use the GPU again.", predictor.notice, exc_info=error)
        try:
            model = predictor.model.to("cpu")
        except RuntimeError:  # the weights went with the GPU
            if predictor.folder is None:
                raise
            model = load_checkpoint(predictor.folder)
        # In this order: a thread that reads the new device finds the model there.
        predictor.model = model.eval()
        predictor.device = torch.device("cpu")
        predictor.__dict__.pop("answer_embeddings", None)
