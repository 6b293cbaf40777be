"""Does the model look before it says yes? Accuracy and yes-rate on yes/no questions and on statements.

Example:
    python -m training.presence --checkpoint assets/checkpoints/everyday --data presence.jsonl --split validation \\
        --report docs/reports/accuracy/presence.json
"""

import argparse
import json

import numpy as np

from training.datasets.questions import QuestionDataset
from training.datasets.readers.jsonl import Row
from training.datasets.readers.judging import read_yes_no
from training.evaluate import predict_logits
from training.measuring.common import add_measuring_options, as_page, data_name, load_model, markdown_table, tell_report
from training.measuring.faithfulness import BOOTSTRAP_DRAWS
from training.metrics.vqa_accuracy import normalize_answer
from valm_core.commands import ending_in_a_line
from valm_core.model.model import ValmModel

FIGURES = ("accuracy", "balanced_accuracy", "yes_rate", "true_yes_rate", "other_rate", "same_as_blind")


def own_answers(model: ValmModel, rows: list[Row], blind: bool = False) -> np.ndarray:
    """The model's likeliest answer to every row, [R] normalised texts; ``blind`` from the question alone."""
    answers = np.array([normalize_answer(answer) for answer in model.answers])
    order = sorted(range(len(rows)), key=lambda place: str(rows[place].image))  # a photo's questions stand together
    logits = predict_logits(model, QuestionDataset([rows[place] for place in order], model, blind=blind))
    return answers[logits.argmax(dim=-1).numpy()][np.argsort(order)]


def yes_no_figures(truth: np.ndarray, answers: np.ndarray, blind_answers: np.ndarray) -> dict:
    """The figures of some questions, shares in 0..1.

    ``accuracy``; ``balanced_accuracy``, the mean of the shares right among those whose answer is yes and those whose
    answer is no, with its 95 % bootstrap interval (all None where one kind is missing); ``yes_rate`` and
    ``true_yes_rate``; ``other_rate``, answers that are neither and count as wrong; ``same_as_blind``, answers that are
    also the answer without the photo.

    Args:
        truth: [R], "yes" or "no".
        answers, blind_answers: [R], what the model says with and without the photo.
    """
    right = answers == truth
    balanced = balanced_interval(right[truth == "yes"], right[truth == "no"])
    return {
        "questions": len(truth),
        "accuracy": float(right.mean()),
        "balanced_accuracy": balanced["mean"],
        "balanced_accuracy_low": balanced["low"],
        "balanced_accuracy_high": balanced["high"],
        "yes_rate": float((answers == "yes").mean()),
        "true_yes_rate": float((truth == "yes").mean()),
        "other_rate": float((~np.isin(answers, ("yes", "no"))).mean()),
        "same_as_blind": float((answers == blind_answers).mean()),
    }


def balanced_interval(*kinds: np.ndarray) -> dict[str, float | None]:
    """The mean of the means of several kinds, each [R_k] of 0 and 1, and its 95 % interval by bootstrap within each
    kind: ``mean``, ``low`` and ``high``, all None where a kind is empty."""
    if not all(map(len, kinds)):
        return dict.fromkeys(("mean", "low", "high"))
    generator = np.random.default_rng(0)
    draws = [
        kind[generator.integers(len(kind), size=(BOOTSTRAP_DRAWS, len(kind)))].mean(axis=1) for kind in kinds
    ]  # each [draws]
    low, high = np.percentile(np.mean(draws, axis=0), (2.5, 97.5))
    return {"mean": float(np.mean([kind.mean() for kind in kinds])), "low": float(low), "high": float(high)}


def measure(model: ValmModel, rows: list[Row]) -> dict:
    """``yes_no_figures`` of all rows, and ``by_source`` the same of each source."""
    truth = np.array([row.answers[0] for row in rows])
    sources = np.array([row.source for row in rows])
    answers, blind = own_answers(model, rows), own_answers(model, rows, blind=True)

    def figures(chosen: np.ndarray) -> dict:
        return yes_no_figures(truth[chosen], answers[chosen], blind[chosen])

    by_source = {str(name): figures(sources == name) for name in np.unique(sources)}
    return figures(np.full(len(rows), True)) | {"by_source": by_source}


def format_report(report: dict) -> str:
    """The report as Markdown."""
    heads = ("accuracy", "balanced", "says yes", "yes is right", "neither", "as without the photo")
    rows = []
    for name, figures in {"all": report, **report["by_source"]}.items():
        cells = ["–" if figures[figure] is None else f"{100 * figures[figure]:.1f} %" for figure in FIGURES]
        if figures["balanced_accuracy"] is not None:
            low, high = figures["balanced_accuracy_low"], figures["balanced_accuracy_high"]
            cells[1] += f" ({100 * low:.1f}–{100 * high:.1f})"
        rows.append((name, figures["questions"], *cells))
    return as_page(
        "# Yes or no: does it look?",
        f"    {report.get('command', '')}",
        "Balanced accuracy is the mean of the accuracies on questions whose answer is yes and whose answer is no, with "
        "its 95 % bootstrap interval: a coin, always yes and always no reach 50 %. An answer that is neither is wrong.",
        markdown_table(("source", "questions", *heads), rows),
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_measuring_options(parser, report="write this JSON file, and beside it the same as .md")
    parser.add_argument(
        "--data",
        required=True,
        help="JSON lines file: image, and question with answer (yes or no) or statement with label (true or false)",
    )
    parser.add_argument("--split", help="only rows whose `split` is this one, e.g. validation")
    options = parser.parse_args(arguments)
    with ending_in_a_line(parser, writes=options.report):
        rows = read_yes_no(options.data, options.split)
        report = measure(load_model(options), rows)
        command = f"python -m training.presence --checkpoint {options.checkpoint} --data {data_name(options.data)}"
        report["command"] = command + (f" --split {options.split}" if options.split else "")
        tell_report(report, format_report(report), options.report)
        print(json.dumps(report))


if __name__ == "__main__":
    main()
