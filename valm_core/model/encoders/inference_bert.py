"""BERT made ready for inference: one matrix for queries, keys and values, and nothing between the layers. Same numbers.

A question is a dozen tokens long: most of what transformers' own forward pass takes for it is bookkeeping.
"""

import sys
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class EncodedTokens(NamedTuple):
    """What a text model of transformers returns, as far as ``TextEncoder`` reads it."""

    last_hidden_state: Tensor  # [B, T, D]
    hidden_states: tuple[Tensor, ...]  # of the embeddings and every layer, each [B, T, D]


def text_ready_for_inference(backbone: nn.Module) -> nn.Module:
    """A text model that answers as ``backbone`` does, up to rounding, and faster; it must be neither trained nor saved.

    Args:
        backbone: in evaluation mode; what is no plain BERT comes back as it is.
    """
    # Looked up, not imported: the module brings training libraries along.
    known = getattr(sys.modules.get("transformers.models.bert.modeling_bert"), "BertModel", None)
    if type(backbone) not in (BertSkeleton, known) or not is_plain(backbone.config):
        return backbone
    return InferenceBert(backbone).eval()


class BertSkeleton(nn.Module):
    """The parts of a BERT under the names that transformers gives them, to load weights into; it can't read yet.

    Args:
        config: a ``BertConfig``, one that ``is_plain``.
    """

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.embeddings = BertEmbeddings(config)
        layers = (_layer_parts(config) for _ in range(config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})


class BertEmbeddings(nn.Module):
    """What a BERT makes of token ids before its first layer."""

    word_embeddings: nn.Embedding
    position_embeddings: nn.Embedding
    token_type_embeddings: nn.Embedding

    def __init__(self, config: Any):
        super().__init__()
        width = config.hidden_size
        names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
        sizes = (config.vocab_size, config.max_position_embeddings, config.type_vocab_size)
        for name, size in zip(names, sizes, strict=True):  # empty: random numbers for all of them take a while
            self.add_module(name, nn.Embedding.from_pretrained(torch.empty(size, width), freeze=False))
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids [B, T] of one text each -> [B, T, D]."""
        beside = self.position_embeddings.weight[: input_ids.shape[1]] + self.token_type_embeddings.weight[0]
        return self.LayerNorm(self.word_embeddings(input_ids) + beside)


def _layer_parts(config: Any) -> nn.ModuleDict:
    width, wide = config.hidden_size, config.intermediate_size

    def back(size: int) -> nn.ModuleDict:
        return nn.ModuleDict({"dense": nn.Linear(size, width), "LayerNorm": nn.LayerNorm(width, config.layer_norm_eps)})

    read = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
    return nn.ModuleDict(
        {
            "attention": nn.ModuleDict({"self": read, "output": back(width)}),
            "intermediate": nn.ModuleDict({"dense": nn.Linear(width, wide)}),
            "output": back(wide),
        }
    )


def is_plain(config: object) -> bool:
    """Whether a config of BERT asks for nothing that ``InferenceBert`` lacks."""
    absolute = getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
    decodes = getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False)
    return absolute and not decodes and getattr(config, "hidden_act", "") == "gelu"


class InferenceBert(nn.Module):
    """The encoder of Devlin et al. 2019 (https://arxiv.org/abs/1810.04805), post-norm, without dropout and pooler.

    Args:
        bert: a ``BertSkeleton`` with weights or a ``BertModel`` of transformers, whose embeddings and norms it shares;
            what else it has is copied.
    """

    def __init__(self, bert: Any):
        super().__init__()
        self.config = bert.config
        self.embeddings = bert.embeddings
        heads = bert.config.num_attention_heads
        self.layer = nn.ModuleList(InferenceBertLayer(layer, heads) for layer in bert.encoder.layer)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, output_hidden_states: bool = True) -> EncodedTokens:
        """input_ids [B, T], attention_mask [B, T] (above 0 where a token is real) -> the tokens after every layer."""
        real = attention_mask > 0
        mask = None if bool(real.all()) else real[:, None, None]  # [B, 1, 1, T]
        states = [self.embeddings(input_ids=input_ids)]
        for layer in self.layer:
            states.append(layer(states[-1], mask))
        return EncodedTokens(states[-1], tuple(states))


class InferenceBertLayer(nn.Module):
    """One layer with its attention heads, of the weights of a ``BertLayer`` of transformers."""

    def __init__(self, layer: Any, heads: int):
        super().__init__()
        read = layer.attention.self
        self.heads = heads
        self.query_key_value = _in_one(read.query, read.key, read.value)
        self.output, self.output_norm = _in_one(layer.attention.output.dense), layer.attention.output.LayerNorm
        self.wide, self.narrow = _in_one(layer.intermediate.dense), _in_one(layer.output.dense)
        self.norm = layer.output.LayerNorm

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """tokens [B, T, D], mask [B, 1, 1, T] -> updated tokens."""
        joined = self.query_key_value(tokens).unflatten(-1, (3, self.heads, -1))  # [B, T, 3, H, D/H]
        query, key, value = joined.permute(2, 0, 3, 1, 4)  # each [B, H, T, D/H]
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
        tokens = self.output_norm(tokens + self.output(read))
        return self.norm(tokens + self.narrow(F.gelu(self.wide(tokens))))


def _in_one(*layers: nn.Linear) -> nn.Linear:
    """Layers that read the same, as one; its weights lie in memory as a product of few rows reads them fastest."""
    joined = nn.Linear(1, 1).requires_grad_(False)
    weight = torch.cat([layer.weight.detach() for layer in layers])  # [D_out, D]
    joined.weight.data = weight.T.contiguous().T
    joined.bias.data = torch.cat([layer.bias.detach() for layer in layers])
    joined.out_features, joined.in_features = weight.shape
    return joined
