"""PhotoFinder: what a retrieval model in torch makes of photos and words, as arrays, for an index and for people."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from valm_core.checkpoints.contents import METRICS_FILE
from valm_core.checkpoints.facts import checkpoint_fingerprint
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import load_retrieval_checkpoint
from valm_core.devices import choose_device
from valm_core.inputs.photo import open_photo
from valm_core.model.tasks.retrieval import RetrievalModel
from valm_core.outputs import Photo
from valm_core.retrieval.matching import Finder, score_records


class PhotoFinder(Finder):
    """Photos and words in one space; safe to share between threads.

    Args:
        model: a trained retrieval model; it is moved to ``device`` and put in evaluation mode.
        device: where to compute; arrays lie on the CPU.
        folder: the checkpoint that the model came from: its fingerprint names it, its figures say what a score means.
    """

    def __init__(self, model: RetrievalModel, device: torch.device, folder: str | Path | None = None):
        self.model = model.to(device).eval()
        self.device = device
        self.fingerprint = checkpoint_fingerprint(folder) if folder else ""
        self.records = score_records(read_score_bins(folder)) if folder else ()
        self.scales = model.scales.detach().cpu().numpy()
        self.width = model.photo_vector.out_features
        self.ranking_grid, self.grid = model.grid, model.image_encoder.grid

    @classmethod
    def from_checkpoint(cls, name: str | Path, device: str = "auto") -> "PhotoFinder":
        """Load a checkpoint: its folder, or ``user/model`` on the Hugging Face hub.

        Raises:
            FileNotFoundError, ValueError: see ``load_checkpoint`` and ``choose_device``.
        """
        folder = fetch_checkpoint(name)
        chosen = choose_device(device)
        return cls(load_retrieval_checkpoint(folder, for_inference=chosen.type == "cpu"), chosen, folder)

    @torch.no_grad()
    def photo_features(self, photos: Sequence[Photo]) -> tuple[np.ndarray, np.ndarray]:
        """See ``Finder.photo_features``."""
        found = self.model.encode_photos(self._pixels(photos))
        return found.vector.float().cpu().numpy(), found.cells.float().cpu().numpy()

    @torch.no_grad()
    def text_features(self, texts: list[str], truncate: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See ``Finder.text_features``."""
        ids, mask = self.model.tokenizer(texts, truncate)
        found = self.model.encode_texts(ids.to(self.device), mask.to(self.device))
        vector, words, shares = (part.float().cpu().numpy() for part in (found.vector, found.words, found.shares))
        return vector, words, shares

    def _words(self, text: str) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
        return self.model.tokenizer.words(text)

    @torch.no_grad()
    def _image_cells(self, photo: Photo) -> np.ndarray:
        return self.model.image_cells(self._pixels([photo]))[0].float().cpu().numpy()

    def _pixels(self, photos: Sequence[Photo]) -> torch.Tensor:
        return torch.stack([self.model.pixels(open_photo(photo)) for photo in photos]).to(self.device)


def read_score_bins(folder: str | Path) -> Any:
    """``found_by_score`` of a checkpoint's figures; nothing where they have none or can't be read."""
    try:
        return json.loads((Path(folder) / METRICS_FILE).read_text(encoding="utf-8")).get("found_by_score", [])
    except (OSError, ValueError, AttributeError):
        return []
