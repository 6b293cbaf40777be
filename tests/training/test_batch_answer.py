"""Answering shards: what one question at a time gives, faults by row, finished shards once; Ray gives the same."""

import io
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image
from toy_data import ANSWERS, write_files, write_parquet, write_tar

from training import batch_answer
from training.datasets.readers.jsonl import DataError, read_rows
from training.datasets.readers.shards import find_shards, read_shard, scan_questions
from training.shard_runs import work_with_ray
from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.model.build import build_model
from valm_core.predictor import VqaPredictor


@pytest.fixture
def shards(colored_squares, tmp_path) -> Path:
    """The toy set as a tar and a Parquet shard of four rows each."""
    folder = tmp_path / "shards"
    folder.mkdir()
    rows = read_rows(colored_squares)
    write_tar(folder / "part-0.tar", rows[:4])
    write_parquet(folder / "part-1.parquet", rows[4:])
    return folder


@pytest.fixture
def checkpoint(tiny_config, tmp_path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(build_model(tiny_config, ANSWERS), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def run(checkpoint: Path, shards: Path, output: Path, capsys, *more: str) -> dict:
    """The command's counts."""
    batch_answer.main(
        ["--checkpoint", str(checkpoint), "--input", str(shards), "--output", str(output), "--device", "cpu", *more]
    )
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def answers(folder: Path) -> dict[str, list[dict]]:
    return {path.name: [json.loads(line) for line in path.open()] for path in sorted(folder.glob("*.jsonl"))}


def test_the_answers_are_those_of_one_question_at_a_time(checkpoint, shards, tmp_path, capsys):
    found = run(checkpoint, shards, tmp_path / "out", capsys, "--batch", "3")
    assert found["questions"] == 8 and found["shards"] == 2 and found["done_before"] == 0
    predictor = VqaPredictor.from_checkpoint(checkpoint, device="cpu")
    for shard in find_shards(shards):
        lines = answers(tmp_path / "out")[f"{shard.stem}.jsonl"]
        for line, row in zip(lines, scan_questions(shard), strict=True):
            expected = predictor.answer(predictor.encode(row.photo), row.question).answers[0]
            assert (line["key"], line["question"], line["answer"]) == (row.key, row.question, expected.text)
            assert line["probability"] == pytest.approx(expected.probability, abs=1e-5)


def test_finished_shards_are_not_done_again(checkpoint, shards, tmp_path, capsys):
    run(checkpoint, shards, tmp_path / "out", capsys)
    before = answers(tmp_path / "out")
    (tmp_path / "out" / "part-1.jsonl").unlink()  # as if killed before the second shard
    (tmp_path / "out" / "part-0.jsonl").write_text("kept\n")
    found = run(checkpoint, shards, tmp_path / "out", capsys)
    assert found["done_before"] == 1 and found["questions"] == 4
    assert (tmp_path / "out" / "part-0.jsonl").read_text() == "kept\n"
    (tmp_path / "out" / "part-0.jsonl").unlink()
    assert answers(tmp_path / "out")["part-1.jsonl"] == before["part-1.jsonl"]


def test_results_of_two_models_never_lie_in_one_folder(checkpoint, shards, tmp_path, capsys):
    first, second, output = tmp_path / "first", tmp_path / "second", tmp_path / "out"
    for folder, name in ((first, "part-0.tar"), (second, "part-1.parquet")):
        folder.mkdir()
        (shards / name).rename(folder / name)
    run(checkpoint, first, output, capsys)
    other = load_checkpoint(checkpoint)
    other.temperature = 2.0
    torch.nn.init.ones_(other.head[-1].weight)
    save_checkpoint(other, tmp_path / "other")
    with pytest.raises(SystemExit):
        run(tmp_path / "other", second, output, capsys)
    assert "holds results made with other" in capsys.readouterr().err
    assert run(checkpoint, second, output, capsys)["questions"] == 4  # shards of another folder may join
    assert run(checkpoint, first, output, capsys)["done_before"] == 1
    assert answers(output).keys() == {"part-0.jsonl", "part-1.jsonl"}


def test_half_a_character_is_an_error_of_its_row_and_a_byte_order_mark_none(
    checkpoint, colored_squares, tmp_path, capsys
):
    photo, folder = (tmp_path / "red.png").read_bytes(), tmp_path / "odd"
    folder.mkdir()
    files = {
        "a.png": photo,
        "a.json": b'{"question": "what \\ud83d?"}',
        "b.png": photo,
        "b.json": b'\xef\xbb\xbf{"question": "what is it?"}',
    }
    write_files(folder / "odd.tar", files)
    run(checkpoint, folder, tmp_path / "out", capsys)
    first, second = answers(tmp_path / "out")["odd.jsonl"]
    assert "half a character" in first["error"] and first["question"] == r"what \ud83d?"
    assert second["answer"] in ANSWERS
    write_files(folder / "odd.tar", files | {"b.json": b'{"question": "what?", "question": "who?"}'})
    with pytest.raises(DataError, match=r"odd\.tar, b: .*`question` is given twice"):
        list(read_shard(folder / "odd.tar"))


def test_what_cannot_be_answered_says_why_in_its_line(checkpoint, colored_squares, tmp_path, capsys):
    folder = tmp_path / "faulty"
    folder.mkdir()
    photo = read_rows(colored_squares)[0].image.read_bytes()
    write_files(
        folder / "a.tar",
        {
            "1.png": b"no photo",
            "1.json": b'{"question": "what color?"}',
            "2.png": photo,
            "2.json": json.dumps({"question": "what " * 40}).encode(),
            "3.png": photo,
            "3.json": b'{"question": "what color?"}',
            "4.png": photo,
            "5.json": b'{"question": "what color?"}',
            "6.png": photo,
            "6.json": b'{"question": "a", "question": "b"}',
        },
    )
    assert run(checkpoint, folder, tmp_path / "out", capsys)["questions"] == 6
    first, second, third, *faults = answers(tmp_path / "out")["a.jsonl"]
    said = ("there is no question", "there is no photo", "`question` is given twice")
    for key, line, fault in zip("456", faults, said, strict=True):
        assert line["key"] == key and fault in line["error"] and "answer" not in line
    assert "can't be read as a photo" in first["error"] and "word pieces" in second["error"]
    assert third["answer"] in ANSWERS and "error" not in third


def test_a_damaged_shard_keeps_no_other_from_being_done(checkpoint, shards, tmp_path, capsys):
    (shards / "0.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(SystemExit) as exit:
        run(checkpoint, shards, tmp_path / "out", capsys)
    assert exit.value.code == 2
    said = capsys.readouterr().err.splitlines()
    others = len(find_shards(shards)) - 1
    assert "0.parquet can't be read" in said[-2] and said[-1] == f"{others} of {others + 1} shards are done."
    assert len(answers(tmp_path / "out")) == others


def test_faulty_shards_are_named(tmp_path):
    with pytest.raises(DataError, match="has no shard"):
        find_shards(tmp_path)
    write_files(tmp_path / "a.tar", {"1.json": b'{"question": "what color?"}'})
    with pytest.raises(DataError, match=r"a\.tar, 1: there is no photo"):
        list(read_shard(tmp_path / "a.tar"))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"b\.parquet can't be read"):
        list(read_shard(tmp_path / "b.parquet"))
    (tmp_path / "a.parquet").touch()
    with pytest.raises(DataError, match="two shards 'a'"):
        find_shards(tmp_path)


def test_ray_gives_the_same_and_a_killed_worker_loses_nothing(checkpoint, shards, tmp_path, capsys):
    """Two workers; the first to start a shard is killed at once, and the work is done all the same."""
    ray = pytest.importorskip("ray", reason="pip install -e '.[scale]'")
    marker = tmp_path / "killed"

    class DiesOnce(batch_answer.ShardAnswerer):
        def work(self, shard):
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().work(shard)

    run(checkpoint, shards, tmp_path / "local", capsys)
    ray.init(
        num_cpus=3, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": _paths()}}
    )
    try:
        arguments = (str(checkpoint), str(tmp_path / "ray"), 32, "cpu", 1)
        assert work_with_ray(find_shards(shards), DiesOnce, arguments, 2, cuda=False) == 8
        (tmp_path / "z.parquet").write_bytes(b"PAR1 nothing")
        with pytest.raises(DataError, match=r"z\.parquet can't be read.*\n0 of 1 shards are done"):
            work_with_ray([tmp_path / "z.parquet"], DiesOnce, arguments, 1, cuda=False)
    finally:
        ray.shutdown()
    assert marker.exists()
    assert answers(tmp_path / "ray") == answers(tmp_path / "local")


def _paths() -> str:
    """Where the workers find the project and the tests."""
    root = Path(__file__).parents[2]
    return os.pathsep.join(map(str, (root, root / "tests", root / "tests" / "helpers")))


def test_a_tar_made_on_a_mac_with_any_names_and_formats(checkpoint, colored_squares, tmp_path, capsys):
    photo = read_rows(colored_squares)[0].image
    jfif = io.BytesIO()
    Image.open(photo).save(jfif, "JPEG")
    odd, asked = os.fsdecode(b"caf\xe9"), json.dumps({"question": "what color is the square?"}).encode()
    files = {
        "._0.png": b"companion",
        "0.png": photo.read_bytes(),
        "._0.json": b"companion",
        "0.json": asked,
        "__MACOSX/0.png": b"companion",
        f"{odd}.JFIF": jfif.getvalue(),
        f"{odd}.json": asked,
    }
    (tmp_path / "shards").mkdir()
    write_files(tmp_path / "shards" / "a.tar", files)
    (tmp_path / "shards" / "._a.tar").write_bytes(b"companion")
    found = run(checkpoint, tmp_path / "shards", tmp_path / "out", capsys)
    assert (found["shards"], found["questions"]) == (1, 2)
    assert [line["key"] for line in answers(tmp_path / "out")["a.jsonl"]] == ["0", "caf\\udce9"]
    assert all("error" not in line for line in answers(tmp_path / "out")["a.jsonl"])


def test_answers_of_another_model_or_of_changed_shards_are_not_gone_on_with(checkpoint, shards, tmp_path, capsys):
    run(checkpoint, shards, tmp_path / "out", capsys)
    before = answers(tmp_path / "out")
    shard = (shards / "part-0.tar").read_bytes()

    def refused() -> str:
        with pytest.raises(SystemExit) as ended:
            run(checkpoint, shards, tmp_path / "out", capsys)
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "Name another --output folder" in line and answers(tmp_path / "out") == before
        return line

    (shards / "part-0.tar").write_bytes(shard[:7000] + b"changed" + shard[7007:])
    assert "made with other part-0.tar." in refused()
    (shards / "part-0.tar").write_bytes(shard)
    (shards / "part-2.tar").write_bytes(shard)  # one that joins is no change
    assert run(checkpoint, shards, tmp_path / "out", capsys)["done_before"] == 2
    before = answers(tmp_path / "out")
    model = load_checkpoint(checkpoint)
    model.head[-1].bias.data += 1
    save_checkpoint(model, checkpoint)
    assert "made with other model.safetensors." in refused()
    (tmp_path / "out" / "made_from.json").unlink()
    assert "without a note which model gave them" in refused()
