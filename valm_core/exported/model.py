"""ExportedModel: the graphs of an export with what stands around them: questions, photos and maps in, numpy out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from valm_core.answers import YES_NO, listed
from valm_core.exported.files import read_metadata
from valm_core.exported.runtimes import PACKAGE_OF_RUNTIME, RUNTIMES, Graph
from valm_core.inputs.photo import open_photo, photo_to_array
from valm_core.inputs.question import clean_question, padded_ids
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
class ExportedModel:
    """What ``training.export`` made of a checkpoint.

    Args:
        graphs: ``image_encoder``, ``text_encoder``, ``fusion``.
        metadata: what ``metadata.json`` holds.
        tokenizer: a ``tokenizers.Tokenizer`` that neither pads nor truncates.
        mean_image_token: [D_image], stands for an unseen photo and for hidden cells.
    """

    graphs: dict[str, Graph]
    metadata: dict[str, Any]
    tokenizer: Any
    mean_image_token: np.ndarray

    @property
    def answers(self) -> list[str]:
        """Every answer that the model can give."""
        return self.metadata["answers"]


def load_export(folder: Path, threads: int) -> ExportedModel:
    """Load a folder of ``training.export``. Errors as of ``OnnxPredictor.from_checkpoint``."""
    metadata = read_metadata(folder)
    runtime = metadata["format"]
    try:
        from tokenizers import Tokenizer

        graphs = {name: RUNTIMES[runtime](folder / file, threads) for name, file in metadata["graphs"].items()}
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"An export of format {runtime!r} needs a package that isn't here ({error}). "
            f"Run `pip install {PACKAGE_OF_RUNTIME[runtime]} tokenizers`."
        ) from error
    tokenizer = Tokenizer.from_file(str(folder / metadata["tokenizer"]["file"]))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True  # a typed [SEP] or [MASK] is a word, no command to the model
    return ExportedModel(graphs, metadata, tokenizer, np.load(folder / metadata["mean_image_token"]))


def encode_photo(model: ExportedModel, photo: Photo) -> EncodedImage:
    """A photo encoded, with an array for its tokens. Raises InputError."""
    pixels = photo_to_array(
        open_photo(photo), model.metadata["image_size"], model.metadata["config"].get("photo_detail", 0)
    )
    (tokens,) = model.graphs["image_encoder"]({"pixels": np.ascontiguousarray(pixels[None])}, ["image_tokens"])
    rows, columns = model.metadata["grid"]
    return EncodedImage(cast("Tensor", tokens), (rows, columns))


def photo_tokens(image: EncodedImage) -> np.ndarray:
    """The tokens [1, N, D_image] of a photo that ``encode_photo`` encoded."""
    return cast(np.ndarray, image.tokens)


def encode_question(model: ExportedModel, question: str) -> tuple[str, np.ndarray]:
    """The cleaned question, and its tokens [1, T, D_text]. Raises InputError."""
    question = clean_question(question)
    settings = model.metadata["tokenizer"]
    pieces = model.tokenizer.encode(question).ids
    ids, mask = padded_ids([pieces], settings["pad_id"], settings["max_tokens"], truncate=False)
    (tokens,) = model.graphs["text_encoder"]({"token_ids": ids, "text_mask": mask}, ["text_tokens"])
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
