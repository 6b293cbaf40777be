"""Reading documents: training on questions about pages, and exact match and F1 by field."""

import time
from pathlib import Path
from typing import Any, cast

import torch

from training.datasets.readers.documents import DocumentQuestion, documents_fingerprint, read_documents, scan_documents
from training.datasets.readers.jsonl import check_apart
from training.datasets.reading import AskedPage, AskedPages, asked_pages, right_spans
from training.made_from import depends_on
from training.metrics.answer_spans import answer_figures
from training.run_config import RunConfig
from training.tasks.ending import train_to_checkpoint
from training.tasks.image_side import model_to_train
from training.tasks.table import Task
from valm_core.checkpoints.storage import load_task_checkpoint
from valm_core.config import ValmConfig
from valm_core.learning.batches import BucketedBatches
from valm_core.learning.reading import ReadObjective
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.tasks.page_encoding import pad_pages
from valm_core.model.tasks.reader import ReadModel, best_spans

READ_SETTINGS = (
    *("task", "text_encoder", "image_encoder", "image_size", "width", "layers", "heads", "feed_forward_ratio"),
    *("dropout", "max_question_tokens"),
)


def train_reader(
    run: RunConfig, config: ValmConfig, training: TrainingConfig, command: str, resume: bool, device: torch.device
) -> dict:
    """Train on questions about pages, and write ``<output>/checkpoint`` with card and figures.

    The text encoder stays as it is, so that pages are encoded once. The best epoch has the best mean of exact match and
    F1.

    Returns:
        The figures of ``measure_reading`` on the validation rows, with ``before`` those before training.

    Raises:
        ValueError: the config lets the text encoder learn, or a page is among those to learn from and those to validate
            on.
    """
    if config.train_text_encoder or config.learned_text_layers:
        raise ValueError(
            "To read, the text encoder stays as it is: leave out `train_text_encoder` and `learned_text_layers`."
        )
    rows, validation = read_documents(run.data), read_documents(run.validation)
    check_apart(rows, validation)
    model = cast(ReadModel, model_to_train(run, config, READ_SETTINGS)).to(device)
    model.eval()
    dataset, held_back = AskedPages(asked_pages(rows, model), model), asked_pages(validation, model)
    model.train()
    batches = BucketedBatches(dataset, dataset.collate, training.rows_at_once, training.seed)

    def validate(model: ReadModel) -> dict:
        figures = measure_reading(model, held_back)
        return {"accuracy": (figures["mean_exact_match"] + figures["mean_f1"]) / 2} | figures

    data = {"data": documents_fingerprint(rows), "validation": documents_fingerprint(validation)}
    shared = depends_on(run, config, data)
    facts = {"train_pages": len(dataset), "train_questions": dataset.questions, "command": command}
    objective = ReadObjective(model).to(device)

    def measure(best: ReadModel) -> dict:
        return measure_reading(best, held_back)

    return train_to_checkpoint(run, training, objective, batches, validate, measure, facts, shared, resume, device)


@torch.no_grad()
def measure_reading(model: ReadModel, pages: list[AskedPage]) -> dict[str, Any]:
    """Figures of ``answer_figures``; also ``on_the_page``, the share of questions whose answer stands there word for
    word, beyond which no answer can be right. A page without words has the answer "".

    Args:
        model: left in evaluation mode.
        pages: with their questions.
    """
    start = time.perf_counter()
    model.eval()
    predicted, true, fields, there = [], [], [], 0
    for asked in pages:
        answers = [""] * len(asked.rows)
        if asked.page is not None and asked.encoded is not None:
            inputs = {name: value.to(model.device) for name, value in pad_pages([asked.encoded]).items()}
            questions = model.encode_questions([row.question for row in asked.rows])
            index = torch.zeros(len(asked.rows), dtype=torch.long, device=model.device)
            first, last, _ = best_spans(model(**inputs, questions=questions, page_index=index))
            spans = zip(first.tolist(), last.tolist(), strict=True)
            answers = [asked.page.text(begin, end + 1) for begin, end in spans]
            there += sum(bool(right_spans(asked.page, row)) for row in asked.rows)
        predicted += answers
        true += [row.answers for row in asked.rows]
        fields += [row.field for row in asked.rows]
    figures = {"pages": len(pages)} | answer_figures(predicted, true, fields)
    return figures | {"on_the_page": there / len(predicted), "seconds": round(time.perf_counter() - start, 1)}


def format_reading(report: dict) -> str:
    """The report as lines of text, in percent."""
    lines = [f"{report['pages']} pages, {report['questions']} questions", f"{'':<14}{'exact match':>12}{'F1':>8}"]
    for field, value in report["exact_match"].items():
        lines.append(f"{field:<14}{100 * value:>12.1f}{100 * report['f1'][field]:>8.1f}")
    lines.append(f"{'all':<14}{100 * report['mean_exact_match']:>12.1f}{100 * report['mean_f1']:>8.1f}")
    if "before" in report:
        before = report["before"]
        lines.append(f"{'untrained':<14}{100 * before['mean_exact_match']:>12.1f}{100 * before['mean_f1']:>8.1f}")
    lines.append(f"on the page word for word: {100 * report['on_the_page']:.1f}")
    return "\n".join(lines)


def measure_rows(model: ReadModel, rows: list[DocumentQuestion]) -> dict[str, Any]:
    """``measure_reading`` of rows."""
    model.eval()
    return measure_reading(model, asked_pages(rows, model))


def _measure_checkpoint(folder: str | Path, data: str, device: torch.device) -> dict:
    return measure_rows(cast(ReadModel, load_task_checkpoint(folder, "read")).to(device), read_documents(data))


TASKS = {"read": Task(train_reader, _measure_checkpoint, format_reading, scan_documents, ())}
