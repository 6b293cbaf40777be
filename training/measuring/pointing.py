"""Do the maps point at the object that the answer depends on? Pointing game and relevance mass on planted scenes.

With ``--boxes`` instead: do the maps of words for persons point at persons' boxes on photos?

Examples:
    python -m training.pointing --checkpoint runs/planted/model/checkpoint plain=runs/planted/plain/rows.jsonl \\
        photos=runs/planted/photos/rows.jsonl --report docs/reports/maps/planted_scenes.json
    python -m training.pointing --checkpoint assets/checkpoints/everyday --boxes person_boxes.jsonl \\
        --split validation --report docs/reports/maps/person_pointing.json
"""

import argparse
import json
from collections import defaultdict

import numpy as np
import torch
from tqdm import tqdm

from training.datasets import load_rows
from training.datasets.readers.jsonl import DataError, Row
from training.datasets.readers.judging import PersonPhoto, read_person_photos
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
from training.measuring.faithfulness import interval
from training.measuring.person_pointing import asked_questions, drawn_questions, format_persons, measure_persons
from training.metrics.vqa_accuracy import vqa_accuracy
from valm_core.commands import ending_in_a_line
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.learning.losses import region_cells
from valm_core.method_names import DEFAULT_METHOD
from valm_core.model.model import ValmModel

TOLERANCE = 15 / 224  # of the side, around the object: that of the pointing game


def points_at(image_map: np.ndarray, region: tuple[float, float, float, float]) -> float:
    """1 where the hottest cell's centre lies in the region or within ``TOLERANCE`` of it, else 0; ties share.

    The pointing game (Zhang et al. 2016, https://arxiv.org/abs/1608.00507).

    Args:
        image_map: [rows, columns].
        region: (x0, y0, x1, y1) in 0..1.
    """
    hottest = np.argwhere(image_map == image_map.max())
    centers = (hottest + 0.5) / image_map.shape  # [ties, (y, x)]
    x0, y0, x1, y1 = region
    inside = (
        (centers[:, 0] >= y0 - TOLERANCE)
        & (centers[:, 0] <= y1 + TOLERANCE)
        & (centers[:, 1] >= x0 - TOLERANCE)
        & (centers[:, 1] <= x1 + TOLERANCE)
    )
    return float(inside.mean())


def mass_inside(image_map: np.ndarray, region: tuple[float, float, float, float]) -> float:
    """The share of the map that lies in the region, 0..1, each cell's share spread evenly over its area.

    Relevance mass accuracy (Arras et al. 2022, https://arxiv.org/abs/2003.07258).
    """
    overlap = region_cells(torch.tensor([region]), image_map.shape)[0].numpy()  # [N], share of the region in each cell
    x0, y0, x1, y1 = region
    area = overlap * (x1 - x0) * (y1 - y0) * image_map.size  # [N], share of each cell in the region
    return float((image_map.ravel() * area).sum() / image_map.sum())


@torch.no_grad()
def measure(model: ValmModel, rows: list[Row]) -> dict:
    """Accuracy of the model, and for every method pointing game and mass over the rows that it answers rightly.

    A map of a wrong answer has no reason to point at the object, so those rows are left out.

    Raises:
        DataError: a row has no region, or no answer is right.
    """
    regions = [row.region for row in rows if row.region]
    if missing := len(rows) - len(regions):
        raise DataError(
            f"{missing} of {len(rows)} rows have no `region`. Draw them with training.datasets.planted_scenes."
        )
    right: list[float] = []
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in tqdm(rows, desc="pointing", unit="question"):
        asked = encode_and_answer(model, row.photo, row.question)
        text, image, answer = asked.text, asked.image, asked.answer
        right.append(vqa_accuracy(model.answers[answer], row.answers))
        if not right[-1]:
            continue
        for name, method in EXPLANATION_METHODS.items():
            image_map = method(model, text, image, answer).image_map
            values[name]["pointing"].append(points_at(image_map, row.region))
            values[name]["mass"].append(mass_inside(image_map, row.region))
    if not values:
        raise DataError(f"The model answers none of the {len(rows)} questions rightly: there is nothing to point at.")
    raw = values["raw_attention"]

    def summary(metric: str, found: list[float]) -> dict:
        return interval(found) | {"difference_to_raw_attention": interval(np.subtract(found, raw[metric]))}

    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in regions]
    return {
        "questions": len(rows),
        "accuracy": float(np.mean(right)),
        "object_area": float(np.mean(areas)),
        "methods": {
            name: {metric: summary(metric, found) for metric, found in figures.items()}
            for name, figures in values.items()
        },
    }


def format_report(report: dict) -> str:
    """The report as Markdown: a table a file."""
    parts = ["# Do the maps point at the object?", f"    {report.get('command', '')}"]
    for name, figures in report["files"].items():
        parts.append(
            f"## {name}\n\n{figures['questions']} questions, of which the {100 * figures['accuracy']:.1f} % answered "
            f"rightly are measured. An object covers {100 * figures['object_area']:.1f} % of a scene. 95 % bootstrap "
            "intervals; an asterisk marks what is better than raw attention (paired difference, interval above 0)."
        )
        rows = []
        for method, values in figures["methods"].items():
            cells = []
            for metric in ("pointing", "mass"):
                value = values[metric]
                star = "*" if value["difference_to_raw_attention"]["low"] > 0 else ""
                cells.append(f"{value['mean']:.3f}{star} ({value['low']:.3f}–{value['high']:.3f})")
            default = " (default)" if method == DEFAULT_METHOD else ""
            rows.append((f"{method}{default}", *cells))
        parts.append(markdown_table(("method", "pointing game", "relevance mass inside"), rows))
    return as_page(*parts)


def measure_files(model: ValmModel, files: list[str], limit: int) -> dict:
    """The figures of ``measure`` for every name=FILE, by name. Raises DataError where one has no name."""
    figures = {}
    for named in files:
        name, equals, file = named.partition("=")
        if not equals:
            raise DataError(f"{named!r} has no name; write name=FILE, e.g. plain=runs/planted/plain/rows.jsonl.")
        figures[name] = measure(model, sample(load_rows(file), limit, seed=0))
    return figures


def person_questions(boxes: str, split: str | None, questions: str | None) -> list[tuple[PersonPhoto, str]]:
    """Photos with person boxes, each with a question that names a person: of the file ``questions``, or drawn."""
    photos = read_person_photos(boxes, split)
    return asked_questions(photos, load_rows(questions)) if questions else drawn_questions(photos)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="name=FILE", help="JSON lines files whose rows have a region")
    parser.add_argument("--boxes", help="instead of those: JSON lines file of photos with boxes of persons")
    parser.add_argument("--split", help="of --boxes only rows whose `split` is this one, e.g. validation")
    parser.add_argument("--questions", help="ask what this file asks of persons on these photos, not drawn questions")
    add_measuring_options(parser, report="write this JSON file, and beside it the same as .md")
    parser.add_argument("--limit", type=int, default=500, help="questions a file, drawn with seed 0 (default 500)")
    options = parser.parse_args(arguments)
    if bool(options.files) == bool(options.boxes):
        parser.error("give either name=FILE (files whose rows have a region) or --boxes FILE (boxes of persons).")
    if options.files and (options.split or options.questions):
        parser.error("--split and --questions go with --boxes alone.")
    command = f"python -m training.pointing --checkpoint {options.checkpoint} --limit {options.limit} "
    limit = max(options.limit, 1)
    with ending_in_a_line(parser, writes=options.report):
        if options.boxes:
            asked = person_questions(options.boxes, options.split, options.questions)
            report = measure_persons(load_model(options), sample(asked, limit, seed=0))
            command += f"--boxes {data_name(options.boxes)}" + (f" --split {options.split}" if options.split else "")
            command += f" --questions {data_name(options.questions)}" if options.questions else ""
            report["command"] = command
        else:
            files = measure_files(load_model(options), options.files, limit)
            report = {"command": command + " ".join(options.files), "files": files}
        tell_report(report, (format_persons if options.boxes else format_report)(report), options.report)
        print(json.dumps(report))


if __name__ == "__main__":
    main()
