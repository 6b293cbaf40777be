"""Labels of texts with or without photos (relate, judge, feel): training, and accuracy, F1 and confusion."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from tqdm import tqdm

from training.datasets.feature_cache import FeatureCache
from training.datasets.labelled_texts import LabelledTexts, texts_of
from training.datasets.readers.captioned import read_captioned_photos
from training.datasets.readers.jsonl import DataError, check_apart, some_rows
from training.datasets.readers.labelled import (
    LabelledText,
    labelled_fingerprint,
    read_labelled_texts,
    scan_labelled_texts,
)
from training.made_from import depends_on
from training.metrics.label_figures import confusion, label_figures, relation_figures
from training.run_config import RunConfig
from training.tasks.ending import train_to_checkpoint
from training.tasks.image_side import FUSED_SETTINGS, encode_once, model_to_train, photos_seen, remember_mean_photo
from training.tasks.label_table import format_labels
from training.tasks.table import Task
from valm_core.checkpoints.storage import load_task_checkpoint
from valm_core.config import ValmConfig
from valm_core.learning.batches import BucketedBatches
from valm_core.learning.classifying import LabelObjective, label_weights
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.tasks.classifier import Classifier
from valm_core.tasks.labeller import LABEL_TASKS

LABEL_BATCH = 256
SUPPORTS, CONTRADICTS = "entailment", "contradiction"  # of e-SNLI-VE; a statement that is only true or false by them
TRUE_FALSE = {"true", "false"}


def train_classifier(
    run: RunConfig, config: ValmConfig, training: TrainingConfig, command: str, resume: bool, device: torch.device
) -> dict:
    """Train on labelled texts, and write ``<output>/checkpoint`` with card and figures.

    The labels are those of the training rows, in alphabetical order. Where ``run.init`` names a checkpoint that answers
    questions, the image encoder is taken from it and stays. ``run.rehearsal`` of ``judge`` are captioned photos, see
    ``statements_of_captions``.

    Returns:
        The figures of ``measure_labels`` on the validation rows, with ``before`` those before training.
    """
    rows = some_rows(read_labelled_texts(run.data, config.task), run.rows)
    validation = some_rows(read_labelled_texts(run.validation, config.task), run.validation_rows)
    check_apart(rows, validation)
    data = {"data": labelled_fingerprint(rows), "validation": labelled_fingerprint(validation)}
    labels = sorted({row.label for row in rows})
    if run.rehearsal:
        more = statements_of_captions(run.rehearsal, run.rehearsal_rows, {row.image for row in validation})
        data["rehearsal"] = labelled_fingerprint(more)
        rows = rows * run.repeat + more
    else:
        rows = rows * run.repeat
    model = cast(Classifier, model_to_train(run, config, FUSED_SETTINGS, labels, shared=True)).to(device)
    features = encode_beforehand(run, model, rows + validation)
    photos = photos_seen(model, rows)
    remember_mean_photo(model, photos, features)
    dataset = LabelledTexts(rows, model, features, not run.blind)
    batches = BucketedBatches(dataset, dataset.collate, training.rows_at_once, training.seed, training.workers)
    objective = LabelObjective(
        model,
        training.visual_weight,
        training.alignment_weight,
        training.label_smoothing,
        label_weights(dataset.labels, len(labels), training.label_balance),
    ).to(device)
    blind = run.blind

    def measure(best: Classifier) -> dict:
        return measure_labels(best, validation, features, blind)

    def validate(model: Classifier) -> dict:
        figures = measure(model)
        figures = {name: figures[name] for name in ("accuracy", "macro_f1")}
        return {"quality": (figures["accuracy"] + figures["macro_f1"]) / 2} | figures

    facts = {"train_rows": len(rows), "command": command}
    shared = depends_on(run, config, data)
    return train_to_checkpoint(
        run, training, objective, batches, validate, measure, facts, shared, resume, device, photos
    )


def statements_of_captions(sources: str, limit: int, left_out: set[Path | None]) -> list[LabelledText]:
    """Captioned photos as statements to judge: a photo supports its own caption and contradicts that of another.

    Of each photo one caption supports, and one of another photo, drawn at random, contradicts. That it hardly ever
    might support after all is what makes this data noisy.

    Args:
        sources: see ``read_captioned_photos``.
        limit: how many statements at most, the same ones every time; 0 for two a photo.
        left_out: photos that are validated on.
    """
    generator = random.Random(0)
    photos = [photo for photo in read_captioned_photos(sources, "train") if photo.image not in left_out]
    if len(photos) < 2:
        raise DataError(f"{sources} has {len(photos)} photos; captions of two at least are needed.")
    rows = []
    for place, photo in enumerate(photos):
        other = photos[(place + generator.randrange(1, len(photos))) % len(photos)]
        for text, label in (
            (generator.choice(photo.captions), SUPPORTS),
            (generator.choice(other.captions), CONTRADICTS),
        ):
            rows.append(LabelledText(tuple(text.split()), label, photo.image, source="captions"))
    return some_rows(rows, limit)


def encode_beforehand(run: RunConfig, model: Classifier, rows: list[LabelledText]) -> FeatureCache | None:
    """What frozen encoders give for the rows, see ``encode_once``; of photos where the model is to see them."""
    return encode_once(run, model, [] if run.blind else photos_seen(model, rows), texts_of(rows))


@torch.no_grad()
def label_logits(
    model: Classifier, rows: list[LabelledText], features: FeatureCache | None = None, blind: bool = False
) -> Tensor:
    """Logits [R, labels] on the CPU of rows, whose own labels don't count; ``blind``: without their photos."""
    model.eval()
    known = [LabelledText(row.words, model.answers[0], row.image, row.spans) for row in rows]
    dataset = LabelledTexts(known, model, features, not blind)
    order = sorted(range(len(rows)), key=lambda place: dataset.lengths[place])  # little padding
    if dataset.photos and not (features and features.has_images):
        order.sort(key=lambda place: str(rows[place].image))  # a photo's rows stand together: it is encoded once
    logits = torch.zeros(len(rows), len(model.answers))
    for first in tqdm(range(0, len(rows), LABEL_BATCH), desc="labelling", unit="batch", leave=False):
        places = order[first : first + LABEL_BATCH]
        batch = {name: value.to(model.device) for name, value in dataset.collate(places).items() if name != "labels"}
        logits[places] = model(**batch)[0].float().cpu()
    return logits


def measure_labels(
    model: Classifier, rows: list[LabelledText], features: FeatureCache | None = None, blind: bool = False
) -> dict:
    """Figures of ``label_figures`` and the confusion; of ``relate`` those of ``relation_figures`` too.

    With photos also ``without_photo``, accuracy and macro F1 with the average photo in place of each. Rows that are
    only true or false are judged by whether the photo rather supports or contradicts them, see ``measure_statements``.
    """
    if {row.label for row in rows} <= TRUE_FALSE and SUPPORTS in model.answers:
        return measure_statements(model, rows, features)
    if unknown := {row.label for row in rows} - set(model.answers):
        raise DataError(f"The label {min(unknown)!r} is unknown to the model; it knows {', '.join(model.answers)}.")
    truth = [row.label for row in rows]
    said = _likeliest(model, label_logits(model, rows, features, blind))
    report = label_figures(truth, said)
    if model.has_spans:
        report |= relation_figures(truth, said)
    if model.sees_photos and not blind and any(row.image for row in rows):
        without = label_figures(truth, _likeliest(model, label_logits(model, rows, features, blind=True)))
        report["without_photo"] = {name: without[name] for name in ("accuracy", "macro_f1")}
    return report | {"confusion": confusion(truth, said)}


def measure_statements(model: Classifier, rows: list[LabelledText], features: FeatureCache | None = None) -> dict:
    """Statements that are true or false of their photo: true where the photo rather supports than contradicts them.

    Returns:
        ``accuracy`` and ``macro_f1`` of all rows, ``balanced_accuracy``, and with ``pairs`` the share of pairs whose
        true statement is the better supported one; the same without photos, by source, and of the photos that a
        benchmark's rows name "validation", which the image encoder has not learned from.
    """

    def figures(support: Tensor, own: list[LabelledText]) -> dict:
        truth, said = [row.label for row in own], ["true" if value >= 0 else "false" for value in support.tolist()]
        part = label_figures(truth, said)
        right = [[a == b for a, b in zip(truth, said, strict=True) if a == label] for label in sorted(set(truth))]
        part = {name: part[name] for name in ("rows", "accuracy", "macro_f1")}
        part["balanced_accuracy"] = sum(sum(one) / len(one) for one in right) / len(right)
        return part | pair_figures(support.tolist(), own)

    def support_of(blind: bool) -> Tensor:
        logits = label_logits(model, rows, features, blind)
        return logits[:, model.answers.index(SUPPORTS)] - logits[:, model.answers.index(CONTRADICTS)]

    support, blind = support_of(False), support_of(True)
    report = figures(support, rows)
    if model.sees_photos:
        report["without_photo"] = figures(blind, rows)
    for name, group in (("by_source", "source"), ("by_split", "split")):
        values = sorted({getattr(row, group) for row in rows})
        chosen = {value: [place for place, row in enumerate(rows) if getattr(row, group) == value] for value in values}
        report[name] = {value: figures(support[own], [rows[place] for place in own]) for value, own in chosen.items()}
    return report


def pair_figures(support: list[float], rows: list[LabelledText]) -> dict:
    """``pairs`` and ``pair_accuracy``: how many pairs there are, and in how many the true one is better supported.

    A pair is of one source. One of several statements is right where each true one is above each false one.
    """
    pairs: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row, value in zip(rows, support, strict=True):
        if row.pair:
            pairs.setdefault((row.source, row.pair), {}).setdefault(row.label, []).append(value)
    whole = [pair for pair in pairs.values() if pair.keys() == TRUE_FALSE]
    if not whole:
        return {}
    return {
        "pairs": len(whole),
        "pair_accuracy": sum(min(pair["true"]) > max(pair["false"]) for pair in whole) / len(whole),
    }


def _likeliest(model: Classifier, logits: Tensor) -> list[str]:
    return [model.answers[place] for place in logits.argmax(dim=-1).tolist()]


def _measure_checkpoint(folder: str | Path, data: str, device: torch.device) -> dict:
    model = cast(Classifier, load_task_checkpoint(folder, *LABEL_TASKS)).to(device)
    return measure_labels(model, read_labelled_texts(data, model.config.task))


def _scanner(task: str) -> Callable[[str], Iterator[tuple[str, LabelledText | DataError]]]:
    return lambda source: scan_labelled_texts(source, task)


READS = (
    *("rows", "validation_rows", "repeat", "cache", "blind", "head_learning_rate", "label_balance"),
    *("visual_weight", "alignment_weight", "label_smoothing", "workers"),
)
READS_BESIDE = {"judge": ("rehearsal", "rehearsal_rows")}  # statements of captions have its labels
TASKS = {
    task: Task(train_classifier, _measure_checkpoint, format_labels, _scanner(task), READS + READS_BESIDE.get(task, ()))
    for task in LABEL_TASKS
}
