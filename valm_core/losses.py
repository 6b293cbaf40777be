"""Training losses."""

from torch import Tensor
from torch.nn import functional as F


def answer_loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy between the predicted and the given answer distribution.

    Args:
        logits: [B, A].
        targets: [B, A], rows summing to 1 (one-hot where a question has one answer).
        label_smoothing: share of the target spread over all answers, 0..1 (Szegedy et al. 2016, arXiv 1512.00567).

    Returns:
        The mean over the batch, a scalar.
    """
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)
