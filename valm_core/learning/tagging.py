"""The objective of tagging: the log-probability of whole sequences of labels."""

from dataclasses import dataclass

from torch import Tensor, nn

from valm_core.model.tasks.tagger import TagModel


@dataclass(frozen=True)
class TagTerms:
    """The terms of the loss, scalars: ``task`` and ``total``, which are one."""

    task: Tensor
    total: Tensor


class TagObjective(nn.Module):
    """A tagger under the negative log-probability of its sentences' labels, a word.

    Args:
        model: what learns.
    """

    def __init__(self, model: TagModel):
        super().__init__()
        self.model = model

    def forward(self, labels: Tensor, word_mask: Tensor, **inputs: Tensor) -> TagTerms:
        """labels and word_mask [S, W], and the other arguments of ``TagModel.forward``."""
        logits = self.model(word_mask=word_mask, **inputs).logits
        likely = self.model.chain.log_likelihood(logits, labels, word_mask)  # [S]
        loss = -likely.sum() / word_mask.sum()
        return TagTerms(loss, loss)
