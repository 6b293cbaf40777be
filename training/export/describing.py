"""The graphs of a model that describes photos: an image encoder, and a decoder that reads whole beginnings."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from training.export.writing import Graph, photo_inputs
from valm_core.model.tasks.captioner import CaptionModel


class CellsGraph(nn.Module):
    """Pixels [P, 3, S, S] -> keys and values of the cells for all layers, both [P, L, H, N, D/H]."""

    OUTPUTS = ("keys", "values")

    def __init__(self, model: CaptionModel):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs named ``OUTPUTS``."""
        keys, values = zip(*self.model.encode_photos(image_tokens=self.model.image_encoder(pixels)), strict=True)
        return torch.stack(keys, dim=1), torch.stack(values, dim=1)


class DecoderGraph(nn.Module):
    """Beginnings of B captions of one photo, with its cells -> what may come next, and what was read where.

    ``places`` [B, T], the first ``BEGIN``; ``keys`` and ``values`` [L, H, N, D/H]; ``hidden`` [B, N], True for cells
    that can't be read.
    """

    OUTPUTS = ("log_probabilities", "weights")

    def __init__(self, model: CaptionModel):
        super().__init__()
        self.model = model

    def forward(self, places: Tensor, keys: Tensor, values: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """Log-probabilities [B, T, V] of the piece after each; weights [B, T, N], the mean over layers and heads."""
        cells = [(keys[None, layer], values[None, layer]) for layer in range(len(self.model.layers))]
        reading = self.model.read(places, cells, return_weights=True, hidden=hidden)
        return reading.logits.log_softmax(dim=-1), cast(Tensor, reading.weights).mean(dim=(0, 2))


def describing_graphs(model: CaptionModel) -> dict[str, Graph]:
    """The two graphs. The number of photos is free, and that of a photo's captions and their length."""
    longest, heads, cells = model.tokenizer.max_tokens, model.config.heads, len(model.cell_positions)
    captions, pieces = torch.export.Dim("captions"), torch.export.Dim("pieces", max=longest)
    read = len(model.layers), heads, cells, model.width // heads
    begun = {
        "places": (torch.zeros(2, min(3, longest), dtype=torch.long), {0: captions, 1: pieces}),
        "keys": (torch.randn(read), {}),
        "values": (torch.randn(read), {}),  # a tensor of its own: one that comes twice is exported as one input
        "hidden": (torch.zeros(2, cells, dtype=torch.bool), {0: captions}),
    }
    return {
        "image_encoder": Graph(CellsGraph(model), photo_inputs(model.config.image_size), CellsGraph.OUTPUTS),
        "decoder": Graph(DecoderGraph(model), begun, DecoderGraph.OUTPUTS),
    }


def describing_metadata(model: CaptionModel, checkpoint: Path, folder: Path) -> dict[str, Any]:
    """What ``OnnxCaptioner`` needs beside graphs and tokenizer."""
    return {"vocabulary": model.vocabulary.tolist()}
