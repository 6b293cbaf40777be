"""Encode a large collection of photos that lies in shards, to find them by words; on this machine or on a Ray cluster.

Example:
    python -m training.embed_photos --checkpoint assets/checkpoints/find --input shards --output vectors \\
        --engine ray --workers 2

Every shard (.tar or .parquet, see datasets/readers/shards.py; of a row only the photo is read) becomes one SHARD.npz:
`keys` [P], `vectors` [P, D] float16 of length 1, `cells` [P, M, D] int8, and `faults`, a line of JSON for each photo
that can't be read. ``read_vectors`` reads them all. Files, engines and restarts are as of `training.batch_answer`.
"""

import io
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from training.datasets.readers.jsonl import DataError
from training.datasets.readers.shards import Fault, ShardRow, scan_shard
from training.shard_runs import shard_file, shard_main
from valm_core.checkpoints.atomic_files import write_bytes
from valm_core.inputs.photo import PHOTO_PREPROCESSING, open_photo
from valm_core.inputs.text import writable
from valm_core.outputs import InputError
from valm_core.retrieval.finder import PhotoFinder

SUFFIX = ".npz"


class ShardEmbedder:
    """Encodes the photos of whole shards with one model; what runs in a worker of either engine.

    Args:
        checkpoint: folder of a retrieval model.
        output: folder of the vectors.
        batch_size: photos encoded at once.
        device: auto, cpu, cuda or mps.
        threads: CPU threads.
    """

    suffix: ClassVar[str] = SUFFIX
    rows: ClassVar[str] = "photos"
    versions: ClassVar[dict[str, int]] = {"photo preprocessing": PHOTO_PREPROCESSING}

    def __init__(self, checkpoint: str, output: str, batch_size: int = 32, device: str = "auto", threads: int = 1):
        torch.set_num_threads(threads)
        self.finder = PhotoFinder.from_checkpoint(checkpoint, device)
        self.output, self.batch_size = Path(output), batch_size

    def work(self, shard: Path) -> int:
        """Write the vectors of one shard; returns how many photos it had. Raises DataError."""
        rows, count = scan_shard(shard), 0
        keys: list[str] = []
        vectors = [np.empty((0, self.finder.width), dtype=np.float16)]
        cells = [np.empty((0, self.finder.cells, self.finder.width), dtype=np.int8)]
        faults: list[str] = []
        while batch := list(islice(rows, self.batch_size)):
            count += len(batch)
            opened = list(_opened(batch, faults))
            if opened:
                encoded = self.finder.encode_photos([photo for _, photo in opened])
                keys += [key for key, _ in opened]
                vectors.append(encoded.vectors)
                cells.append(encoded.cells)
        file = io.BytesIO()
        np.savez(
            file,
            keys=np.array(keys, dtype=str),
            vectors=np.concatenate(vectors),
            cells=np.concatenate(cells),
            faults=np.array(faults, dtype=str),
        )
        write_bytes(shard_file(shard, self.output, self.suffix), file.getvalue())
        return count


def _opened(batch: list[ShardRow | Fault], faults: list[str]) -> Iterator[tuple[str, Image.Image]]:
    """Key and photo of each row; one that can't be read goes to the faults."""
    for row in batch:
        try:
            if isinstance(row, Fault):
                raise InputError(row.error)
            yield writable(row.key), open_photo(row.photo)
        except InputError as error:
            faults.append(json.dumps({"key": writable(row.key), "error": writable(error)}, ensure_ascii=False))


def read_vectors(folder: str | Path) -> tuple[list[tuple[str, str]], np.ndarray]:
    """All photos that were encoded into a folder: (shard, key) of each, and their vectors [P, D] float16.

    Raises:
        DataError: there is no such file, or one is damaged; it is named.
    """
    files = sorted(Path(folder).glob(f"*{SUFFIX}"))
    if not files:
        raise DataError(f"{folder} has no {SUFFIX} file. Run training.embed_photos first.")
    names: list[tuple[str, str]] = []
    vectors = []
    for file in files:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                names += [(file.stem, str(key)) for key in arrays["keys"]]
                vectors.append(arrays["vectors"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise DataError(f"{file} can't be read: {error}. Delete it and encode its shard again.") from error
    return names, np.concatenate(vectors)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    shard_main(__doc__, ShardEmbedder, arguments)


if __name__ == "__main__":
    main()
