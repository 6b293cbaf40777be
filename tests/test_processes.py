"""Two processes under ``accelerate launch`` train as one process with the same global batch does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from toy_data import write_rows

from training.train import main

ROOT = Path(__file__).parent.parent
TOLERANCE = 2e-4  # of losses near 1, after 12 steps: sums are taken in another order


def launch(config_file, output: Path, processes: int, *settings: str) -> list[dict]:
    """Train here, or in several processes of their own; returns the lines of metrics.jsonl."""
    command = ["--config", str(config_file), "--device", "cpu", "--output", str(output), *settings]
    if processes == 1:
        main(command)
    else:
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes), "--cpu"]
        launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        launcher += ["--main_process_port", "0", "-m", "training.train"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            launcher + command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
        )
        assert result.returncode == 0, result.stderr[-3000:]
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
    """Equal rows of metrics up to ``tolerance``, whatever they took."""
    assert found.keys() == expected.keys()
    for name in found.keys() - {"seconds"}:
        if isinstance(found[name], dict):
            assert_same(found[name], expected[name], tolerance)
        else:
            assert found[name] == pytest.approx(expected[name], abs=tolerance), name


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes_have_the_losses_of_one(uneven, tmp_path, accumulation):
    settings = [f"accumulation_steps={accumulation}", "weights=float32"]
    one = launch(uneven, tmp_path / "one", 1, *settings)
    two = launch(uneven, tmp_path / "two", 2, *settings)
    assert [row["epoch"] for row in two] == [0, 1, 2, 3]
    for found, expected in zip(two, one, strict=True):
        assert_same(found, expected, TOLERANCE)
    assert one[-1]["alignment"] > 0.01 and one[-1]["visual"] > 0.01
    found, expected = (load_file(tmp_path / run / "checkpoint" / "model.safetensors") for run in ("two", "one"))
    for name, tensor in expected.items():
        assert (found[name] - tensor).abs().max() < 5e-3, name  # Adam enlarges rounding where a gradient is near 0


def test_encoders_learn_in_two_processes_too(uneven, tmp_path):
    settings = ["train_text_encoder=true", "train_image_encoder=true", "cache=''", "epochs=1"]
    settings.append("encoder_learning_rate=1e-3")
    one, two = (launch(uneven, tmp_path / str(count), count, *settings) for count in (1, 2))
    assert_same(two[-1], one[-1], TOLERANCE)


def test_two_processes_pretrain(uneven, tmp_path):
    rows = launch(uneven, tmp_path / "run", 2, "objective=pretraining", "epochs=2", "visual_weight=0.0")
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[2]["contrastive"] < rows[1]["contrastive"]
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").is_file()
