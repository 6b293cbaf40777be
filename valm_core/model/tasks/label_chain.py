"""LabelChain: a linear-chain conditional random field that gives impossible sequences of labels no probability."""

import torch
from torch import Tensor, nn

IMPOSSIBLE = -1e4  # the score of a step that isn't allowed: no sum of learned scores comes near


class LabelChain(nn.Module):
    """Scores sequences of labels by each word's logits and by learned scores of neighbours.

    A conditional random field (Lafferty et al. 2001; over neural logits: Lample et al. 2016,
    https://arxiv.org/abs/1603.01360). The best sequence is found exactly (Viterbi), and never takes a step that isn't
    allowed.

    Args:
        allowed: [K + 1, K], True where the label of the column may follow that of the row; the last row is the
            beginning. Every label must have an allowed successor.
    """

    allowed: Tensor

    def __init__(self, allowed: Tensor):
        super().__init__()
        self.register_buffer("allowed", allowed, persistent=False)
        self.steps = nn.Parameter(torch.zeros(allowed.shape))  # [K + 1, K], as ``allowed``

    @property
    def scores(self) -> Tensor:
        """[K + 1, K], those of the steps."""
        return self.steps.float().masked_fill(~self.allowed, IMPOSSIBLE)

    def log_likelihood(self, logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The log-probability of whole sequences [B].

        Args:
            logits: [B, W, K].
            labels: [B, W], numbers of labels; anything where the mask is False.
            mask: [B, W], True for words, at the beginning of each row; each row has one at least.
        """
        return self.sequence_score(logits, labels, mask) - self.total(logits, mask)

    def sequence_score(self, logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The sum of a sequence's scores [B], of words and steps. Arguments as of ``log_likelihood``."""
        labels, scores = labels.masked_fill(~mask, 0), self.scores
        words = logits.float().gather(2, labels[..., None]).squeeze(2)  # [B, W]
        steps = scores[labels[:, :-1], labels[:, 1:]]  # [B, W - 1]
        return (words * mask).sum(dim=1) + scores[-1, labels[:, 0]] + (steps * mask[:, 1:]).sum(dim=1)

    def total(self, logits: Tensor, mask: Tensor) -> Tensor:
        """The logarithm of the summed exponentials [B] of the scores of all sequences."""
        logits, scores = logits.float(), self.scores
        reached = scores[-1] + logits[:, 0]  # [B, K]
        for place in range(1, logits.shape[1]):
            onward = torch.logsumexp(reached[:, :, None] + scores[:-1], dim=1) + logits[:, place]
            reached = torch.where(mask[:, place, None], onward, reached)
        return torch.logsumexp(reached, dim=1)

    @torch.no_grad()
    def best(self, logits: Tensor, mask: Tensor) -> Tensor:
        """The likeliest sequence of each row: numbers of labels [B, W], 0 where the mask is False."""
        logits, scores = logits.float(), self.scores
        reached, came_from = scores[-1] + logits[:, 0], []
        unmoved = torch.arange(logits.shape[2], device=logits.device)
        for place in range(1, logits.shape[1]):
            value, before = (reached[:, :, None] + scores[:-1]).max(dim=1)  # [B, K]
            real = mask[:, place, None]
            reached = torch.where(real, value + logits[:, place], reached)
            came_from.append(torch.where(real, before, unmoved))
        label = reached.argmax(dim=1)
        path = [label]
        for before in reversed(came_from):
            label = before.gather(1, label[:, None]).squeeze(1)
            path.append(label)
        return torch.stack(path[::-1], dim=1).masked_fill(~mask, 0)

    @torch.no_grad()
    def marginals(self, logits: Tensor, mask: Tensor) -> Tensor:
        """The probability of each label at each word [B, W, K], over all sequences (forward-backward)."""
        logits, scores, words = logits.float(), self.scores, logits.shape[1]
        forward = [scores[-1] + logits[:, 0]]
        for place in range(1, words):
            onward = torch.logsumexp(forward[-1][:, :, None] + scores[:-1], dim=1) + logits[:, place]
            forward.append(torch.where(mask[:, place, None], onward, forward[-1]))
        backward = [torch.zeros_like(forward[-1])]
        for place in range(words - 1, 0, -1):
            after = torch.logsumexp(scores[:-1] + (logits[:, place] + backward[-1])[:, None], dim=2)
            backward.append(torch.where(mask[:, place, None], after, backward[-1]))
        both = torch.stack(forward, dim=1) + torch.stack(backward[::-1], dim=1)
        return both.softmax(dim=-1) * mask[..., None]
