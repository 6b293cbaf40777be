"""Fit the temperatures of a checkpoint on questions that it did not learn from, and write its figures anew.

    python -m training.calibrate --checkpoint runs/mine/checkpoint --data questions.jsonl

The answers and their order stay as they are; how sure the model says it is changes, in ``config.json``,
``metrics.json`` and the model card. ``training.train`` does the same at the end of every run.

An open vision-language model is asked the questions, and what its percentages are worth is written to a file, with the
thresholds of the verdicts beside its maps, for ``VALM_CALIBRATION=c.json`` of the page and ``--calibration c.json`` of
the terminal:

    python -m training.calibrate --checkpoint HuggingFaceTB/SmolVLM-256M-Instruct --data questions.jsonl --output c.json
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.datasets import load_rows
from training.datasets.feature_cache import FeatureCache
from training.datasets.readers.jsonl import Row, photos_of
from training.evaluate import evaluate_with_logits, format_table, score_logits, without_photo
from training.metrics.calibration import expected_calibration_error, fit_temperature
from training.metrics.vqa_accuracy import vqa_accuracy
from training.model_card import renewed_card
from valm_core.answers import YES_NO
from valm_core.checkpoints.atomic_files import check_place
from valm_core.checkpoints.contents import CARD_FILE, CONFIG_FILE, METRICS_FILE, changing
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.commands import ending_in_a_line
from valm_core.devices import choose_device
from valm_core.loading import is_open_model
from valm_core.model.build import reconfigure
from valm_core.model.heads import calibrated
from valm_core.model.model import ValmModel

CALIBRATION_FILE = "valm_calibration.json"
ONE_PHOTO = (
    "All rows to validate on are about one photo, so how the temperatures fit other photos can't be measured: that "
    "figure is left out. Give rows of more photos to have it."
)
MIN_ROWS = 100  # of a kind; with fewer, one temperature serves both


def fit_temperatures(rows: list[Row], logits: Tensor, answers: list[str]) -> tuple[float, float]:
    """The temperatures under which the model's confidence fits its accuracy (Guo et al. 2017, by kind of answer).

    Args:
        rows: R questions with their reference answers.
        logits: [R, A] before any temperature.
        answers: the answer list.

    Returns:
        ``temperature`` and ``yes_no_temperature`` of ``ValmConfig``; the second is 0, which means the same, where
        "yes" and "no", or all other answers, are the likeliest in fewer than ``MIN_ROWS`` rows.
    """
    chosen = [answers[index] for index in logits.argmax(dim=-1).tolist()]
    right = [vqa_accuracy(answer, row.answers) for row, answer in zip(rows, chosen, strict=True)]
    correct, yes_no = torch.tensor(right), torch.tensor([answer in YES_NO for answer in chosen])
    if min(yes_no.sum(), (~yes_no).sum()) < MIN_ROWS:
        return fit_temperature(logits, correct), 0.0
    return fit_temperature(logits[~yes_no], correct[~yes_no]), fit_temperature(logits[yes_no], correct[yes_no])


def held_out_error(rows: list[Row], logits: Tensor, answers: list[str]) -> float | None:
    """The expected calibration error, 0..1, of temperatures fitted on one half of the photos and used on the other.

    Args:
        rows, logits, answers: as above; the halves are drawn with seed 0 and used both ways.

    Returns:
        None where all rows are about one photo, which has no halves.
    """
    photos = photos_of(rows)
    names = np.random.default_rng(0).permutation(np.unique(photos))
    if len(names) < 2:
        return None
    first = np.isin(photos, names[: len(names) // 2])
    confidence, correct = np.zeros(len(rows)), np.zeros(len(rows))
    for here in (first, ~first):
        there, places = np.flatnonzero(~here), np.flatnonzero(here)
        fitted = fit_temperatures([rows[place] for place in there], logits[there], answers)
        values, chosen = calibrated(logits[places], answers, *fitted).max(dim=-1)
        confidence[places] = values.numpy()
        for place, index in zip(places, chosen.tolist(), strict=True):
            correct[place] = vqa_accuracy(answers[index], rows[place].answers)
    return expected_calibration_error(confidence, correct)


def figures_of_the_card(
    model: ValmModel, rows: list[Row], logits: Tensor, blind: bool, features: FeatureCache | None = None
) -> dict:
    """What a card says beside the figures of ``training.evaluate``: ``held_out_calibration_error`` (not with one photo)
    and, of a model that sees, those of ``without_photo``. Arguments as in ``evaluate_with_logits``, whose logits
    these are."""
    held_out = held_out_error(rows, logits, model.answers)
    figures = {} if held_out is None else {"held_out_calibration_error": held_out}
    return figures if blind else figures | without_photo(model, rows, logits, features)


def recalibrate(checkpoint: str | Path, data: str, device: str = "auto", blind: bool = False) -> dict:
    """Fit the temperatures anew and write them with the figures into the checkpoint, which is replaced as a whole.

    Args:
        checkpoint: folder of a trained model.
        data: what ``load_rows`` reads; nothing that the model learned from.
        device: auto, cpu, cuda or mps.
        blind: answer from the question alone.

    Returns:
        The figures of ``training.evaluate`` under the new temperatures, with those of ``figures_of_the_card``.

    Raises:
        FileNotFoundError, ValueError: no checkpoint, or no such data.
    """
    rows = load_rows(data, photos=not blind)
    model = load_checkpoint(checkpoint).to(choose_device(device))
    report, logits = evaluate_with_logits(model, rows, blind)
    temperature, yes_no = fit_temperatures(rows, logits, model.answers)
    reconfigure(model, dataclasses.replace(model.config, temperature=temperature, yes_no_temperature=yes_no))
    report |= score_logits(model, rows, logits)
    report |= figures_of_the_card(model, rows, logits, blind)
    folder = Path(checkpoint)
    metrics, card = folder / METRICS_FILE, folder / CARD_FILE
    old = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {}
    old.pop("held_out_calibration_error", None)  # of other rows
    text = renewed_card(model, card.read_text(encoding="utf-8") if card.is_file() else "", data, report, blind)
    with changing(folder) as fresh:
        model.config.to_json(fresh / CONFIG_FILE)
        (fresh / metrics.name).write_text(json.dumps(old | report, indent=2) + "\n", encoding="utf-8")
        (fresh / card.name).write_text(text, encoding="utf-8")
    return report


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="trained model, whose figures are replaced, or an open one")
    parser.add_argument("--data", required=True, help="questions that the model didn't learn from")
    parser.add_argument("--blind", action="store_true", help="answer from the question alone; needs no photos")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--output", help="of an open model: the file to write (default: valm_calibration.json)")
    parser.add_argument("--prompt", help="of an open model: what it is asked, with {image} and {question}")
    parser.add_argument(
        "--maps", type=int, default=100, help="of an open model: questions to check shuffled maps on, 0 for none (100)"
    )
    options = parser.parse_args(arguments)
    with ending_in_a_line(parser, writes=options.output):
        if is_open_model(options.checkpoint):
            from training.open_models import calibrate_open_model, format_calibration  # not above: it imports this file

            output = options.output or CALIBRATION_FILE
            found = calibrate_open_model(
                options.checkpoint, options.data, output, options.device, options.prompt, options.maps
            )
            print(format_calibration(found, output))
            return
        check_place(Path(options.checkpoint) / METRICS_FILE)
        report = recalibrate(options.checkpoint, options.data, options.device, options.blind)
        print(format_table(report))
        if (held_out := report.get("held_out_calibration_error")) is None:
            print(ONE_PHOTO)
        else:
            print(f"calibration error, temperatures of other photos: {100 * held_out:.1f} %")


if __name__ == "__main__":
    main()
