"""Streaming: every row once, shared out over processes, in an order that the seed decides; a run learns from it."""

import itertools
import json
import sys
from importlib.util import find_spec

import pytest
import torch
from toy_data import write_files, write_parquet, write_tar

from training.datasets.readers.jsonl import DataError, read_rows
from training.datasets.streaming import StreamingBatches
from training.train import main

pytestmark = pytest.mark.skipif(find_spec("datasets") is None, reason="pip install -e '.[stream]'")
ROWS = 8


@pytest.fixture(params=["tar", "parquet"])
def shards(request, colored_squares, tmp_path) -> str:
    """The toy set as two shards of four rows: a source for a stream."""
    folder = tmp_path / "shards"
    folder.mkdir()
    rows = read_rows(colored_squares)
    for number, part in enumerate((rows[:4], rows[4:])):
        write = write_tar if request.param == "tar" else write_parquet
        write(folder / f"part-{number}.{request.param}", part)
    return f"stream:{folder}/*.{request.param}"


def seen(stream, count: int) -> list[tuple]:
    return [(row.image, row.question, row.answers) for row in itertools.islice(stream, count)]


def test_an_epoch_has_every_row_once_and_the_seed_decides_the_order(shards, tiny_model, colored_squares):
    batches = StreamingBatches(shards, tiny_model, ROWS, 4, seed=0)
    first = seen(batches.read(epoch=0), ROWS)
    expected = {(row.image.read_bytes(), row.question, row.answers) for row in read_rows(colored_squares)}
    assert len(first) == len(set(first)) == ROWS and set(first) == expected
    assert seen(batches.read(epoch=0), ROWS) == first
    orders = [seen(batches.read(epoch=epoch), ROWS) for epoch in range(1, 5)]
    assert any(order != first for order in orders) and all(set(order) == expected for order in orders)


def test_two_processes_see_different_rows_that_together_are_all(shards, tiny_model):
    batches = StreamingBatches(shards, tiny_model, ROWS, 4, seed=0)
    one, other = (set(seen(batches.read(0, rank, 2), ROWS // 2)) for rank in (0, 1))
    assert not one & other and len(one | other) == ROWS


def test_batches_are_those_of_rows_from_a_file_and_resume_within_an_epoch(shards, tiny_model):
    batches = StreamingBatches(shards, tiny_model, ROWS, 3, seed=0)
    whole = list(batches.epoch(0, first=0, rank=0, processes=1))
    assert len(whole) == len(batches) == 3
    assert whole[0][2].keys() == {"token_ids", "text_mask", "pixels", "photo_index", "photo_ids", "targets"}
    assert [(rows, own) for rows, own, _ in whole] == [(3, 3)] * 3
    later = list(batches.epoch(0, first=2, rank=0, processes=1))
    assert len(later) == 1
    for name, tensor in later[0][2].items():
        assert torch.equal(tensor, whole[2][2][name]), name


@pytest.mark.parametrize("shards", ["parquet"], indirect=True)
def test_a_run_learns_from_a_stream(shards, config_file, colored_squares, tmp_path):
    settings = [f"answer_data={colored_squares}", f"rows={ROWS}", "epochs=25", "early_stopping_patience=25"]
    main(["--config", str(config_file), "--data", shards, "--device", "cpu", *settings])
    report = json.loads((tmp_path / "run" / "checkpoint" / "metrics.json").read_text())
    assert report["accuracy"] == 1.0


def test_faults_are_named(tiny_model, tmp_path):
    with pytest.raises(DataError, match=r"matches nothing; a pattern of \.tar or \.parquet"):
        StreamingBatches(f"stream:{tmp_path}/*.tar", tiny_model, 8, 4, seed=0)
    with pytest.raises(ValueError, match="rows is 0; a stream has no length"):
        StreamingBatches(f"stream:{tmp_path}/*.tar", tiny_model, 0, 4, seed=0)
    import datasets

    datasets.Dataset.from_dict({"question": ["what?"], "answer": ["red"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, 0: there is no photo"):
        next(StreamingBatches(f"stream:{tmp_path}/a.parquet", tiny_model, 8, 4, seed=0).read(0))


GOOD = {"question": "what color is the square?", "answer": "red"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"question": ', "bad: its .json can't be read: Expecting value"),
        ("[1, 2]", r"bad.*: its \.json holds \[1, 2\]; an object"),
        ('{"question": "what?"}', "bad.*: `question` and `answer` or `answers` are needed, found question"),
        ('{"question": "what?", "answer": 3}', "bad.*: `question` and `answer` must be texts"),
        ('{"question": "what?", "answers": "red"}', "bad.*: .* `answers` a list of them; found 'red'"),
        ('{"question": 7, "answer": "red"}', "bad.*: `question` and `answer` must be texts"),
    ],
)
def test_a_faulty_text_is_named_with_its_shard_and_key(tiny_model, colored_squares, tmp_path, text, fault):
    photo = read_rows(colored_squares)[0].image.read_bytes()
    write_files(tmp_path / "shard.tar", {"bad.png": photo, "bad.json": text.encode()})
    with pytest.raises(DataError, match=fault) as raised:
        next(StreamingBatches(f"stream:{tmp_path}/*.tar", tiny_model, 8, 4, seed=0).read(0))
    assert "shard.tar" in str(raised.value)


def test_an_unreadable_photo_is_named_and_its_bytes_are_not_printed(tiny_model, tmp_path):
    content = b"no photo " * 1000
    write_files(tmp_path / "shard.tar", {"bad.png": content, "bad.json": json.dumps(GOOD).encode()})
    batches = StreamingBatches(f"stream:{tmp_path}/*.tar", tiny_model, 1, 1, seed=0)
    with pytest.raises(DataError, match=r"shard\.tar, .*bad: The photo can't be read as a photo") as raised:
        next(batches.epoch(0, 0, 0, 1))
    assert len(str(raised.value)) < 500


def test_a_cut_off_shard_is_told(tiny_model, colored_squares, tmp_path):
    write_tar(tmp_path / "shard.tar", read_rows(colored_squares))
    (tmp_path / "shard.tar").write_bytes((tmp_path / "shard.tar").read_bytes()[:700])
    with pytest.raises(DataError, match=r"shard\.tar can't be read: .*Copy the shard again"):
        next(StreamingBatches(f"stream:{tmp_path}/*.tar", tiny_model, 8, 4, seed=0).read(0))


def test_a_missing_library_says_what_to_install(tiny_model, colored_squares, tmp_path, monkeypatch):
    write_tar(tmp_path / "shard.tar", read_rows(colored_squares))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install -e '\.\[stream\]'"):
        next(StreamingBatches(f"stream:{tmp_path}/*.tar", tiny_model, 8, 4, seed=0).read(0))


def test_a_stream_without_a_known_answer_ends(tiny_model, colored_squares, tmp_path):
    import datasets

    photo = read_rows(colored_squares)[0].image.read_bytes()
    columns = {"image": [photo], "question": ["what?"], "answer": ["zebra"]}
    datasets.Dataset.from_dict(columns).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has an answer that the model knows"):
        next(StreamingBatches(f"stream:{tmp_path}/a.parquet", tiny_model, 8, 4, seed=0).read(0))


def test_a_stream_needs_an_answer_list(config_file, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--config", str(config_file), "--data", f"stream:{tmp_path}/*.tar", "rows=8"])
    assert "needs `answer_data`, a file, or `init`" in capsys.readouterr().err
