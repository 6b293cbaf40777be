"""The graphs of a model that answers: an image encoder, a text encoder, and the fusion with all maps."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.export.writing import Graph, photo_inputs, text_inputs
from valm_core.checkpoints.facts import THRESHOLDS, read_thresholds
from valm_core.explanations.attention_maps import cross_modal_maps
from valm_core.explanations.attention_rollout import rollout_relevance
from valm_core.explanations.raw_attention import raw_relevance
from valm_core.explanations.relevance import rows_to_one
from valm_core.exported.model import MAP_OUTPUTS
from valm_core.model.model import ValmModel

MEAN_FILE = "mean_image_token.npy"


class FusionGraph(nn.Module):
    """Encoded text and photo -> logits, gate and maps, as plain tensors.

    Photos come as [B, rows, columns, D_image], so that one graph serves any grid, that of one cell for a blind answer
    included.
    """

    OUTPUTS = ("logits", "gate", "text_to_image", "image_to_text", *itertools.chain(*MAP_OUTPUTS.values()))

    def __init__(self, model: ValmModel):
        super().__init__()
        self.model = model

    def forward(self, text_tokens: Tensor, text_mask: Tensor, image_tokens: Tensor) -> tuple[Tensor, ...]:
        """The outputs named ``OUTPUTS``. Those of rollout are the first question's alone, with a batch axis of one."""
        grid = (image_tokens.shape[1], image_tokens.shape[2])
        cells = self.model.prepare(image_tokens.flatten(1, 2), grid)
        features = self.model.fuse(text_tokens, text_mask, cells, return_attention=True)
        text_to_image, image_to_text = cross_modal_maps(features)  # [B, L, H, T, N], [B, L, H, N, T]
        raw = raw_relevance(features, text_to_image, image_to_text)
        relevance, *between = rollout_relevance(features, self.model.has_glimpses)  # [T + N], [T, N] and [N, T]
        length = text_tokens.shape[1]
        rolled = (relevance[length:], relevance[:length], *between)
        logits = self.model.score(features, text_tokens, text_mask, cells)
        return logits, features.gate, text_to_image, image_to_text, *raw, *(rows_to_one(part)[None] for part in rolled)


class TextGraph(nn.Module):
    """Token ids [B, T] and mask [B, T] -> text tokens [B, T, D_text]."""

    def __init__(self, model: ValmModel):
        super().__init__()
        self.encoder = model.text_encoder

    def forward(self, token_ids: Tensor, text_mask: Tensor) -> Tensor:
        return self.encoder(token_ids, text_mask).tokens


def answering_graphs(model: ValmModel) -> dict[str, Graph]:
    """The three graphs. Batch size and question length are free in each, the photo's grid in the fusion."""
    length = min(5, model.config.max_question_tokens)
    questions, words, rows, columns = map(torch.export.Dim, ("questions", "words", "rows", "columns"))
    text_width, image_width = model.text_projection.in_features, model.mean_image_token.shape[-1]
    asked = {
        "text_tokens": (torch.randn(2, length, text_width), {0: questions, 1: words}),
        "text_mask": (torch.ones(2, length, dtype=torch.bool), {0: questions, 1: words}),
        "image_tokens": (torch.randn(2, 3, 4, image_width), {0: questions, 1: rows, 2: columns}),
    }
    return {
        "image_encoder": Graph(model.image_encoder, photo_inputs(model.config.image_size), ["image_tokens"]),
        "text_encoder": Graph(TextGraph(model), text_inputs(length), ["text_tokens"]),
        "fusion": Graph(FusionGraph(model), asked, FusionGraph.OUTPUTS),
    }


def answering_metadata(model: ValmModel, checkpoint: Path, folder: Path) -> dict[str, Any]:
    """What ``OnnxPredictor`` needs beside graphs and tokenizer; the average image token goes to the export's folder."""
    np.save(folder / MEAN_FILE, model.mean_image_token.numpy())
    return {
        "mean_image_token": MEAN_FILE,
        "temperature": model.config.temperature,
        THRESHOLDS: read_thresholds(checkpoint),
        "yes_no_temperature": model.config.yes_no_temperature,
    }
