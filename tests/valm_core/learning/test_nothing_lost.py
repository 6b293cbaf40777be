"""Kills, a full disk, vanished photos: the last good state is whole, and going on ends as if nothing had happened."""

import errno
import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
import torch
from patience import PATIENCE
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.datasets.questions import QuestionDataset
from training.train import main
from valm_core.checkpoints.atomic_files import recover_folder, write_bytes
from valm_core.checkpoints.storage import load_checkpoint

ROOT = Path(__file__).parents[3]
SETTINGS = [
    "epochs=4",
    "batch_size=2",
    "save_every=1",
    "early_stopping_patience=9",
    "dropout=0.2",
    "visual_weight=0.5",
    "alignment_weight=0.5",
    "weights=float32",
    "threads=1",
]


def arguments(config_file, output: Path, *more: str) -> list[str]:
    return ["--config", str(config_file), "--device", "cpu", "--output", str(output), *SETTINGS, *more]


def lines(run: Path) -> list[dict]:
    """The lines of metrics.jsonl without the time they took."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(recover_folder(run / "last") / "trainer.pt", weights_only=True)["weights"]


def assert_same_end(run: Path, whole: Path) -> None:
    """Both runs ended with the same weights bit by bit, in the checkpoint and in the last state, and the same log."""
    for read in (lambda folder: load_file(folder / "checkpoint" / "model.safetensors"), last_weights):
        found, expected = read(run), read(whole)
        assert found.keys() == expected.keys()
        assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert lines(run) == lines(whole)
    assert [row["epoch"] for row in lines(run)] == [0, 1, 2, 3, 4]
    assert list(run.glob(".*.new")) == [] and list(run.glob(".*.old")) == []


def assert_whole(run: Path, copy: Path) -> None:
    """Everything that the run has saved so far can be loaded; looked at in a copy, for loading mends."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    if recover_folder(copy / "last").exists():
        assert all(tensor.isfinite().all() for tensor in last_weights(copy).values())
    for name in ("best", "checkpoint"):
        if recover_folder(copy / name).exists():
            load_checkpoint(copy / name)


KILLED = """
import os, re, signal, sys
from training.train import main

pattern, number, *command = sys.argv[1:]
left = int(number)

def watch(event, values):
    global left
    if event in ("open", "os.rename") and re.search(pattern, f"{event} {values[0]}"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
main(command)
"""  # killed when it opens or renames for the time NUMBER what the pattern names: at the same moment on any machine


def test_a_process_killed_at_random_moments_ends_as_an_uninterrupted_one(forks, config_file, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "killed"
    main(arguments(config_file, whole))
    moments = random.Random(0)
    for pattern, number in (
        (rf"{run}/", moments.randint(10, 60)),  # anything that the run reads or writes
        (
            r"rename .*/\.last\.\w+\.new",
            moments.randint(2, 4),
        ),  # the old state is put aside, the new isn't there
        (r"open .*/\.checkpoint\.\w+\.new", 1),
    ):
        resume = ["--resume"] if recover_folder(run / "last").exists() else []
        command = ["-c", KILLED, pattern, number, *arguments(config_file, run, *resume)]
        process = forks.start(command, stdout=tmp_path / "log.txt")
        assert process.wait(PATIENCE) == -signal.SIGKILL, (tmp_path / "log.txt").read_text()
        assert_whole(run, tmp_path / "copy")
    main(arguments(config_file, run, "--resume"))
    assert_same_end(run, whole)


def test_a_new_run_forgets_the_last_state_of_an_earlier_one(config_file, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    main(arguments(config_file, run, "epochs=1"))
    collate = QuestionDataset.collate

    def stop(self, indices):
        if len(indices) == 2:  # a training batch
            raise KeyboardInterrupt
        return collate(self, indices)

    with monkeypatch.context() as patch:
        patch.setattr(QuestionDataset, "collate", stop)
        with pytest.raises(KeyboardInterrupt):
            main(arguments(config_file, run, "epochs=1"))
    with pytest.raises(SystemExit):
        main(arguments(config_file, run, "epochs=1", "--resume"))
    assert "nothing to resume" in capsys.readouterr().err
    assert load_checkpoint(run / "best")


# ---- full disk -------------------------------------------------------------------------------------------------------


def refused(capsys, *command: str) -> str:
    """The one line that the command ends with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([*command])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    message = error.rstrip("\n").split("\n")[-1]  # a progress bar before it must have ended its line
    assert "Traceback" not in error and "row/s" not in message
    return message


def disk_full_after(saves: int, writer):
    """``writer``, but from the call number ``saves`` on it leaves half a file and raises as on a full disk."""
    calls = []

    def write(content, path, *arguments, **settings):
        calls.append(path)
        if len(calls) <= saves:
            return writer(content, path, *arguments, **settings)
        Path(path).write_bytes(b"half")
        if writer is torch.save:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    return write


@pytest.mark.parametrize(
    ("target", "writer", "folder"),
    [("torch.save", torch.save, "last"), ("valm_core.checkpoints.storage.save_file", save_file, "best")],
)
def test_a_full_disk_is_told_and_the_last_good_state_is_whole(
    config_file, tmp_path, monkeypatch, capsys, target, writer, folder
):
    whole, run = tmp_path / "whole", tmp_path / "run"
    main(arguments(config_file, whole))
    with monkeypatch.context() as patch:
        saves = 6 if folder == "last" else 1  # the last state of epoch 2, the second best model
        patch.setattr(target, disk_full_after(saves, writer))
        message = refused(capsys, *arguments(config_file, run))
    assert f"{run / folder} could not be written" in message and "No space left" in message and "--resume" in message
    assert list(run.glob(".*.new")) == []
    assert_whole(run, tmp_path / "copy")
    main(arguments(config_file, run, "--resume"))
    assert_same_end(run, whole)


def test_a_disk_that_really_refuses_a_large_file(config_file, tmp_path, monkeypatch, capsys):
    resource = pytest.importorskip("resource")
    run = tmp_path / "run"
    collate = QuestionDataset.collate
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def shrink_the_disk(self, indices):
        if (run / "last").exists():
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        return collate(self, indices)

    monkeypatch.setattr(QuestionDataset, "collate", shrink_the_disk)
    try:
        message = refused(capsys, *arguments(config_file, run))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{run / 'last'} could not be written" in message
    assert list(run.glob(".*.new")) == []
    assert_whole(run, tmp_path / "copy")


# ---- photos ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fault", ["deleted", "broken"])
def test_a_photo_lost_within_an_epoch_is_named(config_file, tmp_path, monkeypatch, capsys, fault, workers):
    run, photo = tmp_path / "run", tmp_path / "blue.png"
    content, collate = photo.read_bytes(), QuestionDataset.collate
    settings = ["cache=''", f"workers={workers}", "epochs=2", "save_every=0"]

    def lose(self, indices):
        if (run / "last").exists() and len(indices) == 2:  # a training batch of the second epoch
            # Both workers may come here at once, and neither may see the other halfway.
            photo.unlink(missing_ok=True) if fault == "deleted" else write_bytes(photo, content[:60])
            indices = [row for row, each in enumerate(self.rows) if each.image == photo]
        return collate(self, indices)

    with monkeypatch.context() as patch:
        patch.setattr(QuestionDataset, "collate", lose)
        message = refused(capsys, *arguments(config_file, run, *settings))
    assert str(photo) in message
    assert ("There is no file" if fault == "deleted" else "can't be read as a photo") in message
    assert_whole(run, tmp_path / "copy")
    photo.write_bytes(content)
    main(arguments(config_file, run, *settings, "--resume"))
    assert [row["epoch"] for row in lines(run)] == [0, 1, 2]
