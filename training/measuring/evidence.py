"""Calibrate the verdicts beside a map on one half of the questions and test them on the other, with shuffled maps.

Example:
    python -m training.evidence --checkpoint assets/checkpoints/everyday --data validation.jsonl --limit 400 \\
        --report docs/reports/maps/evidence.json
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from training.datasets import load_rows
from training.datasets.readers.jsonl import Row
from training.measuring.common import (
    add_measuring_options,
    as_page,
    data_name,
    encode_and_answer,
    load_model,
    markdown_table,
    sample,
    tell_report,
)
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.contents import METRICS_FILE, changing
from valm_core.checkpoints.facts import THRESHOLDS as THRESHOLD_NAME
from valm_core.checkpoints.facts import read_thresholds
from valm_core.checkpoints.fingerprints import read_json
from valm_core.commands import ending_in_a_line
from valm_core.evidence import rules
from valm_core.evidence.measure import hiding_probabilities
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.method_names import DEFAULT_METHOD
from valm_core.model.model import ValmModel

SHUFFLES = 4  # shuffled maps a question
THRESHOLDS = ("calibrated", "used")
VERDICTS_ON = (
    "true_maps",
    "true_maps_where_the_photo_changed_the_answer",
    "maps_of_other_photos",
    "maps_of_other_photos_where_the_photo_changed_the_answer",
    "shuffled_maps",
)
SHUFFLED_SHARES = {"matters a little": 0.97, "matters": 0.995}  # of shuffled maps that must stay below a threshold


@dataclass(frozen=True, eq=False)
class Hidden:
    """What hiding did to the model's own answer to one question.

    ``probability`` is the answer's with the whole photo; ``hottest`` [1 + SHUFFLES, S] without the hottest cells of the
    default method's map, then of that map with its cells shuffled; ``foreign`` [S] without those of the question
    before, about another photo; ``random`` [draws, S] without random cells. ``changed`` says whether the photo changed
    the answer.
    """

    probability: float
    hottest: np.ndarray
    foreign: np.ndarray
    random: np.ndarray
    changed: bool

    def true_map(self, thresholds: rules.Thresholds | None = None) -> str:
        """The verdict on the default method's map."""
        return rules.verdict(self.probability, self.hottest[0], self.random, thresholds)

    def foreign_map(self, thresholds: rules.Thresholds | None = None) -> str:
        """The verdict on the map of another question about another photo: hot in one piece, and wrong here."""
        return rules.verdict(self.probability, self.foreign, self.random, thresholds)

    def shuffled_maps(self, thresholds: rules.Thresholds | None = None) -> list[tuple[float, str]]:
        """Support of, and verdict on, maps that know nothing: the shuffled ones, and every random draw against the
        others, for its order is that of one more shuffled map."""
        others = [np.delete(self.random, place, axis=0) for place in range(len(self.random))]
        curves = [(hottest, self.random) for hottest in self.hottest[1:]] + list(zip(self.random, others, strict=True))
        return [(rules.support(*curve), rules.verdict(self.probability, *curve, thresholds)) for curve in curves]


@torch.no_grad()
def hide(model: ValmModel, rows: list[Row], by_pixels: bool = False) -> list[Hidden]:
    """Hide what the default method's map of each question marks, and what its shuffled maps mark.

    ``by_pixels`` blurs the photo there before it is encoded; else encoded cells are replaced, as on the page.
    """
    found = []
    maps_so_far: list[tuple[Path | None, np.ndarray]] = []
    for number, row in enumerate(tqdm(rows, desc="hiding", unit="question")):
        asked = encode_and_answer(model, row.photo, row.question)
        text, image, answer = asked.text, asked.image, asked.answer
        blind = model(text_tokens=text.tokens, text_mask=text.mask).logits[0]
        image_map = EXPLANATION_METHODS[DEFAULT_METHOD](model, text, image, answer).image_map
        generator = np.random.default_rng(number)
        maps = [image_map, *(generator.permutation(image_map.ravel()) for _ in range(SHUFFLES))]
        of_others = (other for photo, other in reversed(maps_so_far) if photo != row.image)
        maps.append(next(of_others, image_map[::-1]))  # the first question's own, turned over
        maps_so_far.append((row.image, image_map))
        probability, hottest, random = hiding_probabilities(
            model, text, image, answer, maps, asked.pixels if by_pixels else None
        )
        found.append(Hidden(probability, hottest[:-1], hottest[-1], random, int(blind.argmax()) != answer))
    return found


def measure(
    model: ValmModel, rows: list[Row], by_pixels: bool = False, thresholds: rules.Thresholds | None = None
) -> dict:
    """Thresholds from the first half of the rows, and on the second half the share of each verdict.

    The verdicts tested are those that people see: by the checkpoint's own ``thresholds``, or those of
    ``evidence.rules`` where it has none, which the calibrated ones were rounded to, and by its smallest effect.
    """
    half = len(rows) // 2
    hidden = hide(model, rows, by_pixels)
    shuffled = [support for found in hidden[:half] for support, _ in found.shuffled_maps()]
    tested = hidden[half:]
    true_maps = np.array([found.true_map(thresholds) for found in tested])
    foreign_maps = np.array([found.foreign_map(thresholds) for found in tested])
    changed = np.array([found.changed for found in tested])
    shuffled_verdicts = np.array([verdict for found in tested for _, verdict in found.shuffled_maps(thresholds)])
    calibrated = {name: round(float(np.quantile(shuffled, share)), 2) for name, share in SHUFFLED_SHARES.items()}
    return {
        "method": DEFAULT_METHOD,
        "hidden": "pixels" if by_pixels else "cells",
        "questions": len(rows),
        "calibrated": calibrated,
        "used": dict(zip(SHUFFLED_SHARES, thresholds or (rules.LITTLE_SUPPORT, rules.SUPPORT), strict=True)),
        "tested_questions": len(tested),
        "photo_changed_the_answer": int(changed.sum()),
        "true_maps": verdict_shares(true_maps),
        "true_maps_where_the_photo_changed_the_answer": verdict_shares(true_maps[changed]),
        "maps_of_other_photos": verdict_shares(foreign_maps),
        "maps_of_other_photos_where_the_photo_changed_the_answer": verdict_shares(foreign_maps[changed]),
        "shuffled_maps": verdict_shares(shuffled_verdicts),
    }


def verdict_shares(verdicts: np.ndarray) -> dict[str, float]:
    """The share of each verdict among some; 0 where there are none."""
    return {name: round(float((verdicts == name).sum() / max(verdicts.size, 1)), 4) for name in rules.VERDICTS}


def write_thresholds(folder: Path, calibrated: dict[str, float]) -> None:
    """Keep thresholds, rounded up to one decimal, among a checkpoint's figures, where the predictors look for them."""
    metrics = read_json(folder / METRICS_FILE) if (folder / METRICS_FILE).is_file() else {}
    if not isinstance(metrics, dict):
        raise ValueError(f"{folder / METRICS_FILE} is damaged. Copy the checkpoint again.")
    kept = [math.ceil(round(10 * calibrated[name], 6)) / 10 for name in SHUFFLED_SHARES]
    with changing(folder) as fresh:
        write_text(fresh / METRICS_FILE, json.dumps(metrics | {THRESHOLD_NAME: kept}, indent=2) + "\n")


def format_report(report: dict) -> str:
    """The report as Markdown."""
    thresholds = {kind: " and ".join(f"{report[kind][name]}" for name in SHUFFLED_SHARES) for kind in THRESHOLDS}
    rows = [
        (name.replace("_", " "), *(f"{100 * report[name][verdict]:.1f} %" for verdict in rules.VERDICTS))
        for name in VERDICTS_ON
    ]
    return as_page(
        "# Verdicts beside a map",
        f"    {report.get('command', '')}",
        f"Hidden: {report['hidden']}. Thresholds of support for {' and '.join(SHUFFLED_SHARES)}, from shuffled maps of "
        f"{report['questions'] - report['tested_questions']} questions: {thresholds['calibrated']}; used: "
        f"{thresholds['used']}. Verdicts on {report['tested_questions']} others, of which the photo changed the answer "
        f"to {report['photo_changed_the_answer']}:",
        markdown_table((report["method"], *rules.VERDICTS), rows),
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_measuring_options(parser, report="write this JSON file, and beside it the same as .md")
    parser.add_argument("--data", required=True, help="JSON lines file (see docs/train.md)")
    parser.add_argument("--limit", type=int, default=400, help="how many questions, drawn with seed 1 (default 400)")
    parser.add_argument("--pixels", action="store_true", help="blur the photo itself, in place of its encoded cells")
    parser.add_argument("--write", action="store_true", help="keep the thresholds, rounded up, in the checkpoint")
    options = parser.parse_args(arguments)
    if options.write and options.pixels:
        parser.error("--write keeps thresholds for hidden cells, as the page hides them; leave --pixels out.")
    if options.limit < 2:
        parser.error(f"--limit is {options.limit}; at least 2 are needed, one to calibrate on and one to test on.")
    with ending_in_a_line(parser, writes=options.report):
        rows = load_rows(options.data)
        model = load_model(options)
        own = read_thresholds(options.checkpoint)
        report = measure(model, sample(rows, options.limit, seed=1), options.pixels, own)
        if options.write:
            write_thresholds(Path(options.checkpoint), report["calibrated"])
        data = data_name(options.data)
        report["command"] = (
            f"python -m training.evidence --checkpoint {options.checkpoint} --data {data} --limit {options.limit}"
            f"{' --pixels' if options.pixels else ''}"
        )
        tell_report(report, format_report(report), options.report)


if __name__ == "__main__":
    main()
