"""Tagging: training on sentences with a label a word, and F1 by label and of whole spans."""

import dataclasses
import time
from pathlib import Path
from typing import Any, cast

import torch
from tqdm import tqdm

from training.datasets.feature_cache import FeatureCache
from training.datasets.readers.jsonl import check_apart
from training.datasets.readers.tagged import (
    TaggedSentence,
    read_tagged,
    scan_tagged,
    tagged_fingerprint,
    types_of,
)
from training.datasets.tagging import TaggedWindows, labelled_parts, photo_tensors
from training.made_from import depends_on
from training.metrics.span_figures import tag_figures
from training.run_config import IMAGE_SETTINGS, RunConfig
from training.tasks.ending import train_to_checkpoint
from training.tasks.image_side import encode_once, model_to_train, photos_seen, remember_mean_photo
from training.tasks.table import Task
from valm_core.checkpoints.storage import load_task_checkpoint
from valm_core.config import ValmConfig
from valm_core.inputs.word_windows import window_tensors, windows_in_a_row
from valm_core.learning.tagging import TagObjective
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.tasks.span_labels import bio_labels
from valm_core.model.tasks.tagger import TagModel

WINDOWS_AT_ONCE = 16
TAG_SETTINGS = (
    *IMAGE_SETTINGS,
    *("task", "text_encoder", "train_text_encoder", "train_image_encoder", "learned_text_layers"),
    *("fusion", "similarity", "width", "layers", "heads", "feed_forward_ratio", "dropout", "max_question_tokens"),
)


def train_tagger(
    run: RunConfig, config: ValmConfig, training: TrainingConfig, command: str, resume: bool, device: torch.device
) -> dict:
    """Train on labelled sentences, and write ``<output>/checkpoint`` with card and figures.

    The labels are those of the training rows. The best epoch has the best F1 of whole spans.

    Returns:
        The figures of ``measure_tags`` on the validation rows, with ``before`` those before training.

    Raises:
        ValueError: a photo is among the rows to learn from and those to validate on.
    """
    sentences, validation = read_tagged(run.data), read_tagged(run.validation)
    check_apart(sentences, validation)
    labels = bio_labels(types_of(sentences))
    model = cast(TagModel, model_to_train(run, config, TAG_SETTINGS, labels)).to(device)
    photos = photos_seen(model, sentences)
    features = encode_once(run, model, photos + photos_seen(model, validation), [])
    remember_mean_photo(model, photos, features)
    batches = TaggedWindows(sentences, model, training.rows_at_once, training.seed, features)

    def validate(model: TagModel) -> dict:
        figures = measure_tags(model, validation, features)
        return {"accuracy": figures["span_f1"]} | figures

    def measure(best: TagModel) -> dict:
        return measure_tags(best, validation, features)

    data = {"data": tagged_fingerprint(sentences), "validation": tagged_fingerprint(validation)}
    shared = depends_on(run, config, data)
    facts = {"train_sentences": len(sentences), "command": command}
    objective = TagObjective(model).to(device)
    return train_to_checkpoint(
        run, training, objective, batches, validate, measure, facts, shared, resume, device, photos
    )


def measure_tags(model: TagModel, sentences: list[TaggedSentence], features: FeatureCache | None = None) -> dict:
    """F1 by label and of whole spans, see ``tag_figures``; where the model sees photos and rows have some, also
    ``without_photo``, the same with the average photo.

    Args:
        model: left in evaluation mode.
        sentences: with their labels; neighbours are read side by side where the model sees no photos.
        features: photos encoded beforehand.
    """
    start = time.perf_counter()
    true = [sentence.labels for sentence in sentences]
    figures: dict[str, Any] = {"sentences": len(sentences)}
    figures |= tag_figures(predict_tags(model, sentences, features), true)
    if model.sees_photos and any(sentence.image for sentence in sentences):
        blind = [dataclasses.replace(sentence, image=None) for sentence in sentences]
        without = tag_figures(predict_tags(model, blind), true)
        figures["without_photo"] = {name: without[name] for name in ("f1", "micro_f1", "span_f1")}
    return figures | {"seconds": round(time.perf_counter() - start, 1)}


@torch.no_grad()
def predict_tags(
    model: TagModel, sentences: list[TaggedSentence], features: FeatureCache | None = None
) -> list[tuple[str, ...]]:
    """The likeliest labels of each sentence; arguments as of ``measure_tags``."""
    model.eval()
    unlabelled = [dataclasses.replace(sentence, labels=("O",) * len(sentence.tokens)) for sentence in sentences]
    parts, _, sentence_of = labelled_parts(unlabelled, model)
    windows = None if model.sees_photos else windows_in_a_row(parts, model.config.max_question_tokens)
    windows = windows or [[number] for number in range(len(parts))]
    predicted: list[list[str]] = [[] for _ in sentences]
    order = sorted(range(len(windows)), key=lambda place: sum(len(parts[number].pieces) for number in windows[place]))
    found: dict[int, list[str]] = {}
    for first in tqdm(range(0, len(order), WINDOWS_AT_ONCE), desc="tagging", unit="batch", leave=False):
        chosen = [windows[place] for place in order[first : first + WINDOWS_AT_ONCE]]
        inputs = window_tensors([[parts[number] for number in window] for window in chosen], model.tokenizer)
        if model.sees_photos:
            images = [sentences[sentence_of[window[0]]].image for window in chosen]
            inputs |= photo_tensors(images, model, features)
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        best = model.chain.best(model(**inputs).logits, inputs["word_mask"]).cpu().numpy()
        for row, number in enumerate(number for window in chosen for number in window):
            found[number] = [model.answers[label] for label in best[row, : parts[number].count]]
    for number, sentence in enumerate(sentence_of):
        predicted[sentence] += found[number]
    return [tuple(labels) for labels in predicted]


def format_tags(report: dict) -> str:
    """The report as lines of text, as scikit-learn prints it: precision, recall and F1 by label, of words."""
    lines = [f"{report['sentences']} sentences", f"{'':<14}{'precision':>10}{'recall':>10}{'f1':>10}{'words':>10}"]
    for name, value in report["f1"].items():
        parts = report["precision"][name], report["recall"][name], value
        lines.append(f"{name:<14}{''.join(f'{part:>10.3f}' for part in parts)}{report['support'][name]:>10}")
    lines += [f"{name + ' average':<34}{report[f'{name}_f1']:>10.3f}" for name in ("micro", "macro", "weighted")]
    before = f"   before training {report['before']['span_f1']:.3f}" if "before" in report else ""
    lines.append(f"{'whole spans':<34}{report['span_f1']:>10.3f}{before}")
    lines += [f"{'  ' + name:<34}{value:>10.3f}" for name, value in report["span_f1_by_type"].items()]
    if "without_photo" in report:
        lines.append(f"{'whole spans without the photo':<34}{report['without_photo']['span_f1']:>10.3f}")
    return "\n".join(lines)


def _measure_checkpoint(folder: str | Path, data: str, device: torch.device) -> dict:
    model = cast(TagModel, load_task_checkpoint(folder, "tag")).to(device)
    return measure_tags(model, read_tagged(data))


TASKS = {"tag": Task(train_tagger, _measure_checkpoint, format_tags, scan_tagged, ("cache", "head_learning_rate"))}
