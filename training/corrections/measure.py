"""What a model learns from twenty corrections, and what it forgets over them: `python -m training.feedback measure`."""

import argparse
import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

from training.corrections.manage import export
from training.datasets import load_rows
from training.datasets.feature_cache import FeatureCache
from training.datasets.questions import QuestionDataset
from training.datasets.readers.jsonl import Row, read_rows, write_rows
from training.evaluate import predict_logits
from training.measuring.common import load_model, sample, write_report
from training.metrics.vqa_accuracy import most_common_answer, normalize_answer, vqa_accuracy
from training.run_config import read_config
from training.train import chosen_answers, train
from valm_core.checkpoints.storage import load_checkpoint
from valm_core.corrections.database import add_correction, read_corrections
from valm_core.inputs.photo import open_photo
from valm_core.model.model import ValmModel

MAX_TRIED = 400  # rows that are asked to find wrong ones
SETS = {
    "corrected": "the corrected questions",
    "similar": "other photos, same kind of question, same right answer",
    "same_question": "other photos, same kind of question, another right answer",
    "validation": "validation questions",
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows of the training data by their part in the measurement; no photo is in two parts."""

    corrected: list[Row]
    similar: list[Row]
    same_question: list[Row]
    rehearsal: list[Row]


def kind(row: Row) -> str:
    """The first two words of a question: what color, how many, is this, ..."""
    return " ".join(row.question.lower().split()[:2])


def split(rows: list[Row], wrong: Callable[[list[Row]], list[bool]], answer: str, count: int, most: int) -> Split:
    """Choose what to correct and what to measure on.

    Args:
        rows: the training data.
        wrong: whether the model answers each row of a list wrong.
        answer: correct only rows with this right answer, and of them the commonest kind of question; empty: any.
        count: how many to correct, each on a photo of its own.
        most: of similar rows, and of those with the same question.

    Raises:
        ValueError: fewer than ``count`` rows are answered wrong.
    """
    order = random.Random(0).sample(rows, len(rows))
    tried = order
    if answer:
        tried = [row for row in order if right_answer(row) == normalize_answer(answer)]
        kinds = [kind(row) for row in tried]
        commonest = max(sorted(set(kinds)), key=kinds.count)
        tried = [row for row in tried if kind(row) == commonest]
    tried = tried[:MAX_TRIED]
    by_photo = {row.photo: row for row, missed in zip(tried, wrong(tried), strict=True) if missed}
    corrected = list(by_photo.values())[:count]
    if len(corrected) < count:
        raise ValueError(f"answer is {answer!r}, with which {len(corrected)} rows are wrong; {count} are needed.")
    taken = {row.photo for row in corrected}
    pairs, kinds_taken = {(kind(row), right_answer(row)) for row in corrected}, {kind(row) for row in corrected}
    alike = [row for row in order if row.photo not in taken and kind(row) in kinds_taken]
    similar = [row for row in alike if (kind(row), right_answer(row)) in pairs][:most]
    taken |= {row.photo for row in similar}
    others = [row for row in alike if (kind(row), right_answer(row)) not in pairs and row.photo not in taken][:most]
    taken |= {row.photo for row in others}
    return Split(corrected, similar, others, [row for row in rows if row.photo not in taken])


def right_answer(row: Row) -> str:
    """The normal form of the most common reference answer."""
    return normalize_answer(most_common_answer(row.answers))


def answers_to(model: ValmModel, rows: list[Row], cache: str) -> list[str]:
    """The model's first answer to each row."""
    order = sorted(range(len(rows)), key=lambda place: str(rows[place].image))
    ordered = [rows[place] for place in order]
    features = FeatureCache(model, [row.photo for row in ordered], [row.question for row in ordered], cache)
    chosen = chosen_answers(model, predict_logits(model, QuestionDataset(ordered, model, features)))
    return [answer for _, answer in sorted(zip(order, chosen, strict=True))]


def score(model: ValmModel, rows: list[Row], cache: str) -> list[float]:
    """How right each first answer is, in 0..1."""
    answers = answers_to(model, rows, cache)
    return [vqa_accuracy(answer, row.answers) for answer, row in zip(answers, rows, strict=True)]


def correct(database: Path, rows: list[Row], given: list[str]) -> None:
    """What people would send from the page: photo, question, the model's answer and the right one."""
    for row, answer in zip(rows, given, strict=True):
        photo = open_photo(row.photo)
        add_correction(database, photo, row.question, answer, most_common_answer(row.answers), True)


def measure(options: argparse.Namespace) -> dict:
    """Store corrections, export them, train from them with and without rehearsal, and ask before and after.

    Returns:
        The report: by answer and by run the share of right answers in each of ``SETS``, in 0..1.

    Raises:
        OSError, ValueError: a file or a setting can't be used, see ``split`` and ``training.train.train``.
    """
    work = Path(options.output)
    start = load_model(options)
    rows, validation = load_rows(options.data), load_rows(options.validation)
    photos = sorted({row.photo for row in validation})
    kept = set(random.Random(0).sample(photos, len(photos) // 2))  # one half guards the training, the other measures
    work.mkdir(parents=True, exist_ok=True)
    guard = work / "guard.jsonl"
    write_rows(guard, sample([row for row in validation if row.photo in kept], options.validation_rows, 0))
    measured = sample([row for row in validation if row.photo not in kept], options.validation_rows, 0)

    def wrong(tried: list[Row]) -> list[bool]:
        return [figure == 0 for figure in score(start, tried, options.cache)]

    report = {
        "corrections": options.corrections,
        "config": options.config,
        "validation_questions": len(measured),
        "runs": [],
    }
    for answer in options.answers.split(","):
        name = answer or "any"
        chosen = split(rows, wrong, answer, options.corrections, options.validation_rows)
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        database = folder / "corrections.db"
        database.unlink(missing_ok=True)
        correct(database, chosen.corrected, answers_to(start, chosen.corrected, options.cache))
        export(read_corrections(database), folder / "corrections")
        data = folder / "corrections" / "corrections.jsonl"
        asked = {"corrected": read_rows(data), "similar": chosen.similar, "same_question": chosen.same_question}
        asked["validation"] = measured
        before = {part: score(start, asked[part], options.cache) for part in SETS}
        write_rows(folder / "rehearsal.jsonl", chosen.rehearsal)
        for rehearsal in ("", str(folder / "rehearsal.jsonl")):
            output = folder / ("with_rehearsal" if rehearsal else "alone")
            files = {"data": str(data), "validation": str(guard), "rehearsal": rehearsal, "output": str(output)}
            settings = {"init": options.checkpoint, "cache": options.cache, "threads": options.threads}
            configs = read_config(options.config, files | settings)
            trained = train(*configs, options.command_line, device=options.device)
            model = load_checkpoint(output / "checkpoint").to(start.device)
            after = {part: score(model, asked[part], options.cache) for part in SETS}
            report["runs"].append(
                {
                    "answer": name,
                    "rehearsal_rows": configs[0].rehearsal_rows if rehearsal else 0,
                    "epochs_kept": trained["best_epoch"],
                    "parts": {part: compare(before[part], after[part]) for part in SETS},
                }
            )
    return report


def compare(before: list[float], after: list[float]) -> dict:
    """The share of right answers of the same questions before and after, in 0..1, and how many changed."""
    pairs = list(zip(before, after, strict=True))
    return {
        "questions": len(pairs),
        "before": sum(before) / len(pairs) if pairs else None,
        "after": sum(after) / len(pairs) if pairs else None,
        "mended": sum(now > then for then, now in pairs),
        "broken": sum(now < then for then, now in pairs),
    }


def as_text(report: dict) -> str:
    """The report for people."""
    text = f"""# What the model learns from {report["corrections"]} corrections

    {report["command"]}

Training questions that the model answers wrong were stored as corrections and learned with
`{report["config"]}`: alone, or with old training rows mixed in. "similar" and "same question" are training
rows on photos that took no part in the run. One half of the validation photos decided how long to train; the figures
are from {report["validation_questions"]} questions of the other half. "mended" became right, "broken" wrong.
"""
    for run in report["runs"]:
        mixed = f"with {run['rehearsal_rows']} old rows" if run["rehearsal_rows"] else "alone"
        text += f"\n## Right answer: {run['answer']}; {mixed}; epochs kept: {run['epochs_kept']}\n\n"
        text += "| | questions | before | after | mended | broken |\n|---|---|---|---|---|---|\n"
        for part, label in SETS.items():
            figures = run["parts"][part]
            shares = " | ".join(
                "-" if figures[name] is None else f"{100 * figures[name]:.1f} %" for name in ("before", "after")
            )
            text += f"| {label} | {figures['questions']} | {shares} | {figures['mended']} | {figures['broken']} |\n"
    return text


def main(options: argparse.Namespace) -> None:
    """Measure, print, and write the report where one is wanted."""
    report = measure(options) | {"command": options.command_line}
    print(as_text(report))
    if options.report:
        write_report(options.report, report, as_text(report))
