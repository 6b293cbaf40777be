"""PhotoFinder: what a retrieval model makes of photos and words, as arrays, for an index and for people."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from valm_core.checkpoints.contents import METRICS_FILE
from valm_core.checkpoints.facts import checkpoint_fingerprint
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import load_retrieval_checkpoint
from valm_core.devices import choose_device
from valm_core.inputs.photo import open_photo
from valm_core.inputs.question import clean_question
from valm_core.model.tasks.retrieval import RetrievalModel, pair_scores
from valm_core.outputs import Explanation, InputError, Photo, in_shares

TEXTS_AT_ONCE = 64
CELL_STEPS = 127  # a cell's numbers, -1..1, are kept as whole numbers of 1/127


@dataclass(frozen=True)
class PhotoKeys:
    """What an index keeps of P photos: ``vectors`` [P, D] float16 of length 1, ``cells`` [P, M, D] int8."""

    vectors: np.ndarray
    cells: np.ndarray


@dataclass(frozen=True)
class Query:
    """Words to look for: ``words`` as people read them, and what the model compares.

    ``vector`` [D]; ``pieces`` [T, D] and their ``shares`` [T], which sum to 1; ``piece_words`` [T] is the word of each
    piece, -1 for special tokens.
    """

    text: str
    words: tuple[str, ...]
    vector: np.ndarray
    pieces: np.ndarray
    shares: np.ndarray
    piece_words: tuple[int, ...]


class PhotoFinder:
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
        self.records = _read_records(Path(folder) / METRICS_FILE) if folder else ()
        self.scales = model.scales.detach().cpu().numpy()

    @classmethod
    def from_checkpoint(cls, name: str | Path, device: str = "auto") -> "PhotoFinder":
        """Load a checkpoint: its folder, or ``user/model`` on the Hugging Face hub.

        Raises:
            FileNotFoundError, ValueError: see ``load_checkpoint`` and ``choose_device``.
        """
        folder = fetch_checkpoint(name)
        chosen = choose_device(device)
        return cls(load_retrieval_checkpoint(folder, for_inference=chosen.type == "cpu"), chosen, folder)

    @property
    def width(self) -> int:
        """Size D of a vector and of a cell."""
        return self.model.photo_vector.out_features

    @property
    def cells(self) -> int:
        """How many cells M an index keeps of a photo."""
        return math.prod(self.model.grid)

    @torch.no_grad()
    def encode_photos(self, photos: Sequence[Photo]) -> PhotoKeys:
        """What an index keeps of photos. Raises InputError for one that can't be used."""
        found = self.model.encode_photos(self._pixels(photos))
        cells = (found.cells * CELL_STEPS).round().to(torch.int8)
        return PhotoKeys(found.vector.half().cpu().numpy(), cells.cpu().numpy())

    @torch.no_grad()
    def encode_words(self, text: str) -> Query:
        """Words to look for. Raises InputError where they are empty or too long."""
        text = clean_question(text)
        ids, mask = self.model.tokenizer([text])
        found = self.model.encode_texts(ids.to(self.device), mask.to(self.device))
        words, piece_words = self.model.tokenizer.words(text)
        return Query(
            text,
            words,
            found.vector[0].cpu().numpy(),
            found.words[0].cpu().numpy(),
            found.shares[0].cpu().numpy(),
            tuple(-1 if word is None else word for word in piece_words),
        )

    def scores(self, query: Query, keys: PhotoKeys) -> np.ndarray:
        """How well photos fit words, [P]: what ``retrieval.pair_scores`` says, from an index's rounded numbers."""
        cells = keys.cells.astype(np.float32) / CELL_STEPS  # [P, M, D]
        nearest = (cells @ query.pieces.T).max(axis=1)  # [P, T]
        return self.scales[0] * (keys.vectors.astype(np.float32) @ query.vector) + self.scales[1] * (
            nearest @ query.shares
        )

    @torch.no_grad()
    def rank_texts(self, texts: Sequence[str], photo: Photo) -> list[tuple[str, float]]:
        """Texts with the score that each has with a photo, the best first; one that is too long is cut.

        Raises:
            InputError: the photo or a text can't be used; the message says which text.
        """
        cleaned = []
        for number, text in enumerate(texts, 1):
            try:
                cleaned.append(clean_question(text))
            except InputError as error:
                raise InputError("Text {number}: {error}", number=number, error=str(error)) from error
        found = self.model.encode_photos(self._pixels([photo]))
        scores = []
        for first in range(0, len(cleaned), TEXTS_AT_ONCE):
            ids, mask = self.model.tokenizer(cleaned[first : first + TEXTS_AT_ONCE], truncate=True)
            encoded = self.model.encode_texts(ids.to(self.device), mask.to(self.device))
            scores += pair_scores(self.model, encoded, found)[:, 0].tolist()
        order = sorted(range(len(cleaned)), key=lambda place: -scores[place])
        return [(cleaned[place], scores[place]) for place in order]

    @torch.no_grad()
    def explain(self, query: Query, photo: Photo) -> Explanation:
        """Where a photo matched the words: cosines of words and the image encoder's own cells, those above 0.

        A word is the mean of its pieces by their shares, the whole map the mean of the words. Raises InputError.
        """
        cells = self.model.image_cells(self._pixels([photo]))[0].cpu().numpy()  # [N, D]
        similar = np.maximum(query.pieces @ cells.T, 0)  # [T, N]
        of_word = np.array(query.piece_words)
        chosen = of_word == np.arange(len(query.words))[:, None]  # [W, T]
        shares = chosen * query.shares  # [W, T]
        words = in_shares(shares) @ similar  # [W, N]
        counted = in_shares(shares.sum(axis=1))  # [W]
        maps = in_shares(words)
        return Explanation(
            method="late_interaction",
            tokens=query.words,
            image_map=in_shares(counted @ words).reshape(self.model.image_encoder.grid),
            token_scores=counted,
            token_to_patch=maps,
            patch_to_token=in_shares(words.T),
            text_to_image=maps[None, None],
            image_to_text=in_shares(words.T)[None, None],
            grid=self.model.image_encoder.grid,
        )

    def found_share(self, score: float) -> float | None:
        """Of searches whose best photo had about this score, the share that found the described one; None if unknown.

        Measured on the checkpoint's validation photos; in a larger collection it is less.
        """
        for low, high, _, share in self.records:
            if low <= score <= high:
                return share
        return None

    def _pixels(self, photos: Sequence[Photo]) -> torch.Tensor:
        return torch.stack([self.model.pixels(open_photo(photo)) for photo in photos]).to(self.device)


def _read_records(path: Path) -> tuple[tuple[float, float, int, float], ...]:
    """``found_by_score`` of a checkpoint's figures as (low, high, searches, share), open at both ends; or nothing."""
    try:
        bins = json.loads(path.read_text(encoding="utf-8")).get("found_by_score", [])
        rows = [(float(b["low"]), float(b["high"]), int(b["searches"]), float(b["found"])) for b in bins]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()
    if rows:
        rows[0] = (float("-inf"), *rows[0][1:])
        rows[-1] = (rows[-1][0], float("inf"), *rows[-1][2:])
    return tuple(rows)
