"""Two processes under ``accelerate launch`` train as one process with the same global batch does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from patience import wait_until
from safetensors.torch import load_file
from toy_data import write_rows

from training.train import main
from valm_core.checkpoints.atomic_files import recover_folder

ROOT = Path(__file__).parents[3]
TOLERANCE = 2e-4  # of losses near 1, after 12 steps: sums are taken in another order


def launch(config_file, output: Path, processes: int, *settings: str, kill_when=None) -> list[dict]:
    """Train here, or in several processes of their own; returns the lines of metrics.jsonl.

    With ``kill_when`` the processes get kill -9, all at once, as soon as it holds.
    """
    command = ["--config", str(config_file), "--device", "cpu", "--output", str(output), *settings]
    if processes == 1:
        main(command)
    else:
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes), "--cpu"]
        launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        launcher += ["--main_process_port", "0", "-m", "training.train"]
        with (output.parent / "stderr.txt").open("w+") as errors:
            process = subprocess.Popen(
                launcher + command,
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
            try:
                wait_until(lambda: process.poll() is not None or (kill_when and kill_when()), pause=0.001)
            finally:
                running = process.poll() is None
                if running:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            errors.seek(0)
            assert running == (kill_when is not None) and process.returncode in (0, -9), errors.read()[-3000:]
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def uneven(config_file, colored_squares):
    """The toy set without its last row, some rows with a region: in batches of 4, the last batch has 3 rows."""
    rows = [json.loads(line) for line in colored_squares.read_text().splitlines()][:7]
    rows[0]["region"], rows[3]["region"] = [0, 0, 0.5, 0.5], [0.5, 0, 1, 1]
    write_rows(colored_squares, rows)
    sections = yaml.safe_load(config_file.read_text())
    sections["training"] |= {"batch_size": 4, "epochs": 3, "early_stopping_patience": 9, "learning_rate": 0.003}
    sections["training"] |= {"visual_weight": 0.5, "alignment_weight": 0.5, "threads": 1}
    config_file.write_text(yaml.safe_dump(sections))
    return config_file


def assert_same(found, expected, tolerance: float) -> None:
    """Equal metrics, lists and sections of them up to ``tolerance``, whatever they took."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in found.keys() - {"seconds"}:
            assert_same(found[name], expected[name], tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, tolerance)
    else:
        assert found == pytest.approx(expected, abs=tolerance)


ENCODERS_LEARN = ["train_text_encoder=true", "train_image_encoder=true", "cache=''", "encoder_learning_rate=1e-4"]


@pytest.mark.parametrize(
    ("settings", "killed"), [(ENCODERS_LEARN, False), (["accumulation_steps=2"], True)], ids=["encoders", "killed"]
)
def test_two_processes_have_the_losses_of_one(uneven, tmp_path, settings, killed):
    settings = [*settings, "weights=float32", "save_every=1"]
    one = launch(uneven, tmp_path / "one", 1, *settings)
    resume = []
    if killed:

        def in_the_second_epoch() -> bool:
            run = tmp_path / "two"
            return (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text().count("\n") == 2

        launch(uneven, tmp_path / "two", 2, *settings, kill_when=in_the_second_epoch)
        assert recover_folder(tmp_path / "two" / "last").exists()
        resume = ["--resume"]
    two = launch(uneven, tmp_path / "two", 2, *settings, *resume)
    assert [row["epoch"] for row in two] == [0, 1, 2, 3]
    for found, expected in zip(two, one, strict=True):
        assert_same(found, expected, TOLERANCE)
    assert one[-1]["alignment"] > 0.01 and one[-1]["visual"] > 0.01
    found, expected = (load_file(tmp_path / run / "checkpoint" / "model.safetensors") for run in ("two", "one"))
    for name, tensor in expected.items():
        assert (found[name] - tensor).abs().max() < 5e-3, name  # Adam enlarges rounding where a gradient is near 0


def test_two_processes_pretrain(uneven, tmp_path):
    rows = launch(uneven, tmp_path / "run", 2, "objective=pretraining", "epochs=2", "visual_weight=0.0")
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[2]["contrastive"] < rows[1]["contrastive"]
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").is_file()
