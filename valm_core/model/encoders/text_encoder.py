"""Text encoders: token ids -> one vector a token, from any transformers text model or packaged weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from valm_core.model.encoders.encoder_layers import encoder_layers
from valm_core.model.encoders.frozen_parts import learns
from valm_core.model.encoders.inference_bert import BertSkeleton, is_plain, text_ready_for_inference
from valm_core.model.encoders.packages import PACKAGES, packaged_file
from valm_core.outputs import EncodedText

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_FOLDER = "tokenizer"
TEXT_ENCODER_FOLDER = "text_encoder"
STORED = {"local_files_only": True, "trust_remote_code": False}  # a checkpoint is data: nothing fetched, nothing run


class TextEncoder(nn.Module):
    """A transformers text model (BERT family) reduced to what VALM needs.

    Args:
        backbone: a model whose output has ``last_hidden_state`` [B, T, width] and ``hidden_states``.
    """

    backbone: Any  # to mypy, an attribute of a module is a tensor or a module, and this one has a config
    width: int

    def __init__(self, backbone: "PreTrainedModel | nn.Module"):
        super().__init__()
        self.backbone = backbone
        self.width = self.backbone.config.hidden_size

    def forward(self, token_ids: Tensor, mask: Tensor) -> EncodedText:
        """token_ids [B, T] and mask [B, T] (True where real) -> tokens [B, T, width]."""
        output = self.backbone(input_ids=token_ids, attention_mask=mask.long(), output_hidden_states=True)
        return EncodedText(output.last_hidden_state, mask, output.hidden_states[-2], token_ids)

    def read(
        self,
        mask: Tensor,
        token_ids: Tensor | None = None,
        tokens: Tensor | None = None,
        lower_tokens: Tensor | None = None,
        above: int = 0,
    ) -> Tensor:
        """The tokens [B, T, width] of texts under mask [B, T], which come in one of three ways.

        As token_ids [B, T], as ``tokens`` that are ready, or as ``lower_tokens`` of all layers but the last ``above``.

        Raises:
            ValueError: none of them is given.
        """
        if tokens is not None:
            return tokens
        if lower_tokens is not None:
            return self.upper(lower_tokens, mask, above)
        if token_ids is None:
            raise ValueError("There is no text: give token_ids or text_tokens.")
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns(self)):
            return self(token_ids, mask).tokens

    def lower(self, token_ids: Tensor, mask: Tensor, above: int) -> Tensor:
        """What the layers below the last ``above`` make of token_ids [B, T]: [B, T, width], to go on with ``upper``."""
        output = self.backbone(input_ids=token_ids, attention_mask=mask.long(), output_hidden_states=True)
        return output.hidden_states[-1 - above]

    def upper(self, tokens: Tensor, mask: Tensor, above: int) -> Tensor:
        """What the last ``above`` layers make of ``lower``'s tokens [B, T, width]; of BERT's kind alone."""
        weight = next(self.parameters())
        bias = torch.zeros_like(mask, dtype=weight.dtype).masked_fill(~mask, torch.finfo(weight.dtype).min)
        tokens = tokens.to(weight.dtype)
        for layer in encoder_layers(self)[-above:]:
            tokens = layer(tokens, bias[:, None, None])  # [B, 1, 1, T]
        return tokens

    def embed(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """One unit vector [B, width] a text: the mean of its real tokens (Reimers & Gurevych 2019, D19-1410)."""
        encoded = self(token_ids, mask)
        summed = (encoded.tokens * mask[..., None]).sum(dim=1)
        return torch.nn.functional.normalize(summed, dim=-1)


def build_text_encoder(source: str, checkpoint: Path | None = None, for_inference: bool = False) -> TextEncoder:
    """Build the text encoder that ``source`` names, with pretrained weights.

    Args:
        source: ``package:NAME`` or ``transformers:NAME``.
        checkpoint: a saved VALM model that holds this encoder's config; then the weights stay random, to be loaded by
            the caller, and nothing is fetched from the hub.

    Raises:
        ValueError: the source isn't of a known kind.
    """
    if checkpoint is not None:
        config = AutoConfig.from_pretrained(checkpoint / TEXT_ENCODER_FOLDER, **STORED)
        return TextEncoder(AutoModel.from_config(config))
    location = _model_location(source)
    if source.startswith("package:"):
        config = AutoConfig.from_pretrained(location)
        weights = load_file(Path(location) / "model.safetensors")
        weights.pop("embeddings.position_ids", None)  # a constant that older versions of transformers saved
        backbone: nn.Module
        if for_inference and config.model_type == "bert" and is_plain(config):
            backbone = BertSkeleton(config)
            weights = {name: weight for name, weight in weights.items() if not name.startswith("pooler.")}
        else:
            backbone = AutoModel.from_config(config)
        backbone.load_state_dict(weights, assign=True)  # the file's own tensors: no second copy in memory
        return TextEncoder(backbone)
    return TextEncoder(AutoModel.from_pretrained(location))


def pretrained_for_inference(source: str) -> TextEncoder:
    """A packaged text encoder as it came, ready to read; it must be neither trained nor saved."""
    encoder = build_text_encoder(source, for_inference=True)
    encoder.backbone = text_ready_for_inference(encoder.backbone.eval())
    return encoder


def build_tokenizer(source: str, checkpoint: Path | None = None) -> "PreTrainedTokenizerBase":
    """The tokenizer that belongs to the text encoder ``source``, or the one saved in ``checkpoint``."""
    if checkpoint is not None:
        return AutoTokenizer.from_pretrained(checkpoint / TOKENIZER_FOLDER, **STORED)
    return AutoTokenizer.from_pretrained(_model_location(source))


def _model_location(source: str) -> str:
    """The folder or hub name behind a source."""
    kind, _, name = source.partition(":")
    if kind == "package" and name in PACKAGES:
        return str(packaged_file(name).parent)
    if kind == "transformers" and name:
        return name
    raise ValueError(
        f"text_encoder is {source!r}; allowed: `package:all-minilm-l6-v2` or `transformers:NAME` (hub or folder)."
    )
