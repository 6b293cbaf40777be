"""The objective of reading: the log-probability of where answers begin and end."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from valm_core.model.tasks.reader import ReadModel


@dataclass(frozen=True)
class ReadTerms:
    """The terms of the loss, scalars: ``task`` and ``total``, which are one."""

    task: Tensor
    total: Tensor


class ReadObjective(nn.Module):
    """A reader under the negative log-probability of beginning and end, each the sum over all places that are right.

    Args:
        model: what learns.
    """

    def __init__(self, model: ReadModel):
        super().__init__()
        self.model = model

    def forward(self, right: Tensor, **inputs: Tensor) -> ReadTerms:
        """right [R, 2, W], True where an answer begins and ends, and the arguments of ``ReadModel.forward``."""
        scores = self.model(**inputs)
        likely = scores.log_softmax(dim=-1).masked_fill(~right, float("-inf"))
        loss = -torch.logsumexp(likely, dim=-1).mean()
        return ReadTerms(loss, loss)
