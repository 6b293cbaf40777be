"""Finding photos by words and words by photos: training on captioned photos, and recall both ways."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tqdm import tqdm

from training.datasets.captions import CaptionDataset, content_tokens
from training.datasets.feature_cache import FeatureCache
from training.datasets.readers.captioned import (
    CaptionedPhoto,
    captions_fingerprint,
    read_captioned_photos,
    read_train_and_validation,
    scan_captioned_photos,
)
from training.made_from import depends_on
from training.metrics.recall import RECALL_AT, found_by_score, retrieval_figures
from training.run_config import IMAGE_SETTINGS, RunConfig, check_same_model
from training.tasks.ending import train_to_checkpoint
from training.tasks.image_side import (
    encode_once,
    learn_image_layers,
    learn_on,
    learn_text_layers,
    model_to_train,
    photo_inputs,
)
from training.tasks.table import Task
from valm_core.checkpoints.storage import load_retrieval_checkpoint, load_task_checkpoint
from valm_core.config import ValmConfig
from valm_core.learning.batches import BucketedBatches
from valm_core.learning.retrieval import RetrievalObjective
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.encoders.frozen_parts import learns
from valm_core.model.model import ValmModel
from valm_core.model.tasks.retrieval import PhotoFeatures, RetrievalModel, TextFeatures, late_interaction

PHOTO_BATCH, TEXT_BATCH, RANKING_BATCH = 32, 256, 64
RETRIEVAL_SETTINGS = (
    *IMAGE_SETTINGS,
    *("task", "text_encoder", "train_text_encoder", "train_image_encoder", "learned_text_layers"),
    *("width", "dropout", "max_question_tokens"),
)
SCORES = {  # name of figures -> for people
    "": "both scores",
    "pooled_": "vectors",
    "late_": "late interaction",
}


def train_retrieval(
    run: RunConfig, config: ValmConfig, training: TrainingConfig, command: str, resume: bool, device: torch.device
) -> dict:
    """Train on captioned photos, and write ``<output>/checkpoint`` with card and figures.

    Where ``run.init`` names a checkpoint that answers questions, the image encoder is taken from it; where it names one
    that finds photos, that one learns on. The image encoder stays but for ``run.learned_image_layers``.

    Returns:
        The figures of ``measure_retrieval`` on the validation photos, with ``before`` those before training.
    """
    photos, validation = read_train_and_validation(run.data, run.validation)
    model = retrieval_model_to_train(run, config).to(device)
    learn_image_layers(model, run.learned_image_layers)
    texts = [text for photo in photos for text in photo.captions]
    features = encode_once(run, model, [photo.image for photo in photos + validation], texts)
    dataset = CaptionDataset(photos, model, features, crops=bool(run.learned_image_layers))
    together = dataset.photo_ids if learns(model.image_encoder) else None  # so that a photo is encoded once an epoch
    batches = BucketedBatches(
        dataset, dataset.collate, training.rows_at_once, training.seed, training.workers, together
    )
    objective = RetrievalObjective(
        model,
        training.visual_weight,
        training.alignment_weight,
        training.label_smoothing,
        content_tokens(dataset) if training.visual_weight else None,
    ).to(device)

    def validate(model: RetrievalModel) -> dict:
        figures = measure_retrieval(model, validation, features)
        ways = [figures[f"{way}_r{k}"] for way in ("search", "annotation") for k in RECALL_AT]
        return {"accuracy": float(np.mean(ways))} | figures

    shared = depends_on(
        run, config, {"data": captions_fingerprint(photos), "validation": captions_fingerprint(validation)}
    )
    facts = {"captions": len(dataset), "train_photos": len(photos), "command": command}

    def measure(best: RetrievalModel) -> dict:
        return measure_retrieval(best, validation, features)

    return train_to_checkpoint(run, training, objective, batches, validate, measure, facts, shared, resume, device)


def retrieval_model_to_train(run: RunConfig, config: ValmConfig) -> RetrievalModel:
    """The model of ``run.init`` where that finds photos; else a fresh one, see ``model_to_train``.

    Raises:
        ValueError: the checkpoint, or its image encoder, isn't what the config asks for.
    """
    start = load_task_checkpoint(run.init, "answer", "retrieval") if run.init else None
    if not isinstance(start, RetrievalModel):
        found = cast(ValmModel | None, start)
        return cast(RetrievalModel, model_to_train(run, config, RETRIEVAL_SETTINGS, start=found))
    check_same_model(run, ValmConfig(**{name: getattr(config, name) for name in RETRIEVAL_SETTINGS}), start.config)
    layers = start.learned_text_layers = max(config.learned_text_layers, start.config.learned_text_layers)
    start.config = dataclasses.replace(start.config, learned_text_layers=layers)
    learn_on(start, config.photo_detail)
    learn_text_layers(start, layers)
    return start


@torch.no_grad()
def measure_retrieval(
    model: RetrievalModel, photos: list[CaptionedPhoto], features: FeatureCache | None = None
) -> dict:
    """Recall and median rank both ways, see ``retrieval_figures``: of both scores together, which is how photos are
    ranked, and with ``pooled_`` and ``late_`` before their names of each score alone."""
    start = time.perf_counter()
    model.eval()
    encoded = encode_photos(model, photos, features)
    texts = [(place, text) for place, photo in enumerate(photos) for text in photo.captions]
    texts.sort(key=lambda row: len(row[1]))  # little padding
    own = [place for place, _ in texts]
    pooled, late = [], []
    for _, found in encode_texts(model, [text for _, text in texts]):
        pooled.append(found.vector @ encoded.vector.T)
        for place in range(0, len(found.vector), RANKING_BATCH):
            part = slice(place, place + RANKING_BATCH)
            some = TextFeatures(found.vector[part], found.words[part], found.shares[part])
            late.append(late_interaction(some, encoded))
    scores = {"pooled_": torch.cat(pooled).float(), "late_": torch.cat(late).float()}
    scales = model.scales
    scores[""] = scales[0] * scores["pooled_"] + scales[1] * scores["late_"]
    figures: dict[str, Any] = {
        f"{name}{figure}": value
        for name in SCORES
        for figure, value in retrieval_figures(scores[name].cpu().numpy(), own).items()
    }
    figures["found_by_score"] = found_by_score(scores[""].cpu().numpy(), own)
    seconds = round(time.perf_counter() - start, 1)
    return {"photos": len(photos), "texts": len(texts)} | figures | {"seconds": seconds}


def encode_texts(model: RetrievalModel, texts: list[str]) -> Iterator[tuple[int, TextFeatures]]:
    """Batches of texts, encoded: the place of the first one and their features."""
    for first in tqdm(range(0, len(texts), TEXT_BATCH), desc="encoding texts", unit="batch", leave=False):
        ids, mask = model.tokenizer(texts[first : first + TEXT_BATCH], True)
        yield first, model.encode_texts(ids.to(model.device), mask.to(model.device))


def encode_photos(
    model: RetrievalModel, photos: list[CaptionedPhoto], features: FeatureCache | None = None
) -> PhotoFeatures:
    """What a model makes of all photos."""
    vectors, cells = [], []
    starts = range(0, len(photos), PHOTO_BATCH)
    for first in tqdm(starts, desc="encoding photos", unit="batch", leave=False):
        files = [photo.image for photo in photos[first : first + PHOTO_BATCH]]
        encoded = model.encode_photos(**photo_inputs(model, files, features))
        vectors.append(encoded.vector)
        cells.append(encoded.cells)
    return PhotoFeatures(torch.cat(vectors), torch.cat(cells))


def format_retrieval(report: dict) -> str:
    """The report as lines of text: recall in percent."""
    lines = [f"{report['photos']} photos, {report['texts']} texts"]
    lines.append(f"{'':<36}" + "".join(f"R@{k}".rjust(8) for k in RECALL_AT) + f"{'median rank':>14}")
    for score, meaning in SCORES.items():
        for way, name in (("search", "photos by words"), ("annotation", "words by photos")):
            recall = "".join(f"{100 * report[f'{score}{way}_r{k}']:>6.1f} %" for k in RECALL_AT)
            median = report[f"{score}{'annotation_' * (way == 'annotation')}median_rank"]
            lines.append(f"{name + ', ' + meaning:<36}{recall}{median:>14.0f}")
    return "\n".join(lines)


def _measure_checkpoint(folder: str | Path, data: str, device: torch.device) -> dict:
    return measure_retrieval(load_retrieval_checkpoint(folder).to(device), read_captioned_photos(data, "validation"))


READS = ("cache", "learned_image_layers", "visual_weight", "alignment_weight", "label_smoothing", "workers")
TASKS = {"retrieval": Task(train_retrieval, _measure_checkpoint, format_retrieval, scan_captioned_photos, READS)}
