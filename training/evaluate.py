"""Measure a checkpoint on a data file: accuracy by type and source, multiple choice, coverage, calibration.

Example:
    python -m training.evaluate --checkpoint assets/checkpoints/everyday --data validation.jsonl --report report.json
"""

import argparse
import json
import time

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training.datasets import load_rows
from training.datasets.feature_cache import FeatureCache
from training.datasets.questions import QuestionDataset
from training.datasets.readers.jsonl import Row
from training.metrics.calibration import accuracy_at_coverage, expected_calibration_error, reliability
from training.metrics.vqa_accuracy import answer_type, normalize_answer, vqa_accuracy
from training.tasks.table import find_task
from valm_core.checkpoints.atomic_files import write_text
from valm_core.checkpoints.contents import task_of
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.commands import ending_in_a_line
from valm_core.devices import choose_device
from valm_core.learning.losses import OBJECTIVE_INPUTS
from valm_core.model.heads import ANSWER_KINDS, answer_kind, candidate_scores
from valm_core.model.model import ValmModel

EVALUATION_BATCH = 256
YES_RATES = {"yes_rate": "    says yes to yes/no", "true_yes_rate": "    yes is right"}  # figure -> its line
COVERAGES = (0.1, 0.25, 0.5, 0.75)


@torch.no_grad()
def predict_logits(model: ValmModel, dataset: QuestionDataset) -> Tensor:
    """Logits [R, A] on the CPU, in the order of the rows, before any temperature.

    Under ``accelerate launch`` every process must call this; each answers its share, and all get all logits.

    Args:
        model: the model, left in evaluation mode.
        dataset: what to answer; questions about one photo should stand together, then it is encoded once.
    """
    model.eval()
    rank, processes = processes_of_run()
    starts = range(0, len(dataset), EVALUATION_BATCH)
    batches = []
    for start in tqdm(starts[rank::processes], desc="answering", unit="batch", leave=False, disable=rank > 0):
        batch = dataset.collate(list(range(start, min(start + EVALUATION_BATCH, len(dataset)))))
        inputs = {name: value.to(model.device) for name, value in batch.items() if name not in OBJECTIVE_INPUTS}
        batches.append(model(**inputs).logits.float().cpu())
    if processes > 1:
        shares: list[list[Tensor]] = [[] for _ in range(processes)]
        torch.distributed.all_gather_object(shares, batches)
        batches = [shares[place % processes][place // processes] for place in range(len(starts))]
    return torch.cat(batches)


def processes_of_run() -> tuple[int, int]:
    """This process's rank and how many processes share the run: (0, 1) outside ``accelerate launch``."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def score_rows(rows: list[Row], probabilities: Tensor, answers: list[str]) -> dict:
    """Accuracy figures of a set of answers, each in 0..1; a question whose answer isn't in the list counts as wrong.

    ``by_type`` sorts questions by their reference answers, ``reliability_by_kind`` by the kind of the given answer:
    that is all that is known of a question nobody has answered yet. ``yes_rate`` is the share of "yes" among the given
    answers to yes/no questions, ``true_yes_rate`` that among their reference answers.

    Args:
        rows: R questions with their reference answers.
        probabilities: [R, A]; the highest is the confidence in the answer.
        answers: the answer list.
    """
    confidence, chosen = probabilities.max(dim=-1)
    correct = np.array(
        [vqa_accuracy(answers[index], row.answers) for row, index in zip(rows, chosen.tolist(), strict=True)]
    )
    types = np.array([answer_type(row.answers) for row in rows])
    kinds = np.array([answer_kind(answers[index]) for index in chosen.tolist()])  # of what the model said
    sources = np.array([row.source for row in rows])
    said_yes = np.array([normalize_answer(answers[index]) == "yes" for index in chosen.tolist()])
    true_yes = np.array([np.mean([normalize_answer(answer) == "yes" for answer in row.answers]) for row in rows])
    asked_yes_no = types == "yes/no"
    known = set(map(normalize_answer, answers))
    covered = [any(normalize_answer(answer) in known for answer in row.answers) for row in rows]
    return {
        "questions": len(rows),
        "accuracy": float(correct.mean()),
        "by_type": {
            name: float(correct[types == name].mean()) if (types == name).any() else None for name in ANSWER_KINDS
        },
        "by_source": {str(name): float(correct[sources == name].mean()) for name in np.unique(sources)},
        "yes_rate": float(said_yes[asked_yes_no].mean()) if asked_yes_no.any() else None,
        "true_yes_rate": float(true_yes[asked_yes_no].mean()) if asked_yes_no.any() else None,
        "answer_coverage": float(np.mean(covered)),
        "expected_calibration_error": expected_calibration_error(confidence.numpy(), correct),
        "reliability": reliability(confidence.numpy(), correct),
        "reliability_by_kind": {
            kind: reliability(confidence.numpy()[kinds == kind], correct[kinds == kind])
            for kind in ANSWER_KINDS
            if (kinds == kind).any()
        },
        "accuracy_at_coverage": {
            str(share): accuracy
            for share, accuracy in accuracy_at_coverage(confidence.numpy(), correct, COVERAGES).items()
        },
    }


@torch.no_grad()
def multiple_choice_accuracy(model: ValmModel, rows: list[Row], probabilities: Tensor) -> float | None:
    """Share of the rows with choices where the right one gets the highest score; None without such rows.

    A choice need not be in the answer list: see ``candidate_scores``. Equal scores share the credit, so that the
    position of the right choice can't help.
    """
    with_choices = [place for place, row in enumerate(rows) if row.choices]
    if not with_choices:
        return None
    texts = sorted({choice for place in with_choices for choice in rows[place].choices})
    embedded = dict(zip(texts, model.embed_texts(texts).cpu(), strict=True))
    answer_embeddings = model.embed_texts(model.answers).cpu()
    credit = 0.0
    for place in with_choices:
        candidates = torch.stack([embedded[choice] for choice in rows[place].choices])
        scores = candidate_scores(probabilities[place], answer_embeddings, candidates)
        winners = scores == scores.max()
        credit += float(winners[0]) / int(winners.sum())
    return credit / len(with_choices)


def score_logits(model: ValmModel, rows: list[Row], logits: Tensor) -> dict:
    """The figures of ``score_rows`` and multiple choice, of logits [R, A] under the model's temperatures."""
    probabilities = model.probabilities(logits)
    report = score_rows(rows, probabilities, model.answers)
    return report | {"multiple_choice_accuracy": multiple_choice_accuracy(model, rows, probabilities)}


def evaluate(model: ValmModel, rows: list[Row], blind: bool = False) -> dict:
    """All figures of ``python -m training.evaluate`` for a loaded model."""
    report, logits = evaluate_with_logits(model, rows, blind)
    return report if blind else report | without_photo(model, rows, logits)


def without_photo(model: ValmModel, rows: list[Row], logits: Tensor, features: FeatureCache | None = None) -> dict:
    """``accuracy_without_photo``, of the model's answers from the question alone, and ``same_as_blind``, the share of
    the rows where such a blind answer is also the one with the photo. Arguments as in ``evaluate_with_logits``, whose
    logits [R, A] these are."""
    blind_report, blind_logits = evaluate_with_logits(model, rows, blind=True, features=features)
    same = logits.argmax(dim=-1) == blind_logits.argmax(dim=-1)
    return {"accuracy_without_photo": blind_report["accuracy"], "same_as_blind": float(same.float().mean())}


def evaluate_with_logits(
    model: ValmModel, rows: list[Row], blind: bool = False, features: FeatureCache | None = None
) -> tuple[dict, Tensor]:
    """The figures, and the logits [R, A] that they were read off, in the order of the rows.

    Args:
        model, rows, blind: as in ``evaluate``.
        features: encoder outputs computed beforehand; they are stored in float16, so figures can differ in the
            fourth digit.
    """
    start = time.perf_counter()
    order = sorted(range(len(rows)), key=lambda place: str(rows[place].image))  # a photo's questions stand together
    by_photo = [rows[place] for place in order]
    logits = predict_logits(model, QuestionDataset(by_photo, model, features, blind))
    report = score_logits(model, by_photo, logits)
    report |= {"blind": blind, "seconds": round(time.perf_counter() - start, 1)}
    return report, logits[torch.tensor(order).argsort()]


def format_table(report: dict) -> str:
    """The report as lines of text, in percent."""
    lines = [f"{'questions':<32}{report['questions']:>8}"]
    figures = {"accuracy": report["accuracy"]}
    if "accuracy_without_photo" in report:
        figures["  without the photo"] = report["accuracy_without_photo"]
    if "same_as_blind" in report:
        figures["same answer without it"] = report["same_as_blind"]
    figures |= {f"  {name}": value for name, value in report["by_type"].items()}
    figures |= {label: report[name] for name, label in YES_RATES.items() if name in report}
    figures |= {f"  {name}": value for name, value in report["by_source"].items()}
    figures["multiple choice"] = report["multiple_choice_accuracy"]
    figures["answers in the list"] = report["answer_coverage"]
    figures["expected calibration error"] = report["expected_calibration_error"]
    figures |= {
        f"  surest {100 * float(share):.0f} % alone": value for share, value in report["accuracy_at_coverage"].items()
    }
    lines += [f"{name:<32}{'-' if value is None else f'{100 * value:.1f} %':>8}" for name, value in figures.items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder of a trained model")
    parser.add_argument("--data", required=True, help="JSON lines file, CSV or another source (see docs/train.md)")
    parser.add_argument(
        "--blind", action="store_true", help="answer from the question alone, with the average photo; needs no photos"
    )
    parser.add_argument("--report", help="also write the figures to this JSON file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    with ending_in_a_line(parser, writes=options.report):
        device = choose_device(options.device)
        task = task_of(fetch_checkpoint(options.checkpoint))
        if task != "answer" and options.blind:
            raise ValueError(
                "--blind is for checkpoints that answer. Others give figures without photos where they can do without."
            )
        if task != "answer":
            measured = find_task(task)
            report = measured.measure(options.checkpoint, options.data, device)
            table = measured.table(report)
        else:
            rows = load_rows(options.data, photos=not options.blind)
            report = evaluate(load_checkpoint(options.checkpoint).to(device), rows, options.blind)
            table = format_table(report)
        print(table)
        if options.report:
            write_text(options.report, json.dumps(report, indent=2) + "\n")
        report.pop("said", None)  # what was said of every photo: for the file
        print(json.dumps(report))


if __name__ == "__main__":
    main()
