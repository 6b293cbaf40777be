"""Multi-head attention that can hand out its weights, the feed-forward block, and attention pooling."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

    Queries come from one sequence, keys and values from another; pass the same one twice for self-attention.

    Args:
        width: size of every token, a multiple of ``heads``.
        heads: number of attention heads.
        dropout: probability of dropping an attention weight, only while training.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(
        self,
        query: Tensor,
        context: Tensor,
        context_mask: Tensor | None = None,
        return_weights: bool = False,
        masked_heads: Sequence[int] = (),
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Let every query token read from the context tokens.

        Args:
            query: [B, T, D].
            context: [B, N, D].
            context_mask: [B, N], True where a token is real; None when all are. Padding gets weight 0.
            return_weights: compute the softmax explicitly and return it. The result is the same up to rounding;
                the fused kernel that runs otherwise is faster and never materialises the weights.
            masked_heads: heads that add nothing, as if pruned (Michel et al. 2019, https://arxiv.org/abs/1905.10650).
            bias: [B, H, T, N], added to the scores before the softmax; only with ``return_weights``.

        Returns:
            The attended tokens [B, T, D], and the weights [B, H, T, N] (rows sum to 1) or None.
        """
        q = self._split_heads(self.query(query))  # [B, H, T, D/H]
        k, v = (self._split_heads(part) for part in self.key_value(context).chunk(2, dim=-1))  # [B, H, N, D/H]
        mask = None if context_mask is None else context_mask[:, None, None, :]  # [B, 1, 1, N]
        dropout = self.dropout if self.training else 0.0

        if return_weights:
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # [B, H, T, N]
            if bias is not None:
                scores = scores + bias
            if mask is not None:
                scores = scores.masked_fill(~mask, float("-inf"))
            weights = scores.softmax(dim=-1)
            attended = F.dropout(weights, dropout) @ v
        else:
            weights = None
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        if masked_heads:
            attended = attended.index_fill(1, torch.tensor(masked_heads, device=attended.device), 0.0)
        return self.output(attended.transpose(1, 2).flatten(2)), weights  # [B, T, D]

    def _split_heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, T, D] -> [B, H, T, D/H]


class FeedForward(nn.Sequential):
    """The position-wise block of a transformer layer: widen by ``ratio``, GELU, dropout, narrow again."""

    def __init__(self, width: int, ratio: float = 4.0, dropout: float = 0.0):
        hidden = int(width * ratio)
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))


def mean_token(tokens: Tensor, mask: Tensor) -> Tensor:
    """The mean [B, D] of the real tokens of ``tokens`` [B, T, D] under ``mask`` [B, T]."""
    return (tokens * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


class AttentionPooling(nn.Module):
    """Reduce a sequence to one vector by a learned weighting of its tokens (Yang et al. 2016, NAACL N16-1174)."""

    def __init__(self, width: int):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pool ``tokens`` [B, T, D] under ``mask`` [B, T] to a vector [B, D]; also returns the weights [B, T]."""
        scores = self.score(tokens).squeeze(-1)  # [B, T]
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        weights = scores.softmax(dim=-1)
        return torch.einsum("bt,btd->bd", weights, tokens), weights
