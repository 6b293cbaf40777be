"""Encoding shards of photos: what one photo at a time gives, faults by row, and words that find the right ones."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from toy_data import ANSWERS, write_files, write_tar

from training import embed_photos
from training.datasets.readers.jsonl import DataError, read_rows
from training.embed_photos import read_vectors
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.model.build import build_model, build_task_model
from valm_core.retrieval.finder import PhotoFinder
from valm_core.retrieval.index import Known


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    torch.manual_seed(0)
    model = build_task_model(dataclasses.replace(tiny_config, task="retrieval"))
    save_checkpoint(model, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def shards(colored_squares, tmp_path):
    """Two shards of four photos; the second has a fifth that is none."""
    folder = tmp_path / "shards"
    folder.mkdir()
    rows = read_rows(colored_squares)
    write_tar(folder / "a.tar", rows[:4])
    files = {f"{number}.png": row.image.read_bytes() for number, row in enumerate(rows[4:])}
    write_files(folder / "b.tar", files | {"broken.jpg": b"no photo"})
    return folder


def run(checkpoint, shards, output, capsys, *more):
    """The command's counts."""
    embed_photos.main(
        ["--checkpoint", str(checkpoint), "--input", str(shards), "--output", str(output), "--device", "cpu", *more]
    )
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_vectors_are_those_of_one_photo_at_a_time(checkpoint, shards, colored_squares, tmp_path, capsys):
    found = run(checkpoint, shards, tmp_path / "out", capsys, "--batch", "3")
    assert (found["shards"], found["photos"]) == (2, 9)
    names, vectors = read_vectors(tmp_path / "out")
    assert names == [(shard, str(number)) for shard in "ab" for number in range(4)]
    finder = PhotoFinder.from_checkpoint(checkpoint, "cpu")
    keys = [finder.encode_photos([row.image]) for row in read_rows(colored_squares)]
    assert np.allclose(vectors, np.concatenate([one.vectors for one in keys]), atol=2e-3)
    with np.load(tmp_path / "out" / "b.npz") as arrays:
        assert np.abs(arrays["cells"].astype(int) - np.concatenate([one.cells for one in keys[4:]])).max() <= 1
        assert json.loads(str(arrays["faults"][0]))["key"] == "broken" and len(arrays["faults"]) == 1
    nearest = Known(tuple(map(str, names)), vectors.astype(np.float32)).nearest(keys[5].vectors[0], 1)
    assert np.allclose(vectors[nearest[0]], vectors[5], atol=2e-3)
    assert run(checkpoint, shards, tmp_path / "out", capsys)["done_before"] == 2


def test_a_checkpoint_that_finds_nothing_is_refused(tiny_config, shards, tmp_path, capsys):
    save_checkpoint(build_model(tiny_config, ANSWERS), tmp_path / "answers")
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path / "answers", shards, tmp_path / "out", capsys)
    assert "retrieval" in capsys.readouterr().err


def test_a_damaged_file_is_named_with_its_remedy(tmp_path):
    with pytest.raises(DataError, match=r"Run training\.embed_photos first"):
        read_vectors(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"PK cut")
    with pytest.raises(DataError, match=r"a\.npz can't be read.*encode its shard again"):
        read_vectors(tmp_path)
