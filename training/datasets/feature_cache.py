"""Frozen encoders' outputs, computed once into memory-mapped files and reused by every epoch and run."""

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from training.datasets.readers.jsonl import DataError
from valm_core.checkpoints.atomic_files import replace_folder, write_text
from valm_core.checkpoints.fingerprints import MADE_FROM_FILE, differences, fingerprint, read_json
from valm_core.checkpoints.storage import AnyModel
from valm_core.inputs.photo import PHOTO_PREPROCESSING, open_photo, photo_to_pixels
from valm_core.inputs.question import QUESTION_PREPROCESSING, QuestionTokenizer
from valm_core.inputs.text import printable
from valm_core.model.encoders.packages import sha256_of
from valm_core.model.encoders.two_encoders import pool_cells
from valm_core.outputs import InputError

PHOTO_BATCH, QUESTION_BATCH = 64, 256
PHOTO_SHARD, QUESTION_SHARD = 2048, 16384  # how many at most lie in one shard
POOLED_AT_ONCE = 256  # photos
SHARD_KEYS = "keys.json"
MAPPED = ("_image_shards", "_text_shards")  # attributes of FeatureCache: memory-mapped arrays


@dataclass(frozen=True)
class ModelInputs:
    """How a model's inputs are made, without its weights: all that a process that opens photos ahead needs of it.

    Args:
        tokenizer: of the questions.
        answers: the answer list.
        image_size, photo_detail: see ``ValmConfig``.
    """

    tokenizer: QuestionTokenizer
    answers: tuple[str, ...]
    image_size: int
    photo_detail: int = 0

    @classmethod
    def of(cls, model: "AnyModel | ModelInputs") -> "ModelInputs":
        """Those of a model, or the given ones."""
        if isinstance(model, ModelInputs):
            return model
        return cls(model.tokenizer, tuple(model.answers), model.config.image_size, model.config.photo_detail)

    def pixels(self, photo: Image.Image) -> Tensor:
        """As ``ValmModel.pixels``."""
        return photo_to_pixels(photo, self.image_size, self.photo_detail)


class FeatureCache:
    """Image and text tokens by photo and question, in float16 on disk, memory-mapped.

    Under ``cache`` every encoder has a folder, named by a hash of all that shapes its output, which its
    ``made_from.json`` lists: weights and settings of the encoder, photo size, resizing, normalisation, tokenizer,
    versions of how photos and questions are read. Another encoder or another reading makes another folder, and a line
    says why. In it lie shards; each knows what it holds: photos by their content, wherever they lie, questions by their
    text. What is asked for and in no shard is computed and added, so data sets share what they have in common, and an
    interrupted computation leaves its finished shards. Processes that compute at once each write their own.

    Args:
        model: whose frozen encoders to run.
        photos, questions: what to encode; duplicates are encoded once. Either may be empty: then that side has no
            features (``has_images``, ``has_text``), and its encoder runs in every batch.
        cache: folder for the shards.
        above: of texts what the text encoder's layers below the last ``above`` give; 0 for all layers.
        grid: rows and columns that photos' tokens are averaged to, in memory; None leaves them as they are.
    """

    def __init__(
        self,
        model: AnyModel,
        photos: list[Path],
        questions: list[str],
        cache: str | Path,
        above: int = 0,
        grid: tuple[int, int] | None = None,
    ):
        self._pooled: dict[Path, Tensor] = {}
        self.has_images, self.has_text = bool(photos), bool(questions)
        if self.has_images:
            self.photo_key = _photo_keys(photos)
            folder = _image_folder(model, self.photo_key, Path(cache))
            self._image_shards, self._image_places = _open_shards(_shards(folder))
            if grid and grid != model.image_encoder.grid:
                self._pool_images(model.image_encoder.grid, grid)
        if self.has_text:
            folder = _text_folder(model, list(dict.fromkeys(questions)), Path(cache), above)
            shards = _shards(folder)  # looked up once: another process may be adding some
            self._text_shards, self._text_places = _open_shards(shards)
            self._text_starts = [np.load(shard / "starts.npy") for shard in shards]  # each [questions + 1]

    def __getstate__(self) -> dict:
        """For another process: arrays by their files, for a pickled memory map is a copy of all that it maps."""
        opened = {name: self.__dict__[name] for name in MAPPED if name in self.__dict__}
        return self.__dict__ | {name: [array.filename for array in arrays] for name, arrays in opened.items()}

    def __setstate__(self, state: dict) -> None:
        for name in MAPPED:
            if name in state:
                state[name] = [np.load(file, mmap_mode="r") for file in state[name]]
        self.__dict__.update(state)

    def image_tokens(self, photos: list[Path]) -> Tensor:
        """[P, N, D_image] in float16, in the order asked."""
        if self._pooled:
            return torch.stack([self._pooled[photo] for photo in photos])
        places = np.array([self._image_places[self.photo_key[photo]] for photo in photos])  # [P, 2]: shard, row
        tokens = np.empty((len(photos), *self._image_shards[0].shape[1:]), dtype=np.float16)
        for shard in np.unique(places[:, 0]):
            inside = places[:, 0] == shard
            tokens[inside] = self._image_shards[shard][places[inside, 1]]
        return torch.from_numpy(tokens)

    def _pool_images(self, whole: tuple[int, int], grid: tuple[int, int]) -> None:
        photos = list(self.photo_key)
        pooled: dict[Path, Tensor] = {}
        for first in range(0, len(photos), POOLED_AT_ONCE):
            part = photos[first : first + POOLED_AT_ONCE]
            pooled |= dict(zip(part, pool_cells(self.image_tokens(part), whole, grid).half(), strict=True))
        self._pooled = pooled

    def mean_image_token(self, photos: list[Path]) -> Tensor:
        """The average cell of some photos: [D_image] in float32. Duplicates count once."""
        photo_means = []
        for photo in dict.fromkeys(photos):
            shard, row = self._image_places[self.photo_key[photo]]
            photo_means.append(self._image_shards[shard][row].mean(axis=0, dtype=np.float32))
        return torch.from_numpy(np.mean(photo_means, axis=0, dtype=np.float32))

    def question_lengths(self, questions: list[str]) -> list[int]:
        """Number of tokens of each question."""
        return [end - start for _, start, end in map(self._text_span, questions)]

    def text_tokens(self, questions: list[str]) -> tuple[Tensor, Tensor]:
        """Tokens [B, T, D_text] in float16, padded with 0, and mask [B, T]."""
        spans = [self._text_span(question) for question in questions]
        lengths = np.array([end - start for _, start, end in spans])
        tokens = np.zeros((len(questions), lengths.max(), self._text_shards[0].shape[1]), dtype=np.float16)
        for place, (shard, start, end) in enumerate(spans):
            tokens[place, : end - start] = self._text_shards[shard][start:end]
        return torch.from_numpy(tokens), torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])

    def _text_span(self, question: str) -> tuple[int, int, int]:
        """Where a question's tokens lie: shard, first, one past the last."""
        shard, row = self._text_places[question]
        return shard, int(self._text_starts[shard][row]), int(self._text_starts[shard][row + 1])


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("shard-*") if (path / SHARD_KEYS).exists())


def _open_shards(shards: list[Path]) -> tuple[list[np.ndarray], dict[str, tuple[int, int]]]:
    """The memory-mapped arrays of shards, and for every key its shard and row."""
    arrays: list[np.ndarray] = []
    places: dict[str, tuple[int, int]] = {}
    for number, shard in enumerate(shards):
        arrays.append(np.load(shard / "tokens.npy", mmap_mode="r"))
        keys = json.loads((shard / SHARD_KEYS).read_text(encoding="utf-8"))
        places |= {key: (number, row) for row, key in enumerate(keys)}
    return arrays, places


def _missing(folder: Path, keys: Iterable[str]) -> list[str]:
    known = {key for shard in _shards(folder) for key in json.loads((shard / SHARD_KEYS).read_text(encoding="utf-8"))}
    return [key for key in keys if key not in known]


@contextmanager
def _new_shard(folder: Path, keys: list[str], made_from: dict) -> Iterator[Path]:
    """A folder to fill with ``tokens.npy``; it becomes a shard once it is whole."""
    with replace_folder(folder / f"shard-{uuid.uuid4().hex}") as fresh:
        yield fresh
        (fresh / SHARD_KEYS).write_text(json.dumps(keys, ensure_ascii=False), encoding="utf-8")
    if not (folder / MADE_FROM_FILE).exists():
        write_text(folder / MADE_FROM_FILE, json.dumps(made_from) + "\n")


def _photo_keys(photos: Iterable[Path]) -> dict[Path, str]:
    """What tells each photo from others: a hash of its file's bytes, so one moved or unpacked again stays known."""
    return {photo: sha256_of(photo) for photo in dict.fromkeys(photos)}


@torch.no_grad()
def mean_image_token(model: AnyModel, photos: list[Path]) -> Tensor:
    """The average cell of all photos, [D_image] in float32, by running the encoder without a cache."""
    model.image_encoder.eval()
    photos = list(dict.fromkeys(photos))
    sums = [tokens.float().mean(dim=1).sum(dim=0) for _, tokens in _encode_photos(model, photos)]
    return sum(sums[1:], sums[0]) / len(photos)


def read_pixels(model: AnyModel | ModelInputs, photo: str | Path | bytes) -> Tensor:
    """Open one photo of a data set as pixels [3, S, S].

    Raises:
        DataError: it can't be read; the message names the file.
    """
    try:
        return model.pixels(open_photo(photo))
    except InputError as error:
        raise DataError(f"{printable(photo)}: {error}") from error


@torch.no_grad()
def _image_folder(model: AnyModel, photo_key: dict[Path, str], cache: Path) -> Path:
    """The folder of the image encoder's shards, with every photo in one of them."""
    encoder: Any = model.image_encoder.eval()  # its buffers are `Tensor | Module` to mypy
    made_from = {
        "photos known by": "content",
        "photo preprocessing": PHOTO_PREPROCESSING,
        "image_size": model.config.image_size,
        "resize": "squash",  # all of a photo to one square
        "normalization": [encoder.mean.flatten().tolist(), encoder.std.flatten().tolist()],
        "grid": list(encoder.grid),
        "encoder": _weights_fingerprint(encoder),
    } | ({"photo_detail": model.config.photo_detail} if model.config.photo_detail else {})
    folder = _encoder_folder(cache, "image", made_from, "photos")
    missing = set(_missing(folder, photo_key.values()))
    photos = list({key: photo for photo, key in photo_key.items() if key in missing}.values())  # copies once
    rows, columns = encoder.grid
    for first in range(0, len(photos), PHOTO_SHARD):
        part = photos[first : first + PHOTO_SHARD]
        with _new_shard(folder, [photo_key[photo] for photo in part], made_from) as fresh:
            shape = (len(part), rows * columns, encoder.width)
            tokens = np.lib.format.open_memmap(fresh / "tokens.npy", mode="w+", dtype=np.float16, shape=shape)
            for start, encoded in _encode_photos(model, part):
                tokens[start : start + len(encoded)] = encoded.half().cpu().numpy()
            tokens.flush()
    return folder


def _encode_photos(model: AnyModel, photos: list[Path]) -> Iterator[tuple[int, Tensor]]:
    """Batches of photos, encoded: the place of the first one and tokens [up to PHOTO_BATCH, N, D]."""
    for start in tqdm(range(0, len(photos), PHOTO_BATCH), desc="encoding photos", unit=f"{PHOTO_BATCH} photos"):
        pixels = torch.stack([read_pixels(model, photo) for photo in photos[start : start + PHOTO_BATCH]])
        yield start, model.image_encoder(pixels.to(model.device))


@torch.no_grad()
def _text_folder(model: AnyModel, questions: list[str], cache: Path, above: int) -> Path:
    """The folder of the text encoder's shards, with every question in one of them."""
    made_from = {
        "question preprocessing": QUESTION_PREPROCESSING,
        "max_question_tokens": model.config.max_question_tokens,
        "tokenizer": fingerprint(model.tokenizer.tokenizer.backend_tokenizer.to_str()),
        "encoder": _weights_fingerprint(model.text_encoder.eval()),
    } | ({"layers left out": above} if above else {})
    folder = _encoder_folder(cache, "text", made_from, "questions")
    missing = _missing(folder, questions)
    for first in range(0, len(missing), QUESTION_SHARD):
        part = missing[first : first + QUESTION_SHARD]
        encoded = [np.empty(0)] * len(part)
        by_length = sorted(range(len(part)), key=lambda index: len(part[index]))
        for start in tqdm(range(0, len(part), QUESTION_BATCH), desc="encoding questions", unit="batch"):
            chosen = by_length[start : start + QUESTION_BATCH]
            ids, mask = model.tokenizer([part[index] for index in chosen], truncate=True)
            inputs = ids.to(model.device), mask.to(model.device)
            encoded_part = model.text_encoder.lower(*inputs, above) if above else model.text_encoder(*inputs).tokens
            tokens = encoded_part.half().cpu().numpy()
            for place, index in enumerate(chosen):
                encoded[index] = tokens[place, : int(mask[place].sum())]
        with _new_shard(folder, part, made_from) as fresh:
            np.save(fresh / "tokens.npy", np.concatenate(encoded))
            np.save(fresh / "starts.npy", np.cumsum([0, *map(len, encoded)]))
    return folder


def _encoder_folder(cache: Path, kind: str, made_from: dict, what: str) -> Path:
    """The folder of features that were made from just this; of another it takes none, and says so once."""
    folder = cache / f"{kind}-{fingerprint(made_from)[:16]}"
    if not folder.exists():
        others = [path for path in cache.glob(f"{kind}-*") if path.is_dir()]
        if others:
            known = [read_json(path / MADE_FROM_FILE) for path in others if (path / MADE_FROM_FILE).is_file()]
            changed = sorted((differences(other, made_from) for other in known if isinstance(other, dict)), key=len)
            why = ", ".join(changed[0]) if changed else "an earlier version wrote them"
            print(f"{cache} holds features of {what} that can't be used here: {why}. The {what} are encoded anew.")
    return folder


def _weights_fingerprint(encoder: torch.nn.Module) -> str:
    """A hash of an encoder's weights, and of what its backbone's config says beside them."""
    to_dict = getattr(getattr(encoder.backbone, "config", None), "to_dict", dict)  # a timm model has no config
    settings: dict[str, object] = to_dict()
    for name in ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures"):  # not what it does
        settings.pop(name, None)
    digest = hashlib.sha256(fingerprint([type(encoder.backbone).__name__, settings]).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + str(tensor.dtype).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
