"""Describing photos: training on captioned photos, and BLEU-4, CIDEr, ROUGE-L of what the model says."""

import dataclasses
import math
import os
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tqdm import tqdm

from training.datasets.captions import WrittenCaptions, caption_vocabulary
from training.datasets.feature_cache import FeatureCache
from training.datasets.readers.captioned import (
    CaptionedPhoto,
    captions_fingerprint,
    read_captioned_photos,
    read_train_and_validation,
    scan_captioned_photos,
)
from training.made_from import depends_on
from training.metrics.caption_figures import CIDER_MOST, SMALL_WORDS, caption_scores, variety_figures
from training.run_config import IMAGE_SETTINGS, RunConfig, check_same_model
from training.tasks.ending import train_to_checkpoint
from training.tasks.image_side import (
    check_image_side,
    encode_once,
    learn_image_layers,
    learn_on,
    photo_inputs,
    take_image_encoder,
)
from training.tasks.table import Task
from valm_core.captions.captioner import Captioner
from valm_core.checkpoints.storage import load_caption_checkpoint, load_task_checkpoint
from valm_core.config import ValmConfig
from valm_core.inputs.question import QuestionTokenizer
from valm_core.learning.batches import BucketedBatches
from valm_core.learning.captioning import CaptionObjective, token_loss
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.build import build_caption_model
from valm_core.model.encoders.text_encoder import build_tokenizer
from valm_core.model.model import ValmModel
from valm_core.model.tasks.captioner import CaptionModel
from valm_core.model.tasks.decoding import decode

PHOTO_BATCH, LOSS_BATCH = 32, 160
PHOTOS_AN_EPOCH = 500  # of the validation photos, so many judge an epoch; the finished checkpoint is judged by all
CAPTION_SETTINGS = (
    *IMAGE_SETTINGS,
    *("task", "text_encoder", "train_image_encoder"),
    *("width", "layers", "heads", "feed_forward_ratio", "dropout", "max_question_tokens"),
)
BEAMS = 3
MAP_PHOTOS = 100  # whose words' maps are judged


def train_captions(
    run: RunConfig, config: ValmConfig, training: TrainingConfig, command: str, resume: bool, device: torch.device
) -> dict:
    """Train on captioned photos, and write ``<output>/checkpoint`` with card and figures, and ``<output>/said.json``.

    Where ``run.init`` names a checkpoint that answers questions, the image encoder is taken from it and stays; where it
    names one that describes photos, that one learns on, but for its image encoder. The best epoch is the one with the
    best CIDEr of greedy captions of the first ``PHOTOS_AN_EPOCH`` validation photos.

    Returns:
        The figures of ``measure_captions`` on the validation photos, with ``before`` those before training.
    """
    photos, validation = read_train_and_validation(run.data, run.validation)
    model = caption_model_to_train(run, config, photos).to(device)
    learn_image_layers(model, run.learned_image_layers)
    features = encode_once(run, model, [photo.image for photo in photos + validation], [])
    dataset = WrittenCaptions(photos, model, features, crops=bool(run.learned_image_layers))
    batches = BucketedBatches(
        dataset, dataset.collate, training.rows_at_once, training.seed, training.workers, dataset.photo_ids
    )
    objective = CaptionObjective(model, training.visual_weight, training.alignment_weight, training.label_smoothing).to(
        device
    )

    def validate(model: CaptionModel) -> dict:
        figures = measure_captions(model, validation[:PHOTOS_AN_EPOCH], features, beams=1)
        figures |= measure_loss(model, validation[:PHOTOS_AN_EPOCH], features)
        figures.pop("said")
        return {"accuracy": figures["cider"] / CIDER_MOST} | figures

    data = {"data": captions_fingerprint(photos), "validation": captions_fingerprint(validation)}
    shared = depends_on(run, config, data)

    def measure(best: CaptionModel) -> dict:
        learned = [text for photo in photos for text in photo.captions]
        report = measure_captions(best, validation, features, learned=learned)
        report |= measure_loss(best, validation, features) | measure_maps(best, validation, features)
        greedy = measure_captions(best, validation, features, beams=1)
        return report | {f"greedy_{name}": greedy[name] for name in ("bleu_4", "cider", "rouge_l")}

    facts = {"captions": len(dataset), "train_photos": len(photos), "command": command}
    return train_to_checkpoint(run, training, objective, batches, validate, measure, facts, shared, resume, device)


def caption_model_to_train(run: RunConfig, config: ValmConfig, photos: list[CaptionedPhoto]) -> CaptionModel:
    """The model of ``run.init`` where that describes photos; else a fresh one with a vocabulary from the captions, and
    with the image encoder of ``run.init`` where one is named. That encoder stays as it is.

    Raises:
        ValueError: the checkpoint, or its image encoder, isn't what the config asks for.
    """
    config = ValmConfig(**{name: getattr(config, name) for name in (*CAPTION_SETTINGS, "vocabulary")})
    start = load_task_checkpoint(run.init, "answer", "caption") if run.init else None
    if isinstance(start, CaptionModel):
        check_same_model(run, config, start.config)
        learn_on(start, config.photo_detail)
        return start
    start = cast(ValmModel | None, start)
    concepts = start.concepts if start else ()
    if start:
        check_image_side(start, config, run.init)
        config = dataclasses.replace(config, train_image_encoder=start.config.train_image_encoder)
    tokenizer = QuestionTokenizer(build_tokenizer(config.text_encoder), config.max_question_tokens)
    vocabulary = caption_vocabulary(tokenizer, [text for photo in photos for text in photo.captions])
    model = build_caption_model(dataclasses.replace(config, vocabulary=len(vocabulary)), concepts=concepts)
    model.vocabulary.copy_(vocabulary)
    start_from_meaning(model)
    if start:
        take_image_encoder(model, start)
    return model


@torch.no_grad()
def start_from_meaning(model: CaptionModel) -> None:
    """Let the pieces' table begin as the text encoder's own, in as many of its principal components as are wide."""
    known = model.text_encoder.backbone.get_input_embeddings().weight[model.vocabulary].float()  # [V, D_text]
    centered = known - known.mean(dim=0)
    directions = torch.linalg.svd(centered, full_matrices=False).Vh[: model.config.width]  # [at most width, D_text]
    reduced = centered @ directions.T
    model.pieces.weight[:, : reduced.shape[1]] = reduced / reduced.std() * model.config.width**-0.5


@torch.no_grad()
def measure_captions(
    model: CaptionModel,
    photos: list[CaptionedPhoto],
    features: FeatureCache | None = None,
    beams: int = BEAMS,
    learned: list[str] | None = None,
) -> dict:
    """BLEU-4, CIDEr, ROUGE-L and variety of the captions that a model gives to photos.

    Args:
        model: the model, left in evaluation mode.
        photos: with what people say of them.
        features: image tokens computed beforehand.
        beams: of the search; with 1 it is greedy.
        learned: captions that the model learned from, for the share that is ``novel``.

    Returns:
        The figures, ``seconds_a_photo``, and in ``said`` what was said of every photo, by file name.
    """
    start = time.perf_counter()
    pieces = Captioner(model, model.device).pieces
    said = []
    for first in tqdm(range(0, len(photos), PHOTO_BATCH), desc="describing", unit="batch", leave=False):
        cells = model.encode_photos(
            **photo_inputs(model, [photo.image for photo in photos[first : first + PHOTO_BATCH]], features)
        )
        said += [" ".join(pieces.words(found[0].content)[0]) for found in decode(model, cells, beams)]
    seconds = time.perf_counter() - start
    figures: dict[str, Any] = {"photos": len(photos), "beams": beams}
    figures |= caption_scores(said, [photo.captions for photo in photos]) | variety_figures(said, learned or ())
    figures |= {"seconds": round(seconds, 1), "seconds_a_photo": round(seconds / len(photos), 4)}
    folder = os.path.commonpath([photo.image.parent for photo in photos])  # photos of two folders may share a name
    names = [photo.image.relative_to(folder).as_posix() for photo in photos]
    figures["said"] = dict(zip(names, said, strict=True))
    return figures


@torch.no_grad()
def measure_maps(model: CaptionModel, photos: list[CaptionedPhoto], features: FeatureCache | None = None) -> dict:
    """How often it matters where a word was read: of words but small ones in greedy captions of ``MAP_PHOTOS`` photos.

    ``maps_matter``: share of the words whose verdict is "matters" or "matters a little", by their own maps;
    ``shuffled_maps_matter``: the same by those maps with their cells in random order, which know nothing.
    """
    captioner = Captioner(model, model.device)
    generator = np.random.default_rng(0)
    own: list[bool] = []
    shuffled: list[bool] = []
    for photo in photos[:MAP_PHOTOS]:
        cells = model.encode_photos(**photo_inputs(model, [photo.image], features))
        places = decode(model, cells, beams=1)[0][0].content
        maps = captioner.word_maps(places, cells)
        mixed = generator.permuted(maps, axis=1)
        for words, verdicts in (
            (captioner.judge_words(places, cells, maps), own),
            (captioner.judge_words(places, cells, mixed), shuffled),
        ):
            verdicts += [word.verdict.startswith("matters") for word in words if word.text not in SMALL_WORDS]
    return {"maps_matter": float(np.mean(own)), "shuffled_maps_matter": float(np.mean(shuffled)), "map_words": len(own)}


@torch.no_grad()
def measure_loss(model: CaptionModel, photos: list[CaptionedPhoto], features: FeatureCache | None = None) -> dict:
    """``validation_loss``: the mean negative log-probability of a piece of people's captions."""
    model.eval()
    dataset = WrittenCaptions(photos, model, features)
    total, count = 0.0, 0
    for first in range(0, len(dataset), LOSS_BATCH):
        batch = dataset.collate(list(range(first, min(first + LOSS_BATCH, len(dataset)))))
        loss, pieces = token_loss(model, {name: value.to(model.device) for name, value in batch.items()})
        total, count = total + loss, count + pieces
    return {"validation_loss": total / max(count, 1) if count else math.nan}


def format_captions(report: dict) -> str:
    """The report as lines of text."""
    lines = [f"{report['photos']} photos, beam search of {report['beams']}"]
    for name, label in (("bleu_4", "BLEU-4 (0..100)"), ("cider", "CIDEr"), ("rouge_l", "ROUGE-L (0..100)")):
        factor = 1 if name == "cider" else 100
        greedy = f"   greedy {factor * report[f'greedy_{name}']:.3g}" if f"greedy_{name}" in report else ""
        lines.append(f"{label:<44}{factor * report[name]:>8.3g}{greedy}")
    labels = {
        "distinct_captions": "captions that differ",
        "distinct_2": "pairs of neighbouring words that differ",
        "novel": "captions that were not learned",
        "commonest_start": "begin with the commonest three words",
        "repeated_words": "captions with a word twice",
        "maps_matter": "words whose map matters",
        "shuffled_maps_matter": "the same of shuffled maps",
    }
    lines += [f"{label:<44}{100 * report[name]:>6.1f} %" for name, label in labels.items() if name in report]
    lines.append(f"{'words of a caption':<44}{report['mean_words']:>8.1f}")
    return "\n".join(lines)


def _measure_checkpoint(folder: str | Path, data: str, device: torch.device) -> dict:
    model, photos = load_caption_checkpoint(folder).to(device), read_captioned_photos(data, "validation")
    return measure_captions(model, photos) | measure_maps(model, photos)


READS = ("cache", "learned_image_layers", "visual_weight", "alignment_weight", "label_smoothing", "workers")
TASKS = {"caption": Task(train_captions, _measure_checkpoint, format_captions, scan_captioned_photos, READS)}
