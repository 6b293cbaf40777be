"""Train a model from a config file.

Examples:
    python -m training.train --config training/configs/everyday.yaml
    python -m training.train --config training/configs/everyday.yaml --data my/train.jsonl --validation my/val.jsonl \\
        --output runs/mine epochs=5 learning_rate=3e-4
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from training.calibrate import ONE_PHOTO, figures_of_the_card, fit_temperatures
from training.datasets import load_rows
from training.datasets.answer_classes import answer_identity, answer_notes
from training.datasets.check_data import check_data
from training.datasets.feature_cache import FeatureCache, mean_image_token
from training.datasets.questions import QuestionDataset, answer_index, build_answer_list
from training.datasets.readers.jsonl import Row, photos_in_both, photos_of, some_rows
from training.datasets.statements import StatementDataset, evaluate_pretraining
from training.datasets.streaming import STREAM, StreamingBatches
from training.evaluate import evaluate_with_logits, format_table, predict_logits, score_rows
from training.made_from import data_fingerprint, depends_on, rows_fingerprint
from training.model_card import model_card
from training.run_config import (
    RunConfig,
    check_combination,
    check_one_process,
    check_same_model,
    parse_overrides,
    read_config,
)
from training.run_report import read_metrics, write_curves, write_run_report
from training.tasks.table import check_settings_read, find_task
from valm_core.checkpoints.adapters import save_adapter
from valm_core.checkpoints.atomic_files import clear_leftovers, recover_folder, saving, write_text
from valm_core.checkpoints.contents import CARD_FILE, METRICS_FILE
from valm_core.checkpoints.storage import load_checkpoint, load_stored_state, save_checkpoint, stored_state
from valm_core.commands import ending_in_a_line
from valm_core.config import ValmConfig
from valm_core.devices import choose_device
from valm_core.learning.batches import Batches, BucketedBatches
from valm_core.learning.fine_tuning import parse_fine_tuning, prepare_fine_tuning
from valm_core.learning.losses import AnswerObjective
from valm_core.learning.pretraining import PretrainingObjective
from valm_core.learning.resume import check_resume, made_from
from valm_core.learning.trainer import Trainer
from valm_core.learning.training_config import TrainingConfig
from valm_core.model.adapters import adapter_of, merged
from valm_core.model.build import build_model, reconfigure
from valm_core.model.encoders.frozen_parts import learns
from valm_core.model.model import ValmModel, extend_answers

FEW_PHOTOS = 100  # with fewer, what a checkpoint knows of the average photo says more than they do
QUESTION_TENSORS = ("text_encoder.", "question_head.")


def model_to_train(run: RunConfig, config: ValmConfig, rows: list[Row]) -> ValmModel:
    """The model to train: fresh with an answer list from the data, or with the weights and answers of ``run.init``.

    Raises:
        ValueError: the config asks for a model of another kind or size than the one in ``run.init``.
    """
    if run.init:
        return _continued(run, config, rows)
    if config.concepts:
        raise ValueError(
            f"concepts is {config.concepts}, but nothing names them. Start from a checkpoint that has some with "
            "`init`, or train one with `python -m training.train_joint`."
        )
    answer_rows = load_rows(run.answer_data, photos=False) if run.answer_data else rows
    return build_model(config, build_answer_list(answer_rows, run.answers))


def _continued(run: RunConfig, config: ValmConfig, rows: list[Row]) -> ValmModel:
    """The model in ``run.init`` under ``config``, its answer list extended from the rows."""
    start = load_checkpoint(run.init)
    check_same_model(run, config, start.config)
    if run.objective == "answers" and run.new_answers:
        index = answer_index(start.answers)
        found = build_answer_list(rows, sum(len(row.answers) for row in rows))
        new = [answer for answer in found if answer_identity(answer) not in index]
        start = extend_answers(start, new[: run.new_answers])
    sides = ("text_encoder", "image_encoder")
    stored = {f"train_{side}": getattr(start.config, f"train_{side}") for side in sides}
    learning = {f"train_{side}": getattr(config, f"train_{side}") for side in sides}
    # A checkpoint goes on holding an encoder that has learned before, whether it learns now or not.
    both = {name: stored[name] or learning[name] for name in stored}
    layers = 0 if both["train_text_encoder"] else max(start.config.learned_text_layers, config.learned_text_layers)
    model = build_model(
        dataclasses.replace(config, **both, learned_text_layers=layers), start.answers, concepts=start.concepts
    )
    taken = start.state_dict()
    if run.init_part == "question":
        taken = {name: value for name, value in taken.items() if name.startswith(QUESTION_TENSORS)}
    state = model.state_dict() | taken
    load_stored_state(model, {name: state[name] for name in stored_state(model)}, run.init)
    for side in sides:
        getattr(model, side).requires_grad_(learning[f"train_{side}"])
    return model


def train(
    run: RunConfig,
    config: ValmConfig,
    training: TrainingConfig,
    command: str,
    resume: bool = False,
    device: str = "auto",
) -> dict:
    """Train, calibrate on the validation rows, and write ``<output>/checkpoint`` with model card and metrics.

    Returns:
        The report of ``training.evaluate`` on the validation rows.

    Raises:
        ValueError: the settings don't fit together, one that the task doesn't read was changed, or a task beside
            answering runs in several processes.
    """
    check_settings_read(config.task, run, training)
    if config.task != "answer":
        check_one_process(f"The task {config.task!r}")
        task = find_task(config.task)
        if training.threads:
            torch.set_num_threads(training.threads)
        torch.manual_seed(training.seed)
        return task.train(run, config, training, command, resume, choose_device(device))
    fine_tuning = parse_fine_tuning(training.fine_tuning)
    check_combination(run, training, fine_tuning)
    from accelerate import PartialState

    processes = PartialState(cpu=choose_device(device).type == "cpu")
    if training.threads:
        torch.set_num_threads(training.threads)
    torch.manual_seed(training.seed)
    data = read_data(run)
    model = model_to_train(run, config, data.rows).to(choose_device(device))
    for note in notes_beforehand(run, data.rows, data.validation, model.answers):
        processes.print(note)
    rows, validation_rows = data.rows * run.repeat + data.rehearsal, data.validation
    shared = depends_on(run, config, data.fingerprints)
    if resume:  # before photos are encoded, for hours perhaps
        with processes.main_process_first():
            recover_folder(Path(run.output) / "last")
        check_resume(run.output, made_from(training, model.answers, shared))
    prepare_fine_tuning(model, fine_tuning)
    photos = [] if run.blind else [row.photo for row in rows]
    with processes.main_process_first():
        features = encode_beforehand(run, model, rows, validation_rows)
    if photos and not (run.init and len(set(photos)) < FEW_PHOTOS):
        cached = features if features and features.has_images else None
        model.mean_image_token.copy_(cached.mean_image_token(photos) if cached else mean_image_token(model, photos))
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    processes.print(f"{learning / 1e6:.2f} M parameters of the model learn")
    if run.objective == "pretraining":
        return pretrain(run, training, model, (rows, validation_rows), features, command, resume, shared)

    batches = question_batches(run, training, model, rows, features, processes.print)
    validation = QuestionDataset(validation_rows, model, features, run.blind)
    objective = AnswerObjective(
        model, training.visual_weight, training.alignment_weight, training.label_smoothing, run.targets == "soft"
    )
    output = Path(run.output)
    before = output / "before.json"  # figures and answers of the model as it came, for the run's report
    if not resume:
        before.unlink(missing_ok=True)

    def validate(model: ValmModel) -> dict:
        logits = predict_logits(model, validation)
        figures = score_rows(validation_rows, logits.softmax(dim=-1), model.answers)
        if not before.exists() and processes.is_main_process:
            with saving(before):
                write_text(before, json.dumps([figures, chosen_answers(model, logits)]))
        return figures

    trainer = Trainer(objective, batches, validate, training, output, save_best, shared)
    progress = trainer.train(resume)
    processes.wait_for_everyone()
    best = load_checkpoint(output / "best").to(model.device)
    if photos and learns(model.image_encoder):  # it has moved since
        best.mean_image_token.copy_(mean_image_token(best, photos))
    facts = {"best_epoch": progress["best_epoch"], "epochs": progress["epoch"], "command": command}
    facts |= {"fine_tuning": training.fine_tuning, "learning_parameters": learning}
    return finish(run, training, best, validation_rows, features, batches.rows, facts)


@dataclass(frozen=True)
class RunData:
    """The rows of a run, those of a stream left in their shards, and the fingerprints of all that is learned from."""

    rows: list[Row]
    validation: list[Row]
    rehearsal: list[Row]
    fingerprints: dict[str, dict]


def read_data(run: RunConfig) -> RunData:
    """Read what a run learns from and is validated on. Raises what ``load_rows`` does."""

    def read(source: str, limit: int) -> list[Row]:
        return some_rows(load_rows(source, not run.blind, run.objective == "pretraining"), limit)

    streaming = run.data.startswith(STREAM)
    rows, validation = [] if streaming else read(run.data, run.rows), read(run.validation, run.validation_rows)
    rehearsal = read(run.rehearsal, run.rehearsal_rows) if run.rehearsal else []
    fingerprints = {"data": data_fingerprint(run.data) if streaming else rows_fingerprint(rows)}
    fingerprints["validation"] = rows_fingerprint(validation)
    if run.rehearsal:
        fingerprints["rehearsal"] = rows_fingerprint(rehearsal)
    return RunData(rows, validation, rehearsal, fingerprints)


def question_batches(
    run: RunConfig,
    training: TrainingConfig,
    model: ValmModel,
    rows: list[Row],
    features: FeatureCache | None,
    tell: Callable[[str], None],
) -> Batches:
    """The batches of questions to learn from: of rows that have an answer in the list, or out of a stream's shards."""
    soft = run.targets == "soft"
    if run.data.startswith(STREAM):
        stream = StreamingBatches(run.data, model, run.rows, training.rows_at_once, training.seed, soft)
        if not run.init:
            model.mean_image_token.copy_(stream.mean_image_token())
        return stream
    dataset = QuestionDataset(rows, model, features, run.blind, soft, run.balanced).answerable()
    tell(f"{len(rows)} rows, {len(dataset)} of them with an answer among {len(model.answers)}")
    return _batches(dataset, training)


def notes_beforehand(run: RunConfig, rows: list[Row], validation_rows: list[Row], answers: list[str]) -> Iterator[str]:
    """What a run should know of its data before it begins: merged answers, photos to learn from among those to validate
    on, unknown answers, a single photo."""
    for source, part in {run.data: rows, run.validation: validation_rows}.items():
        for note in answer_notes(answer for row in part for answer in row.answers):
            yield f"{source}: {note}"
    if both := photos_in_both(rows, validation_rows):
        yield (
            f"{run.validation}: {len(both)} of its photos are among those to learn from, e.g. {min(both)}; figures on "
            "them say little of new photos."
        )
    if run.objective == "pretraining":
        return
    known = answer_index(answers).keys()
    unknown = sum(not any(answer_identity(answer) in known for answer in row.answers) for row in validation_rows)
    if unknown:
        yield (
            f"{run.validation}: {unknown} of {len(validation_rows)} rows have no answer among the model's "
            f"{len(answers)}; they count as wrong, whatever it learns. More `answers` would cover more."
        )
    if len(set(photos_of(validation_rows))) < 2:
        yield ONE_PHOTO


def encode_beforehand(
    run: RunConfig, model: ValmModel, rows: list[Row], validation_rows: list[Row]
) -> FeatureCache | None:
    """What frozen encoders give for all photos and questions, from the cache or into it; None without any.

    What an encoder that learns gives today is old tomorrow. Pretraining hides words before the text encoder sees
    them, so there texts can't be encoded beforehand either.
    """
    if not run.cache:
        return None
    both = rows + validation_rows
    photos = [] if run.blind or learns(model.image_encoder) else [row.photo for row in both]
    texts_vary = learns(model.text_encoder) or run.objective == "pretraining"
    questions = [] if texts_vary else [row.question for row in both]
    return FeatureCache(model, photos, questions, run.cache) if photos or questions else None


def finish(
    run: RunConfig,
    training: TrainingConfig,
    best: ValmModel,
    validation_rows: list[Row],
    features: FeatureCache | None,
    learned_rows: int,
    facts: dict,
) -> dict:
    """Calibrate the best epoch's model, write ``<output>/checkpoint``, measure what was written, and report on it.

    Args:
        learned_rows: how many rows training used.
        facts: what the report says besides its figures.

    Returns:
        The report.
    """
    from accelerate import PartialState

    processes = PartialState()
    logits = predict_logits(best, QuestionDataset(validation_rows, best, features, run.blind))
    temperature, yes_no = fit_temperatures(validation_rows, logits, best.answers)
    reconfigure(best, dataclasses.replace(best.config, temperature=temperature, yes_no_temperature=yes_no))
    output = Path(run.output)
    checkpoint, half = output / "checkpoint", run.weights == "float16"
    if processes.is_main_process:
        clear_leftovers(checkpoint)
        with saving(checkpoint):
            save_checkpoint(best, checkpoint, half=half)
    processes.wait_for_everyone()
    best = load_checkpoint(checkpoint).to(best.device)  # measure what was saved, rounding included
    report, logits = evaluate_with_logits(best, validation_rows, run.blind, features)
    report |= figures_of_the_card(best, validation_rows, logits, run.blind, features) | facts
    if processes.is_main_process:
        card = model_card(best, run, training, learned_rows, report)
        extra_files = {METRICS_FILE: json.dumps(report, indent=2) + "\n", CARD_FILE: card}
        before = json.loads((output / "before.json").read_text(encoding="utf-8"))
        with saving(output):
            save_checkpoint(best, checkpoint, extra_files, half)
            write_run_report(output, validation_rows, before, (report, chosen_answers(best, logits)))
    return report


def pretrain(
    run: RunConfig,
    training: TrainingConfig,
    model: ValmModel,
    rows: tuple[list[Row], list[Row]],
    features: FeatureCache | None,
    command: str,
    resume: bool,
    shared: dict,
) -> dict:
    """Train on statements instead of questions and write ``<output>/checkpoint``; its answer head is as it came.

    Args:
        rows: those to learn from and those to validate on.
        shared: see ``training.made_from.depends_on``.

    Returns:
        The validation figures of the best epoch: every loss, ``accuracy`` (of hidden tokens) and ``matching_accuracy``.
    """
    dataset, validation = (StatementDataset(part, model, features) for part in rows)
    objective = PretrainingObjective(model)
    output = Path(run.output)
    trainer = Trainer(
        objective,
        _batches(dataset, training),
        lambda _: evaluate_pretraining(objective, validation),
        training,
        output,
        save_best,
        shared,
    )
    progress = trainer.train(resume)
    trainer.accelerator.wait_for_everyone()
    by_epoch = {row["epoch"]: row for row in read_metrics(output)}
    report = by_epoch[progress["best_epoch"]] | {"before": by_epoch[0], "command": command}
    if trainer.accelerator.is_main_process:
        best = load_checkpoint(output / "best")
        metrics = {METRICS_FILE: json.dumps(report, indent=2) + "\n"}
        clear_leftovers(output / "checkpoint")
        with saving(output):
            save_checkpoint(best, output / "checkpoint", metrics, run.weights == "float16")
            write_curves(output)
    return report


def save_best(model: ValmModel, folder: Path) -> None:
    """Write a plain checkpoint, and where the model carries adapters, these alone beside it as ``adapter``."""
    save_checkpoint(merged(model), folder)
    if adapter_of(model) is not None:
        save_adapter(model, folder.with_name("adapter"))


def _batches(dataset: QuestionDataset | StatementDataset, training: TrainingConfig) -> BucketedBatches:
    photo_ids = dataset.photo_ids if training.group_photos else None
    at_once = training.rows_at_once
    return BucketedBatches(dataset, dataset.collate, at_once, training.seed, training.workers, photo_ids)


def chosen_answers(model: ValmModel, logits: torch.Tensor) -> list[str]:
    """The likeliest answer of every row of logits [R, A]."""
    return [model.answers[index] for index in logits.argmax(dim=-1).tolist()]


@contextmanager
def told_packages(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Where a package is missing, say which packages training needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        parser.exit(2, f"{error}. Training needs more packages: `pip install 'valm[train]'`, here `-e '.[train]'`.\n")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, or the name of a shipped one: finetune.yaml")
    parser.add_argument("--data", help="training rows, instead of the config's")
    parser.add_argument("--validation", help="validation rows, instead of the config's")
    parser.add_argument("--output", help="folder of the run, instead of the config's")
    parser.add_argument("--init", help="checkpoint to start from, instead of the config's")
    parser.add_argument("--report", help="also write the validation figures to this JSON file")
    parser.add_argument(
        "--check-data", action="store_true", help="read all rows, open all photos, list every fault; train nothing"
    )
    parser.add_argument("--resume", action="store_true", help="go on where the run in the output folder stopped")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("settings", nargs="*", metavar="name=value", help="change any setting of the config")
    options = parser.parse_intermixed_args(arguments)  # settings may stand before, between and after the options
    files = {
        name: getattr(options, name) for name in ("data", "validation", "output", "init") if getattr(options, name)
    }
    with ending_in_a_line(parser, FloatingPointError, yaml.YAMLError, writes=options.report), told_packages(parser):
        configs = read_config(options.config, parse_overrides(options.settings) | files)
        if options.check_data:
            run = configs[0]
            sources = [run.data, run.validation] + [run.answer_data] * bool(run.answer_data)
            scan = None if configs[1].task == "answer" else find_task(configs[1].task).scan
            parser.exit(check_data(sources, not run.blind, run.objective == "pretraining", scan))
        words = [*(f"--{name} {value}" for name, value in files.items()), *options.settings]
        command = " ".join(["python -m training.train --config", options.config, *words])
        report = train(*configs, command, options.resume, options.device)
        if options.report:
            write_text(options.report, json.dumps(report, indent=2) + "\n")
    if "by_type" in report:
        print(format_table(report))
    elif (task := configs[1].task) != "answer":
        print(find_task(task).table(report))
    print(f"The checkpoint is in {Path(configs[0].output) / 'checkpoint'}.")


if __name__ == "__main__":
    main()
