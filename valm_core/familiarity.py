"""Is a photo or a question of a kind that the model learned from? Its percentages were measured on that kind alone.

The features of the training data lie near a subspace of a few dimensions. How far a feature vector leads out of it is
the residual of Wang et al. 2022 ("ViM", https://arxiv.org/abs/2203.10807, section 4.1), here of vectors of unit length;
what lies further out than nearly all data that training did not see is called unfamiliar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from valm_core.checkpoints.contents import FAMILIARITY_FILE

if TYPE_CHECKING:
    from torch import Tensor

    from valm_core.model.model import ValmModel
    from valm_core.outputs import EncodedText

PARTS = ("photo", "question")


@dataclass(frozen=True)
class Subspace:
    """Where the training data's features lie.

    Args:
        mean: [D].
        components: [K, D], orthonormal rows.
        limit: the distance above which a vector is unfamiliar, 0..2.
    """

    mean: np.ndarray
    components: np.ndarray
    limit: float

    @classmethod
    def fit(cls, vectors: np.ndarray, others: np.ndarray, components: int, quantile: float) -> Subspace:
        """The subspace of most variance, with a limit that only a few other vectors pass.

        Args:
            vectors: [R, D] of the training data, of any length above 0.
            others: [S, D] of data that training did not see.
            components: K, below R and D.
            quantile: share of the others within the limit, 0..1.
        """
        units = unit(vectors)
        mean = units.mean(axis=0)
        _, basis = np.linalg.eigh(np.cov(units - mean, rowvar=False))  # ascending
        stored_mean = mean.astype(np.float16).astype(np.float32)  # as the file gives them back
        stored_basis = basis[:, ::-1].T[:components].astype(np.float16).astype(np.float32)
        distances = cls(stored_mean, stored_basis, limit=np.inf).distance(others)
        return cls(stored_mean, stored_basis, float(np.quantile(distances, quantile)))

    def distance(self, vectors: np.ndarray) -> np.ndarray:
        """How far vectors [R, D] lie from the subspace, [R], from 0 (in it) to 2."""
        centred = unit(vectors) - self.mean
        inside = centred @ self.components.T  # [R, K]
        return np.sqrt(np.maximum((centred**2).sum(axis=1) - (inside**2).sum(axis=1), 0))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [R, D] at length 1; one of zeros stays as it is."""
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def photo_vectors(model: ValmModel, image_tokens: Tensor) -> np.ndarray:
    """The mean cell of what the image encoder saw, without the names of its classes: [B, N, D_image] -> [B, D]."""
    return image_tokens[..., : model.image_encoder.feature_width].float().mean(dim=1).cpu().numpy()


def question_vectors(text: EncodedText) -> np.ndarray:
    """The mean token of questions [B, D], of the text encoder's layer before the last."""
    from valm_core.model.fusion.attention import (
        mean_token,  # imported here: torch, which the rest of this file does without
    )

    return mean_token(text.penultimate.float(), text.mask).cpu().numpy()


def save_familiarity(subspaces: dict[str, Subspace], path: str | Path) -> None:
    """Write the subspaces of ``PARTS`` as float16."""
    tensors: dict[str, np.ndarray] = {}
    for part, subspace in subspaces.items():
        tensors |= {
            f"{part}.mean": subspace.mean.astype(np.float16),
            f"{part}.components": np.ascontiguousarray(subspace.components, dtype=np.float16),
            f"{part}.limit": np.array([subspace.limit], dtype=np.float32),
        }
    save_file(tensors, path)
    Path(path).chmod(0o644)  # safetensors makes it readable for its owner alone


def load_familiarity(folder: str | Path) -> dict[str, Subspace]:
    """The subspaces of a checkpoint by part; none where it has no such file.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / FAMILIARITY_FILE
    if not path.is_file():
        return {}
    try:
        tensors = {name: array.astype(np.float32) for name, array in load_file(path).items()}
        found = {}
        for part in PARTS:
            mean, components, limit = (tensors.pop(f"{part}.{name}") for name in ("mean", "components", "limit"))
            if not (components.shape[1:] == mean.shape and mean.ndim == 1 and limit.shape == (1,)):
                raise ValueError(f"the shapes of {part} don't fit together")
            if not all(np.isfinite(array).all() for array in (mean, components, limit)):
                raise ValueError(f"{part} holds numbers that aren't finite")
            found[part] = Subspace(mean, components, float(limit[0]))
        if tensors:
            raise ValueError(f"{', '.join(sorted(tensors))} doesn't belong there")
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}). Copy the checkpoint again, or make the file with "
            "`python -m training.familiarity`."
        ) from error
    return found


def unfamiliar_parts(
    subspaces: Mapping[str, Subspace], model: ValmModel, text: EncodedText, image_tokens: Tensor
) -> list[tuple[str, ...]]:
    """Which of ``PARTS`` of each of B questions lie outside what the model learned from; none without subspaces.

    ``image_tokens`` [B, N, D_image], or [1, N, D_image] of one photo for all.
    """
    if not subspaces:
        return [()] * len(text.mask)
    photos = photo_vectors(model, image_tokens.expand(len(text.mask), -1, -1))
    vectors = {"photo": photos, "question": question_vectors(text)}
    outside = {part: subspaces[part].distance(vectors[part]) > subspaces[part].limit for part in PARTS}
    return [tuple(part for part in PARTS if outside[part][row]) for row in range(len(text.mask))]
