"""OnnxFinder: photos found by words with what ``training.export`` wrote, without torch or transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from valm_core.exported.loading import ExportedParts, load_parts, photo_pixels, text_ids
from valm_core.inputs.word_pieces import words_of_pieces
from valm_core.outputs import Photo
from valm_core.retrieval.matching import Finder, score_records


class OnnxFinder(Finder):
    """Photos and words in one space, as ``PhotoFinder`` of the same checkpoint, on the CPU; safe to share between
    threads. An index that one of them made is searched by the other, too."""

    def __init__(self, parts: ExportedParts):
        self.parts = parts
        self.fingerprint = parts.fingerprint
        self.width = parts.metadata["config"]["width"]
        rows, columns = parts.metadata["ranking_grid"]
        self.ranking_grid, self.grid = (rows, columns), parts.grid
        self.scales = np.array(parts.metadata["scales"], dtype=np.float32)
        self.records = score_records(parts.metadata["found_by_score"])

    @classmethod
    def from_checkpoint(cls, folder: str | Path, threads: int = 0) -> OnnxFinder:
        """Load a folder that ``python -m training.export`` wrote; ``threads`` for one call, 0 for its default.

        Raises:
            ImportError, FileNotFoundError, ValueError: see ``exported.loading.load_parts``.
        """
        return cls(load_parts(Path(folder), threads, "retrieval"))

    def photo_features(self, photos: Sequence[Photo]) -> tuple[np.ndarray, np.ndarray]:
        """See ``Finder.photo_features``."""
        pixels = photo_pixels(self.parts, photos)
        vectors, cells = self.parts.graphs["image_encoder"](pixels, ["vector", "cells"])
        return vectors, cells

    def text_features(self, texts: list[str], truncate: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See ``Finder.text_features``."""
        inputs = text_ids(self.parts, texts, truncate)
        vectors, words, shares = self.parts.graphs["text_encoder"](inputs, ["vector", "words", "shares"])
        return vectors, words, shares

    def _words(self, text: str) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
        encoding = self.parts.tokenizer.encode(text)
        return words_of_pieces(text, encoding.offsets, encoding.special_tokens_mask)

    def _image_cells(self, photo: Photo) -> np.ndarray:
        (cells,) = self.parts.graphs["image_encoder"](photo_pixels(self.parts, [photo]), ["image_cells"])
        return cells[0]
