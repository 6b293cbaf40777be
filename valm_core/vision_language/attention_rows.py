"""Attention of chosen queries only: the rest is computed as SDPA does, so that maps of large models fit in memory.

A full attention map of 30 layers x 16 heads over 1,500 tokens takes 4 GB; the rows of 20 tokens take 58 MB. Set as
``attn_implementation`` (``ROWS``), the function here computes what SDPA does, and within ``collecting`` also the rows
of the selected queries, as the softmax that eager attention would give, with gradients where they are on.

Source: transformers' attention interface, https://huggingface.co/docs/transformers/attention_interface
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask

ROWS = "valm_rows"


@dataclass
class Collector:
    """What is collected in one pass: of each of ``modules``, in the order they ran, the rows of ``queries``.

    ``queries`` None takes all rows. ``rows`` holds one [1, H, Q, keys] a module.
    """

    modules: frozenset[int]  # their id()
    queries: Tensor | None
    gradients: bool = False
    rows: list[Tensor] = field(default_factory=list)


_collectors: ContextVar[tuple[Collector, ...]] = ContextVar("valm_attention_collectors", default=())


@contextmanager
def collecting(
    modules: Sequence[nn.Module], queries: Tensor | None = None, gradients: bool = False
) -> Iterator[Collector]:
    """Within the block, and in this thread only, keep the rows of some queries of attention modules.

    Args:
        modules: the attention modules, or what contains them.
        queries: [Q] places in the sequence of one example; None for all.
        gradients: whether a score will be differentiated by the rows, though the model's parameters are frozen.
    """
    inside = frozenset(id(part) for module in modules for part in module.modules())
    collector = Collector(inside, queries, gradients)
    token = _collectors.set((*_collectors.get(), collector))
    try:
        yield collector
    finally:
        _collectors.reset(token)


def softmax_rows(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None,
    softcap: float | None,
    places: Tensor,
    causal: bool,
) -> Tensor:
    """The attention weights [1, H, Q, K] of the queries at ``places``, as eager attention computes them.

    Args:
        module: the attention module, for its head groups.
        query: [1, H, T, d].
        key: [1, H_kv, K, d].
        attention_mask: of SDPA, True or 0 where a key is seen; None for all, or all that came before.
        scaling, softcap: as transformers hands them on.
        places: [Q] of the queries.
        causal: whether a query sees only what came before where there is no mask.
    """
    key = repeat_kv(key, query.shape[1] // key.shape[1])
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query[:, :, places], key.transpose(2, 3)) * scaling  # [1, H, Q, K]
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    lowest = torch.finfo(scores.dtype).min
    if attention_mask is not None:
        mask = attention_mask[..., : key.shape[2]]
        mask = mask.expand(*mask.shape[:2], query.shape[2], mask.shape[3])[:, :, places]
        scores = scores.masked_fill(~mask, lowest) if mask.dtype == torch.bool else scores + mask
    elif causal:
        keys = torch.arange(key.shape[2], device=places.device)
        seen = keys[None] <= places[:, None] + (key.shape[2] - query.shape[2])
        scores = scores.masked_fill(~seen, lowest)
    return scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)


def rows_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """SDPA's output; what a collector asks for is computed beside it, and takes its place, so that gradients pass.

    Returns:
        [B, T, H, d], and None for the weights, as SDPA's function of transformers does.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    arguments = (module, query, key, attention_mask, scaling, softcap)
    if softcap is not None:  # SDPA has none: every row as eager attention does it
        everything = torch.arange(query.shape[2], device=query.device)
        weights = softmax_rows(*arguments, everything, causal)
        output = torch.matmul(weights, repeat_kv(value, query.shape[1] // value.shape[1])).transpose(1, 2).contiguous()
    else:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs
        )
    for collector in _collectors.get():
        if id(module) not in collector.modules:
            continue
        everything = torch.arange(query.shape[2], device=query.device)
        places = everything if collector.queries is None else collector.queries.to(query.device)
        rows = softmax_rows(*arguments, places, causal)  # [1, H, Q, K]
        if collector.gradients and not rows.requires_grad:  # the first layer; what follows depends on it
            rows = rows.detach().requires_grad_()
        collector.rows.append(rows)
        if collector.gradients:
            read = torch.matmul(rows, repeat_kv(value, query.shape[1] // value.shape[1]))  # [1, H, Q, d]
            output = output.index_copy(1, places, read.transpose(1, 2).to(output.dtype))
    return output, None


AttentionInterface.register(ROWS, rows_attention_forward)
ALL_MASK_ATTENTION_FUNCTIONS.register(ROWS, sdpa_mask)
