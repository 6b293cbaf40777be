"""ExportedModel: the graphs of an export with what stands around them: questions, photos and maps in, numpy out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from valm_core.answers import YES_NO, listed
from valm_core.exported.loading import ExportedParts, load_parts, photo_pixels, text_ids
from valm_core.inputs.question import clean_question
from valm_core.outputs import Answer, EncodedImage, Explanation, Photo

if TYPE_CHECKING:
    from torch import Tensor

METHODS = ("raw_attention", "attention_rollout")  # the first is the default
# Outputs of the fusion graph for each method: image_map, token_scores, token_to_patch, patch_to_token.
MAP_OUTPUTS = {
    method: tuple(f"{method}_{part}" for part in ("image_map", "token_scores", "token_to_patch", "patch_to_token"))
    for method in METHODS
}


@dataclass(frozen=True, eq=False)
class ExportedModel(ExportedParts):
    """The parts of a model that answers: its graphs are ``image_encoder``, ``text_encoder`` and ``fusion``.

    ``mean_image_token`` [D_image] stands for an unseen photo and for hidden cells.
    """

    mean_image_token: np.ndarray

    @property
    def answers(self) -> list[str]:
        """Every answer that the model can give."""
        return self.metadata["answers"]


def load_export(folder: Path, threads: int) -> ExportedModel:
    """Load a folder of ``training.export``. Errors as of ``OnnxPredictor.from_checkpoint``."""
    parts = load_parts(folder, threads, "answer")
    return ExportedModel(
        parts.graphs, parts.metadata, parts.tokenizer, np.load(folder / parts.metadata["mean_image_token"])
    )


def encode_photo(model: ExportedModel, photo: Photo) -> EncodedImage:
    """A photo encoded, with an array for its tokens. Raises InputError."""
    (tokens,) = model.graphs["image_encoder"](photo_pixels(model, [photo]), ["image_tokens"])
    return EncodedImage(cast("Tensor", tokens), model.grid)


def photo_tokens(image: EncodedImage) -> np.ndarray:
    """The tokens [1, N, D_image] of a photo that ``encode_photo`` encoded."""
    return cast(np.ndarray, image.tokens)


def encode_question(model: ExportedModel, question: str) -> tuple[str, np.ndarray]:
    """The cleaned question, and its tokens [1, T, D_text]. Raises InputError."""
    question = clean_question(question)
    (tokens,) = model.graphs["text_encoder"](text_ids(model, [question]), ["text_tokens"])
    return question, tokens


def fuse(
    model: ExportedModel, text: np.ndarray, image: np.ndarray, grid: tuple[int, int], outputs: list[str]
) -> list[np.ndarray]:
    """Outputs of the fusion for questions without padding [B, T, D_text] and photos [B, N, D_image]."""
    inputs = {
        "text_tokens": text,
        "text_mask": np.ones(text.shape[:2], dtype=bool),
        "image_tokens": image.reshape(len(image), *grid, -1),
    }
    return model.graphs["fusion"](inputs, outputs)


def blind_logits(model: ExportedModel, text: np.ndarray) -> np.ndarray:
    """Logits [A] with the average token in place of the photo, as a grid of one cell."""
    (logits,) = fuse(model, text, model.mean_image_token[None, None], (1, 1), ["logits"])
    return logits[0]


def logits_without_cells(model: ExportedModel, text: np.ndarray, image: EncodedImage, hidden: np.ndarray) -> np.ndarray:
    """Logits [F, A] of one question with cells hidden [F, N], True where the average token stands in."""
    tokens = np.where(hidden[..., None], model.mean_image_token, photo_tokens(image))  # [F, N, D_image]
    (logits,) = fuse(model, np.repeat(text, len(hidden), axis=0), tokens, image.grid, ["logits"])
    return logits


def explain(model: ExportedModel, text: np.ndarray, image: EncodedImage, method: str) -> Explanation:
    """An explanation by one of ``METHODS``, whose T tokens are unnamed word pieces."""
    outputs = [*MAP_OUTPUTS[method], "text_to_image", "image_to_text"]
    found = [output[0] for output in fuse(model, text, photo_tokens(image), image.grid, outputs)]
    image_map, token_scores, token_to_patch, patch_to_token, text_to_image, image_to_text = found
    return Explanation(
        method=method,
        tokens=("",) * text.shape[1],
        image_map=image_map.reshape(image.grid),
        token_scores=token_scores,
        token_to_patch=token_to_patch,
        patch_to_token=patch_to_token,
        text_to_image=text_to_image,
        image_to_text=image_to_text,
        grid=image.grid,
        box=image.box,
    )


def probabilities(model: ExportedModel, logits: np.ndarray, asked: np.ndarray | None = None) -> np.ndarray:
    """Calibrated probabilities of logits [.., A], as ``heads.calibrated`` gives them."""
    chosen = (logits if asked is None else asked).argmax(axis=-1)[..., None]
    yes_no = np.isin(model.answers, YES_NO)[chosen]
    temperature = model.metadata["temperature"]
    of_yes_no = model.metadata.get("yes_no_temperature") or temperature
    scaled = logits.astype(np.float32) / np.where(yes_no, of_yes_no, temperature).astype(np.float32)
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def likeliest(model: ExportedModel, logits: np.ndarray, top: int) -> tuple[Answer, ...]:
    """The ``top`` likeliest answers that are worth a line, of logits [A]."""
    shares = probabilities(model, logits)
    best = np.argsort(-shares, kind="stable")[:top]
    return listed(tuple(Answer(model.answers[index], float(shares[index])) for index in best))
