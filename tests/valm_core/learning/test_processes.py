"""Two processes that a launcher started together train as one process with the same global batch does."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from patience import PATIENCE, wait_until
from safetensors.torch import load_file
from served_page import free_port
from toy_data import write_rows

from training.train import main
from valm_core.checkpoints.atomic_files import recover_folder

ENCODERS_LEARN = ["train_text_encoder=true", "train_image_encoder=true", "cache=''", "encoder_learning_rate=1e-4"]
TOLERANCE = 2e-4  # of losses near 1, after 12 steps: sums are taken in another order


def command_of(config_file, output: Path, settings) -> list[str]:
    """What the training command is given."""
    return ["--config", str(config_file), "--device", "cpu", "--output", str(output), *settings]


def metrics(output: Path) -> list[dict]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def launch(forks, config_file, output: Path, *settings: str, kill_when=None) -> list[dict]:
    """Train in two processes that ``forks`` starts, in the environment that a launcher gives them.

    With ``kill_when`` the processes get kill -9, all at once, as soon as it holds.
    """
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    common |= {"ACCELERATE_USE_CPU": "true", "ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "no"}
    log = output.parent / "log.txt"
    log.touch()
    words = ["-m", "training.train", *command_of(config_file, output, settings)]
    processes = [
        forks.start(words, env=os.environ | common | {"RANK": rank, "LOCAL_RANK": rank}, stdout=log)
        for rank in ("0", "1")
    ]

    def over() -> bool:
        ended = [process.poll() for process in processes]
        return None not in ended or any(ended)

    try:
        wait_until(lambda: over() or (kill_when and kill_when()), log.read_text, pause=0.001)
    finally:
        running = [process.poll() is None for process in processes]
        for process in processes:
            process.kill()
        codes = [process.wait(PATIENCE) for process in processes]
    assert running == [kill_when is not None] * 2 and set(codes) <= {0, -9}, log.read_text()[-3000:]
    return metrics(output)


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


def test_two_processes_killed_and_started_again_have_the_losses_of_one(forks, uneven, tmp_path):
    settings = ["accumulation_steps=2", "weights=float32", "save_every=1"]
    main(command_of(uneven, tmp_path / "one", settings))
    one = metrics(tmp_path / "one")

    def in_the_second_epoch() -> bool:
        run = tmp_path / "two"
        return (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text().count("\n") == 2

    launch(forks, uneven, tmp_path / "two", *settings, kill_when=in_the_second_epoch)
    assert recover_folder(tmp_path / "two" / "last").exists()
    two = launch(forks, uneven, tmp_path / "two", *settings, "--resume")
    assert [row["epoch"] for row in two] == [0, 1, 2, 3]
    for found, expected in zip(two, one, strict=True):
        assert_same(found, expected, TOLERANCE)
    assert one[-1]["alignment"] > 0.01 and one[-1]["visual"] > 0.01
    found, expected = (load_file(tmp_path / run / "checkpoint" / "model.safetensors") for run in ("two", "one"))
    for name, tensor in expected.items():
        assert (found[name] - tensor).abs().max() < 5e-3, name  # Adam enlarges rounding where a gradient is near 0


def without_dropout(config_file, folder: Path) -> None:
    """Give a run's config a copy of its text encoder that drops nothing: each process would drop something else."""
    sections = yaml.safe_load(config_file.read_text())
    kind, _, name = sections["model"]["text_encoder"].partition(":")
    settings = json.loads((shutil.copytree(name, folder) / "config.json").read_text())
    settings |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(settings))
    sections["model"]["text_encoder"] = f"{kind}:{folder}"
    config_file.write_text(yaml.safe_dump(sections))


def test_encoders_learn_in_two_processes_as_in_one(forks, uneven, tmp_path):
    without_dropout(uneven, tmp_path / "text_encoder")
    settings = [*ENCODERS_LEARN, "weights=float32", "epochs=2"]
    main(command_of(uneven, tmp_path / "one", settings))
    two, one = launch(forks, uneven, tmp_path / "two", *settings), metrics(tmp_path / "one")
    assert [row["epoch"] for row in two] == [0, 1, 2]
    for found, expected in zip(two, one, strict=True):
        assert_same(found, expected, TOLERANCE)


def test_two_processes_pretrain(forks, uneven, tmp_path):
    rows = launch(forks, uneven, tmp_path / "run", "objective=pretraining", "epochs=2", "visual_weight=0.0")
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[2]["contrastive"] < rows[1]["contrastive"]
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").is_file()
