"""Short runs of the tiny model on a task's data, as the tests of all tasks train them."""

from collections.abc import Callable
from pathlib import Path

import yaml
from PIL import Image
from toy_data import COLORS, write_rows

from training.train import main as train


def train_run(
    output: Path, tiny_config, data: Path, model: dict, training: dict, cache: bool = False, init: Path | None = None
) -> Path:
    """Train on ``train.jsonl`` and ``validation.jsonl`` of a folder by ``run.yaml`` in ``output``; the checkpoint.

    Args:
        output: gets all that the run writes.
        tiny_config: a ``ValmConfig``, for its encoders.
        data: the folder.
        model, training: further settings of these sections.
        cache: keep features in ``output`` too.
        init: a run to go on from.
    """
    run = {"data": f"{data}/train.jsonl", "validation": f"{data}/validation.jsonl", "output": str(output)}
    run |= {"init": f"{init}/checkpoint"} if init else {}
    encoders = {name: getattr(tiny_config, name) for name in ("text_encoder", "image_encoder", "image_size")}
    sections = {
        "run": run | {"weights": "float32"} | ({"cache": f"{output}/cache"} if cache else {}),
        "model": encoders | {"width": 16, "heads": 2, "layers": 1, "dropout": 0.0} | model,
        "training": {"epochs": 12, "batch_size": 8, "learning_rate": 0.01, "warmup_steps": 2}
        | {"precision": "no"}  # the same on every machine
        | training,
    }
    (output / "run.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")
    train(["--config", str(output / "run.yaml"), "--device", "cpu"])
    return output / "checkpoint"


def write_captioned(folder: Path, captions: Callable[[str], list[str]]) -> Path:
    """Twelve photos to learn from and four others: each of one colour, which its captions name."""
    for split, count in (("train", 12), ("validation", 4)):
        rows = []
        for place in range(count):
            name, color = list(COLORS.items())[place % 4]
            shade = tuple(max(part - 5 * (place // 4 + (split == "validation")), 0) for part in color)
            Image.new("RGB", (40, 30), shade).save(folder / f"{split}{place}.png")
            rows.append({"image": f"{split}{place}.png", "captions": captions(name)})
        write_rows(folder / f"{split}.jsonl", rows)
    return folder
