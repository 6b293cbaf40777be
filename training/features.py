"""Frozen encoders' outputs, computed once into memory-mapped files and reused by every epoch and run."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training.datasets.jsonl import DataError
from valm_core.files import replace_folder
from valm_core.model import ValmModel
from valm_core.outputs import InputError
from valm_core.processor import open_photo

PHOTO_BATCH, QUESTION_BATCH = 64, 256


class Features:
    """Image and text tokens of a data set by photo and question, in float16 on disk.

    Each array lies in a folder of its own under ``cache``, named by a hash of everything that shapes it: the encoder's
    weights, photo size and resize mode, normalisation, and the photos' paths, sizes and times (or the questions). A
    change of any of them makes a new folder; an interrupted computation leaves none.

    Args:
        model: whose frozen encoders to run.
        photos, questions: what to encode; duplicates are encoded once.
        cache: folder for the arrays.
    """

    def __init__(self, model: ValmModel, photos: list[Path], questions: list[str], cache: str | Path):
        self.photo_row = {photo: row for row, photo in enumerate(dict.fromkeys(photos))}
        self.question_row = {question: row for row, question in enumerate(dict.fromkeys(questions))}
        image_folder = _image_folder(model, list(self.photo_row), Path(cache))
        self._image = np.load(image_folder / "tokens.npy", mmap_mode="r")  # [P, N, D]
        text_folder = _text_folder(model, list(self.question_row), Path(cache))
        self._text = np.load(text_folder / "tokens.npy", mmap_mode="r")  # [all tokens of all questions, D]
        self._text_starts = np.load(text_folder / "starts.npy")  # [Q + 1]

    def image_tokens(self, photos: list[Path]) -> Tensor:
        """[P, N, D_image] in float16, in the order asked."""
        return torch.from_numpy(self._image[[self.photo_row[photo] for photo in photos]])

    def mean_image_token(self, photos: list[Path]) -> Tensor:
        """The average cell of some photos: [D_image] in float32. Duplicates count once."""
        rows = [self.photo_row[photo] for photo in dict.fromkeys(photos)]
        photo_means = [self._image[row].mean(axis=0, dtype=np.float32) for row in rows]
        return torch.from_numpy(np.mean(photo_means, axis=0, dtype=np.float32))

    def question_lengths(self, questions: list[str]) -> list[int]:
        """Number of tokens of each question."""
        rows = [self.question_row[question] for question in questions]
        return np.diff(self._text_starts)[rows].tolist()

    def text_tokens(self, questions: list[str]) -> tuple[Tensor, Tensor]:
        """Tokens [B, T, D_text] in float16, padded with 0, and mask [B, T]."""
        rows = [self.question_row[question] for question in questions]
        lengths = self._text_starts[np.add(rows, 1)] - self._text_starts[rows]
        tokens = np.zeros((len(rows), lengths.max(), self._text.shape[1]), dtype=np.float16)
        for place, row in enumerate(rows):
            tokens[place, : lengths[place]] = self._text[self._text_starts[row] : self._text_starts[row + 1]]
        return torch.from_numpy(tokens), torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])


@torch.no_grad()
def mean_image_token(model: ValmModel, photos: list[Path]) -> Tensor:
    """The average cell of all photos, [D_image] in float32, by running the encoder without a cache."""
    model.image_encoder.eval()
    photos = list(dict.fromkeys(photos))
    total = sum(tokens.float().mean(dim=1).sum(dim=0) for _, tokens in _encode_photos(model, photos))
    return total / len(photos)


def read_pixels(model: ValmModel, photo) -> Tensor:
    """Open one photo of a data set as pixels [3, S, S].

    Raises:
        DataError: it can't be read; the message names the file.
    """
    try:
        return model.pixels(open_photo(photo))[0]
    except InputError as error:
        raise DataError(f"{photo}: {error}") from error


@torch.no_grad()
def _image_folder(model: ValmModel, photos: list[Path], cache: Path) -> Path:
    encoder = model.image_encoder.eval()
    stats = [(str(photo.resolve()), photo.stat().st_size, photo.stat().st_mtime_ns) for photo in photos]
    normalization = [encoder.mean.flatten().tolist(), encoder.std.flatten().tolist()]
    key = _key(encoder, model.config.image_size, model.config.resize, normalization, stats)
    folder = cache / f"image-{key}"
    if not folder.exists():
        rows, columns = encoder.grid
        with replace_folder(folder) as fresh:
            shape = (len(photos), rows * columns, encoder.width)
            tokens = np.lib.format.open_memmap(fresh / "tokens.npy", mode="w+", dtype=np.float16, shape=shape)
            for start, encoded in _encode_photos(model, photos):
                tokens[start : start + len(encoded)] = encoded.half().cpu().numpy()
            tokens.flush()
    return folder


def _encode_photos(model: ValmModel, photos: list[Path]) -> Iterator[tuple[int, Tensor]]:
    """Batches of photos, encoded: the place of the first one and tokens [up to PHOTO_BATCH, N, D]."""
    for start in tqdm(range(0, len(photos), PHOTO_BATCH), desc="encoding photos", unit=f"{PHOTO_BATCH} photos"):
        pixels = torch.stack([read_pixels(model, photo) for photo in photos[start : start + PHOTO_BATCH]])
        yield start, model.image_encoder(pixels.to(model.device))


@torch.no_grad()
def _text_folder(model: ValmModel, questions: list[str], cache: Path) -> Path:
    key = _key(model.text_encoder.eval(), model.config.max_question_tokens, questions)
    folder = cache / f"text-{key}"
    if not folder.exists():
        encoded: list[np.ndarray | None] = [None] * len(questions)
        by_length = sorted(range(len(questions)), key=lambda index: len(questions[index]))
        for start in tqdm(range(0, len(questions), QUESTION_BATCH), desc="encoding questions", unit="batch"):
            chosen = by_length[start : start + QUESTION_BATCH]
            ids, mask = model.tokenizer([questions[index] for index in chosen], truncate=True)
            tokens = model.text_encoder(ids.to(model.device), mask.to(model.device)).tokens.half().cpu().numpy()
            for place, index in enumerate(chosen):
                encoded[index] = tokens[place, : int(mask[place].sum())]
        with replace_folder(folder) as fresh:
            np.save(fresh / "tokens.npy", np.concatenate(encoded))
            np.save(fresh / "starts.npy", np.cumsum([0, *map(len, encoded)]))
    return folder


def _key(encoder: torch.nn.Module, *settings) -> str:
    """A hash of an encoder's weights and of settings that JSON can write."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + str(tensor.dtype).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
