"""The fusion families by their names in a config, and how each is built."""

from collections.abc import Callable
from typing import Any

from valm_core.config import ValmConfig
from valm_core.model.fusion.bi_attention import BiAttentionFusion
from valm_core.model.fusion.concatenation import ConcatenationFusion
from valm_core.model.fusion.dual_tower import DualTowerFusion

Fusion = BiAttentionFusion | ConcatenationFusion | DualTowerFusion


def build_bi_attention(config: ValmConfig) -> BiAttentionFusion:
    """Build the bi-attention family from a config."""
    return BiAttentionFusion(**layer_sizes(config), product=config.product, similarity=config.similarity)


def build_concatenation(config: ValmConfig) -> ConcatenationFusion:
    """Build the concatenation family from a config; its gate is the pooling itself."""
    return ConcatenationFusion(**layer_sizes(config))


def build_dual_tower(config: ValmConfig) -> DualTowerFusion:
    """Build the dual-tower family from a config."""
    return DualTowerFusion(**layer_sizes(config))


def layer_sizes(config: ValmConfig) -> dict[str, Any]:
    """The sizes of a family's layers, as their constructors name them."""
    return {
        "width": config.width,
        "layers": config.layers,
        "heads": config.heads,
        "feed_forward_ratio": config.feed_forward_ratio,
        "dropout": config.dropout,
    }


FUSIONS: dict[str, Callable[[ValmConfig], Fusion]] = {
    "bi_attention": build_bi_attention,
    "concatenation": build_concatenation,
    "dual_tower": build_dual_tower,
}
