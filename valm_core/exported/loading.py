"""What exports for all tasks share: graphs, metadata and tokenizer, and photos and texts as the graphs take them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from valm_core.checkpoints.fingerprints import model_fingerprint
from valm_core.exported.files import read_metadata
from valm_core.exported.runtimes import PACKAGE_OF_RUNTIME, RUNTIMES, Graph
from valm_core.inputs.photo import open_photo, photo_to_array
from valm_core.inputs.question import padded_ids
from valm_core.outputs import Photo


@dataclass(frozen=True, eq=False)
class ExportedParts:
    """What ``training.export`` made of a checkpoint.

    Args:
        graphs: by their names.
        metadata: what ``metadata.json`` holds.
        tokenizer: a ``tokenizers.Tokenizer`` that neither pads nor truncates.
    """

    graphs: dict[str, Graph]
    metadata: dict[str, Any]
    tokenizer: Any

    @property
    def fingerprint(self) -> str:
        """``model_fingerprint`` of the checkpoint that this was made from."""
        return model_fingerprint(self.metadata["checkpoint_sha256"], self.metadata["config"])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the image encoder's cells."""
        rows, columns = self.metadata["grid"]
        return rows, columns


def load_parts(folder: Path, threads: int, task: str) -> ExportedParts:
    """Load an export of a model for one task.

    Args:
        folder: that ``python -m training.export`` wrote.
        threads: for one call of a graph, 0 for its runtime's default.
        task: as in ``ValmConfig.task``.

    Raises:
        ImportError: the runtime's package isn't installed.
        FileNotFoundError, ValueError: see ``read_metadata``.
    """
    metadata = read_metadata(folder, task)
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
    return ExportedParts(graphs, metadata, tokenizer)


def photo_pixels(parts: ExportedParts, photos: Sequence[Photo]) -> dict[str, np.ndarray]:
    """The input of the graph ``image_encoder``: pixels [P, 3, S, S] in 0..1. Raises InputError."""
    size, detail = parts.metadata["image_size"], parts.metadata["config"].get("photo_detail", 0)
    pixels = np.stack([photo_to_array(open_photo(photo), size, detail) for photo in photos])
    return {"pixels": np.ascontiguousarray(pixels)}


def text_ids(parts: ExportedParts, texts: Sequence[str], truncate: bool = False) -> dict[str, np.ndarray]:
    """The inputs of the graph ``text_encoder`` for clean texts: token_ids and text_mask [B, T], see ``padded_ids``.

    Raises:
        InputError: a text is too long, and ``truncate`` is off.
    """
    settings = parts.metadata["tokenizer"]
    pieces = [parts.tokenizer.encode(text).ids for text in texts]
    ids, mask = padded_ids(pieces, settings["pad_id"], settings["max_tokens"], truncate)
    return {"token_ids": ids, "text_mask": mask}
