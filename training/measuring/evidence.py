"""Calibrate the verdicts beside a map on one half of the questions and test them on the other, with shuffled maps.

Example:
    python -m training.evidence --checkpoint assets/checkpoints/everyday --data validation.jsonl --limit 400 \\
        --report docs/reports/evidence.json
"""

import argparse

import numpy as np
import torch
from tqdm import tqdm

from training.datasets import load_rows
from training.datasets.feature_cache import read_pixels
from training.datasets.readers.jsonl import Row
from training.measuring.common import add_measuring_options, data_name, load_model, sample, tell_report
from valm_core.evidence import rules
from valm_core.evidence.measure import hiding_probabilities
from valm_core.explanations import DEFAULT_METHOD, EXPLANATION_METHODS
from valm_core.model.model import ValmModel

SHUFFLES = 4  # shuffled maps a question
SHUFFLED_SHARES = {"weak": 0.97, "faithful": 0.995}  # of shuffled maps that must stay below a threshold


@torch.no_grad()
def supports(model: ValmModel, rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """``evidence.support`` and verdict of the default method's map for the model's own answer, then of that map with
    its cells shuffled: [R, 1 + SHUFFLES] each, the verdicts as places in ``VERDICTS``."""
    values, verdicts = [], []
    for number, row in enumerate(tqdm(rows, desc="hiding", unit="question")):
        text = model.encode_question(*(part.to(model.device) for part in model.tokenizer([row.question], True)))
        image = model.encode_image(read_pixels(model, row.photo)[None].to(model.device))
        logits = model(text_tokens=text.tokens, text_mask=text.mask, image_tokens=image.tokens).logits[0]
        answer = int(logits.argmax())
        image_map = EXPLANATION_METHODS[DEFAULT_METHOD](model, text, image, answer).image_map
        generator = np.random.default_rng(number)
        maps = [image_map, *(generator.permutation(image_map.ravel()) for _ in range(SHUFFLES))]
        whole, hottest, others = hiding_probabilities(model, text, image, answer, maps)
        found = [rules.support(hidden, others) for hidden in hottest.tolist()]
        told = [
            rules.verdict(value, whole, hidden, float(others.mean()))
            for value, hidden in zip(found, hottest.tolist(), strict=True)
        ]
        values.append(found)
        verdicts.append([rules.VERDICTS.index(verdict) for verdict in told])
    return np.array(values), np.array(verdicts)


def measure(model: ValmModel, rows: list[Row]) -> dict:
    """Thresholds from the first half of the rows, and on the second half the share of each verdict.

    The verdicts tested are those of ``evidence.rules``: its thresholds, which the calibrated ones were rounded to,
    and its smallest effect.
    """
    half = len(rows) // 2
    values, verdicts = supports(model, rows)
    shuffled = values[:half, 1:]
    calibrated = {name: round(float(np.quantile(shuffled, share)), 2) for name, share in SHUFFLED_SHARES.items()}
    return {
        "method": DEFAULT_METHOD,
        "questions": len(rows),
        "calibrated": calibrated,
        "used": {"weak": rules.WEAK_SUPPORT, "faithful": rules.FAITHFUL_SUPPORT},
        "tested_questions": len(rows) - half,
        "true_maps": verdict_shares(verdicts[half:, 0]),
        "shuffled_maps": verdict_shares(verdicts[half:, 1:]),
    }


def verdict_shares(places: np.ndarray) -> dict[str, float]:
    """The share of each verdict among places in ``VERDICTS``."""
    return {name: round(float((places == place).mean()), 4) for place, name in enumerate(rules.VERDICTS)}


def format_report(report: dict) -> str:
    """The report as Markdown."""
    lines = [
        "# Verdicts beside a map",
        "",
        f"    {report.get('command', '')}",
        "",
        f"Thresholds of support, from shuffled maps of {report['questions'] - report['tested_questions']} questions: "
        f"weak {report['calibrated']['weak']}, faithful {report['calibrated']['faithful']}; used: "
        f"{report['used']['weak']} and {report['used']['faithful']}. Verdicts on {report['tested_questions']} others:",
        "",
        f"| {report['method']} | {' | '.join(rules.VERDICTS)} |",
        "|---|---|---|---|",
    ]
    for name in ("true_maps", "shuffled_maps"):
        shares = " | ".join(f"{100 * report[name][verdict]:.1f} %" for verdict in rules.VERDICTS)
        lines.append(f"| {name.replace('_', ' ')} | {shares} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_measuring_options(parser, report="write this JSON file, and beside it the same as .md")
    parser.add_argument("--data", required=True, help="JSON lines file (see docs/train.md)")
    parser.add_argument("--limit", type=int, default=400, help="how many questions, drawn with seed 1 (default 400)")
    options = parser.parse_args(arguments)
    if options.limit < 2:
        parser.error(f"--limit is {options.limit}; at least 2 are needed, one to calibrate on and one to test on.")
    try:
        rows = load_rows(options.data)
        model = load_model(options)
        report = measure(model, sample(rows, options.limit, seed=1))
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    data = data_name(options.data)
    report["command"] = (
        f"python -m training.evidence --checkpoint {options.checkpoint} --data {data} --limit {options.limit}"
    )
    text = format_report(report)
    tell_report(report, text, options.report)


if __name__ == "__main__":
    main()
