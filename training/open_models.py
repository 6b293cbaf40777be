"""Calibrating an open vision-language model on questions with known answers."""

import dataclasses
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.datasets import load_rows
from training.datasets.readers.jsonl import Row, photos_of
from training.measuring.evidence import SHUFFLED_SHARES, SHUFFLES
from training.metrics.calibration import expected_calibration_error
from training.metrics.vqa_accuracy import vqa_accuracy
from valm_core.evidence import rules
from valm_core.loading import load_predictor
from valm_core.outputs import Predictor
from valm_core.vision_language.calibration import Calibration, scaled
from valm_core.vision_language.geometry import coarse_grid
from valm_core.vision_language.predictor import TransformersPredictor

MIN_QUESTIONS = 20
MAX_SLOPE, STEPS = 20.0, 100
MIN_THRESHOLD = 0.1
_SHARES = tuple(SHUFFLED_SHARES.values())


def fit_scaling(probabilities: np.ndarray, correct: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of Platt scaling by Newton's method, with a weak pull to (1, 0).

    Args:
        probabilities: [R] of the likeliest answers, 0..1.
        correct: [R] how right they were, 0..1.
    """
    kept = np.clip(probabilities, 1e-6, 1 - 1e-6)
    features = np.stack([np.log(kept / (1 - kept)), np.ones(len(kept))], axis=1)  # [R, 2]
    weights, start, pull = np.array([1.0, 0.0]), np.array([1.0, 0.0]), 1e-2 * np.eye(2)
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (chance - correct) + pull @ (weights - start)
        curvature = (features * (chance * (1 - chance))[:, None]).T @ features + pull
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return float(np.clip(weights[0], 1e-3, MAX_SLOPE)), float(weights[1])


def calibrate_open_model(
    name: str, data: str, output: str | Path, device: str = "auto", prompt: str | None = None, maps: int = 100
) -> Calibration:
    """Ask an open model every question, fit its calibration, measure the thresholds of its verdicts, and write both.

    Args:
        name: folder, or ``user/model`` on the hub.
        data: what ``load_rows`` reads: rows with a photo, a question and answers.
        output: the file to write.
        device: auto, cpu, cuda or mps.
        prompt: as for ``load_predictor``; a calibration is that of its prompt.
        maps: on how many of the questions shuffled maps are checked; 0 for no thresholds.

    Returns:
        The ``Calibration``.

    Raises:
        FileNotFoundError, ValueError: no such model or data, or too few questions.
    """
    rows = sorted(load_rows(data, photos=True), key=lambda row: str(row.image))  # a photo is encoded once
    if len(rows) < MIN_QUESTIONS:
        raise ValueError(f"{data} has {len(rows)} questions; at least {MIN_QUESTIONS} are needed to calibrate on.")
    predictor = load_predictor(name, device, prompt, calibration=None)
    probabilities, correct = likeliest(predictor, rows)
    slope, intercept = fit_scaling(probabilities, correct)
    calibration = Calibration(
        slope=slope,
        intercept=intercept,
        checkpoint_sha256=str(predictor.facts["checkpoint_sha256"]),
        prompt=str(predictor.facts.get("prompt", "")),
        questions=len(rows),
        error_before=expected_calibration_error(probabilities, correct),
        error=held_out(rows, probabilities, correct),
    )
    if maps and isinstance(predictor, TransformersPredictor):
        predictor.calibration = calibration  # support is measured in the percentages that people see
        chosen = [rows[place] for place in np.random.default_rng(1).permutation(len(rows))[:maps]]
        calibration = with_thresholds(calibration, chosen, shuffled_support(predictor, chosen))
    calibration.to_json(output)
    return calibration


def likeliest(predictor: Predictor, rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """The probability [R] of the likeliest answer to each question, and how right it is [R], both 0..1."""
    probabilities, correct = [], []
    photo, image = None, None
    for row in tqdm(rows, desc="asking", unit="question"):
        if row.image is None:
            raise ValueError(f"The question {row.question!r} has no photo.")
        if image is None or row.image != photo:
            photo, image = row.image, predictor.encode(row.image)
        best = predictor.answer(image, row.question, 1).answers[0]
        probabilities.append(best.probability)
        correct.append(vqa_accuracy(best.text, row.answers))
    return np.array(probabilities), np.array(correct)


def shuffled_support(predictor: TransformersPredictor, rows: list[Row]) -> np.ndarray:
    """Support [R, K] of maps that know nothing: orders of cells drawn at random, as in ``training.evidence``.

    Of each question ``SHUFFLES`` orders against the random draws of a verdict, and each of these against the others.
    """
    found = []
    for number, row in enumerate(tqdm(rows, desc="hiding", unit="question")):
        image = predictor.encode(row.photo)
        generator = np.random.default_rng(number)
        grid = coarse_grid(*predictor.open_photo(row.photo).size)
        answer = predictor.answer(image, row.question, 1).answers[0].text
        _, shuffled, random = predictor.hiding(image, row.question, answer, generator.random((SHUFFLES, *grid)))
        each = [rules.support(curve, random) for curve in shuffled]
        others = [np.delete(random, place, axis=0) for place in range(len(random))]
        found.append(each + [rules.support(*curves) for curves in zip(random, others, strict=True)])
    return np.array(found)


def thresholds_of(support: np.ndarray) -> tuple[float, float]:
    """The least support that few enough shuffled maps reach, for "matters a little" and "matters"."""
    little, much = (round(max(float(np.quantile(support, share)), MIN_THRESHOLD), 2) for share in _SHARES)
    return little, much


def with_thresholds(calibration: Calibration, rows: list[Row], support: np.ndarray) -> Calibration:
    """A calibration with the thresholds that the support [R, K] of shuffled maps gives, and how they hold elsewhere."""
    photos = photos_of(rows)
    names = np.random.default_rng(0).permutation(np.unique(photos))
    passing = None
    if len(names) > 1:
        first = np.isin(photos, names[: len(names) // 2])
        passed = [support[here] >= thresholds_of(support[~here])[0] for here in (first, ~first)]
        passing = float(np.concatenate(passed).mean())
    return dataclasses.replace(calibration, thresholds=thresholds_of(support), map_questions=len(rows), passing=passing)


def held_out(rows: list[Row], probabilities: np.ndarray, correct: np.ndarray) -> float | None:
    """The calibration error 0..1 of scalings fitted on one half of the photos and used on the other, both ways.

    None where all questions are about one photo.
    """
    photos = photos_of(rows)
    names = np.random.default_rng(0).permutation(np.unique(photos))
    if len(names) < 2:
        return None
    first, stated = np.isin(photos, names[: len(names) // 2]), np.zeros(len(rows))
    for here in (first, ~first):
        stated[here] = scaled(probabilities[here], *fit_scaling(probabilities[~here], correct[~here]))
    return expected_calibration_error(stated, correct)


def format_calibration(calibration: Calibration, output: str | Path) -> str:
    """What was found, in lines for people."""
    after = "can't be measured with one photo" if calibration.error is None else f"{100 * calibration.error:.1f} %"
    maps = "no thresholds of verdicts"
    if calibration.thresholds is not None:
        elsewhere = "" if calibration.passing is None else f", of other photos {100 * calibration.passing:.1f} %"
        maps = (
            f"thresholds of verdicts {' and '.join(map(str, calibration.thresholds))}, from shuffled maps of "
            f"{calibration.map_questions} questions; {100 - 100 * _SHARES[0]:.0f} % reach the first{elsewhere}"
        )
    return (
        f"{calibration.questions} questions; calibration error {100 * calibration.error_before:.1f} % before, {after} "
        f"after (of other photos)\n{maps}\n"
        f"written to {output}: VALM_CALIBRATION={output} shows such percentages and verdicts on the page"
    )
