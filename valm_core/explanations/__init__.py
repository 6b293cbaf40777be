"""Explanation methods: each says where the model looked, as an ``Explanation``. One method a file."""

from valm_core.explanations.raw_attention import raw_attention

EXPLANATION_METHODS = {"raw_attention": raw_attention}
DEFAULT_METHOD = "raw_attention"
