"""The graphs of a model that finds photos by words: a tower for photos and one for texts."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from training.export.writing import Graph, photo_inputs, text_inputs
from valm_core.model.tasks.retrieval import RetrievalModel
from valm_core.retrieval.finder import read_score_bins


class PhotoGraph(nn.Module):
    """Pixels [P, 3, S, S] -> vectors [P, D], cells for ranking [P, M, D] and the image encoder's own [P, N, D]."""

    OUTPUTS = ("vector", "cells", "image_cells")

    def __init__(self, model: RetrievalModel):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The outputs named ``OUTPUTS``."""
        tokens = self.model.image_encoder(pixels)
        found = self.model.encode_photos(image_tokens=tokens)
        return found.vector, found.cells, self.model.image_cells(image_tokens=tokens)


class WordsGraph(nn.Module):
    """Token ids [B, T] and mask [B, T] -> vectors [B, D], tokens [B, T, D] and their shares [B, T]."""

    OUTPUTS = ("vector", "words", "shares")

    def __init__(self, model: RetrievalModel):
        super().__init__()
        self.model = model

    def forward(self, token_ids: Tensor, text_mask: Tensor) -> tuple[Tensor, ...]:
        """The outputs named ``OUTPUTS``."""
        found = self.model.encode_texts(token_ids, text_mask)
        return found.vector, found.words, found.shares


def finding_graphs(model: RetrievalModel) -> dict[str, Graph]:
    """The two graphs. The number of photos is free, and that of texts and their length."""
    length = min(5, model.config.max_question_tokens)
    return {
        "image_encoder": Graph(PhotoGraph(model), photo_inputs(model.config.image_size), PhotoGraph.OUTPUTS),
        "text_encoder": Graph(WordsGraph(model), text_inputs(length), WordsGraph.OUTPUTS),
    }


def finding_metadata(model: RetrievalModel, checkpoint: Path, folder: Path) -> dict[str, Any]:
    """What ``OnnxFinder`` needs beside graphs and tokenizer."""
    return {
        "ranking_grid": model.grid,
        "scales": model.scales.tolist(),
        "found_by_score": read_score_bins(checkpoint),
    }
