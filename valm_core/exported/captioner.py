"""OnnxCaptioner: descriptions of photos with what ``training.export`` wrote, without torch or transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from valm_core.captions.describing import Describer, Pieces
from valm_core.exported.loading import ExportedParts, load_parts, photo_pixels
from valm_core.model.tasks.beam_search import PieceCaption, beam_search
from valm_core.outputs import Photo

KeysAndValues = tuple[np.ndarray, np.ndarray]  # of one photo's cells, both [L, H, N, D/H]


class OnnxCaptioner(Describer[KeysAndValues]):
    """Describes photos as ``Captioner`` of the same checkpoint, on the CPU; safe to share between threads.

    The graph keeps nothing between two pieces: each reads all pieces before it anew.
    """

    def __init__(self, parts: ExportedParts):
        self.parts = parts
        tokens = parts.metadata["vocabulary"]
        self.pieces = Pieces(tuple(tokens), tuple(map(parts.tokenizer.id_to_token, tokens)))
        self.grid, self.longest = parts.grid, parts.metadata["tokenizer"]["max_tokens"]

    @classmethod
    def from_checkpoint(cls, folder: str | Path, threads: int = 0) -> OnnxCaptioner:
        """Load a folder that ``python -m training.export`` wrote; ``threads`` for one call, 0 for its default.

        Raises:
            ImportError, FileNotFoundError, ValueError: see ``exported.loading.load_parts``.
        """
        return cls(load_parts(Path(folder), threads, "caption"))

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        return [self.parts.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

    def _cells(self, photo: Photo) -> KeysAndValues:
        keys, values = self.parts.graphs["image_encoder"](photo_pixels(self.parts, [photo]), ["keys", "values"])
        return keys[0], values[0]

    def _search(self, cells: KeysAndValues, beams: int) -> list[PieceCaption]:
        def next_pieces(begun: np.ndarray, sources: np.ndarray) -> np.ndarray:
            return self._decoded(begun, cells, None, "log_probabilities")[:, -1]

        return beam_search(next_pieces, 1, beams, self.longest - 1)[0]

    def _likely(
        self, before: np.ndarray, after: np.ndarray, cells: KeysAndValues, hidden: np.ndarray | None = None
    ) -> np.ndarray:
        likely = self._decoded(before, cells, hidden, "log_probabilities")  # [B, T, V]
        return np.take_along_axis(likely, after[..., None], axis=-1)[..., 0]

    def _read(self, places: np.ndarray, cells: KeysAndValues) -> np.ndarray:
        return self._decoded(places, cells, None, "weights")[0]

    def _decoded(self, places: np.ndarray, cells: KeysAndValues, hidden: np.ndarray | None, output: str) -> np.ndarray:
        """An output of the decoder for beginnings of captions [B, T] of one photo, ``hidden`` [B, N] unseen."""
        keys, values = cells
        hidden = np.zeros((len(places), keys.shape[2]), dtype=bool) if hidden is None else hidden
        inputs = {"places": places.astype(np.int64), "keys": keys, "values": values, "hidden": hidden}
        (found,) = self.parts.graphs["decoder"](inputs, [output])
        return found
