"""Train a model from a config file.

Examples:
    python -m training.train --config training/configs/everyday.yaml
    python -m training.train --config training/configs/everyday.yaml --data my/train.jsonl --validation my/val.jsonl \\
        --output runs/mine epochs=5 learning_rate=3e-4
"""

import argparse
import contextlib
import dataclasses
import difflib
import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from training.datasets import load_rows
from training.datasets.jsonl import Row
from training.datasets.questions import QuestionDataset, build_answer_list
from training.datasets.statements import StatementDataset, evaluate_pretraining
from training.evaluate import evaluate_with_logits, format_table, predict_logits, score_rows
from training.features import Features, mean_image_token
from training.metrics.calibration import fit_temperature
from training.metrics.vqa_accuracy import vqa_accuracy
from training.model_card import model_card
from training.run_report import read_metrics, write_curves, write_run_report
from valm_core.config import ValmConfig, from_plain_values
from valm_core.files import clear_leftovers, saving, write_text
from valm_core.losses import AnswerObjective
from valm_core.model import ValmModel
from valm_core.predictor import choose_device
from valm_core.pretraining import PretrainingObjective
from valm_core.trainer import BucketedBatches, Trainer, TrainingConfig


@dataclass(frozen=True)
class RunConfig:
    """What one run reads and writes. Checked on construction.

    Args:
        data, validation: what ``training.datasets.load_rows`` takes: a JSON lines file, a CSV, VQA v2's files, easy-VQA;
            the validation rows choose the best epoch and calibrate.
        output: folder of the run; the finished checkpoint lies in ``<output>/checkpoint``.
        answer_data: file whose most common answers make the answer list; empty means ``data``.
        answers: length of the answer list.
        rows, validation_rows: use this many rows at most, drawn once with a fixed seed; 0 takes all.
        init: checkpoint to start from, with its answer list; empty starts afresh.
        cache: folder for the frozen encoders' outputs; empty runs the encoders in every batch.
        blind: train on the questions alone. Rows then need no photo.
        objective: ``answers`` learns to answer, ``pretraining`` learns from statements, see ``valm_core.pretraining``.
        targets: ``shares`` splits a row's target over its answers, ``soft`` gives each answer its agreement score.
        weights: how the finished checkpoint stores its numbers, ``float32`` or ``float16``.
    """

    data: str
    validation: str
    output: str
    answer_data: str = ""
    answers: int = 2000
    rows: int = 0
    validation_rows: int = 0
    init: str = ""
    cache: str = ""
    blind: bool = False
    objective: str = "answers"
    targets: str = "shares"
    weights: str = "float16"

    def __post_init__(self):
        if self.answers < 1:
            raise ValueError(f"answers is {self.answers}; a number above 0 is needed.")
        for name, allowed in (
            ("weights", ("float32", "float16")),
            ("objective", ("answers", "pretraining")),
            ("targets", ("shares", "soft")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}.")
        if self.blind and self.objective == "pretraining":
            raise ValueError("Pretraining relates texts to photos; set `blind` to false.")


SECTIONS = {"run": RunConfig, "model": ValmConfig, "training": TrainingConfig}
OTHER_SECTIONS = {"compare"}  # read by training.compare


def read_config(path: str | Path, overrides: dict[str, object]) -> tuple[RunConfig, ValmConfig, TrainingConfig]:
    """Read a YAML file with the sections run, model and training; overrides name a setting of any section.

    Raises:
        ValueError: an unknown section or setting, or a value that isn't allowed.
    """
    with Path(path).open(encoding="utf-8") as file:  # of a file, errors name it
        sections = yaml.safe_load(file) or {}
    if not isinstance(sections, dict) or not all(isinstance(part or {}, dict) for part in sections.values()):
        raise ValueError(f"{path} needs the sections {', '.join(SECTIONS)}, each with lines of `name: value`.")
    if unknown := sections.keys() - SECTIONS.keys() - OTHER_SECTIONS:
        raise ValueError(f"{path} has an unknown section {min(unknown)!r}; allowed: {', '.join(SECTIONS)}.")
    values = {name: dict(sections.get(name) or {}) for name in SECTIONS}
    owners = {field.name: name for name, config in SECTIONS.items() for field in dataclasses.fields(config)}
    for setting, value in overrides.items():
        nearest = difflib.get_close_matches(setting, owners, n=1)  # itself, or what an unknown one was meant to be
        values[owners[nearest[0]] if nearest else "run"][setting] = value  # refused below where it is unknown
    run, model, training = (from_plain_values(config, values[name]) for name, config in SECTIONS.items())
    return run, model, training


def parse_overrides(texts: list[str]) -> dict[str, object]:
    """["epochs=5", "blind=true"] -> {"epochs": 5, "blind": True}; values are read as YAML, and 3e-4 as a number."""
    overrides = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} is no setting; write name=value, e.g. epochs=5.")
        parsed = yaml.safe_load(value)
        if isinstance(parsed, str):
            with contextlib.suppress(ValueError):
                parsed = float(parsed)  # YAML takes 3e-4 for text
        overrides[name] = parsed
    return overrides


def build_model(run: RunConfig, config: ValmConfig, rows: list[Row]) -> ValmModel:
    """The model to train: fresh with an answer list from the data, or with the weights and answers of ``run.init``."""
    if run.init:
        start = ValmModel.from_pretrained(run.init)
        model = ValmModel(config, start.answers)
        model.load_stored_state(start.stored_state(), run.init)
        return model
    answer_rows = load_rows(run.answer_data, photos=False) if run.answer_data else rows
    return ValmModel(config, build_answer_list(answer_rows, run.answers))


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
    """
    if run.cache and (config.train_text_encoder or config.train_image_encoder):
        raise ValueError("An encoder that learns can't be cached. Set `cache` to '', or leave both encoders frozen.")
    if run.blind and training.alignment_weight:
        raise ValueError("alignment_weight brings questions and photos together; set it to 0 in a blind run.")
    from accelerate import PartialState

    processes = PartialState(cpu=choose_device(device).type == "cpu")
    if training.threads:
        torch.set_num_threads(training.threads)
    torch.manual_seed(training.seed)
    captions = run.objective == "pretraining"
    rows, validation_rows = (load_rows(source, not run.blind, captions) for source in (run.data, run.validation))
    rows, validation_rows = _some(rows, run.rows), _some(validation_rows, run.validation_rows)
    model = build_model(run, config, rows).to(choose_device(device))

    photos = [] if run.blind else [row.image for row in rows]
    features = None
    if run.cache:
        validation_photos = [] if run.blind else [row.image for row in validation_rows]
        # Pretraining hides words before the text encoder sees them, so texts can't be encoded beforehand.
        questions = [] if run.objective == "pretraining" else [row.question for row in rows + validation_rows]
        with processes.main_process_first():
            features = Features(model, photos + validation_photos, questions, run.cache)
    if photos:
        model.mean_image_token.copy_(features.mean_image_token(photos) if features else mean_image_token(model, photos))
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    processes.print(f"{learning / 1e6:.2f} M parameters of the model learn")
    if run.objective == "pretraining":
        return pretrain(run, training, model, (rows, validation_rows), features, command, resume)

    dataset = QuestionDataset(rows, model, features, run.blind, run.targets == "soft").answerable()
    processes.print(f"{len(rows)} rows, {len(dataset)} of them with an answer among {len(model.answers)}")
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
        figures = score_rows(validation_rows, logits, model.answers, temperature=1.0)
        if not before.exists() and processes.is_main_process:
            with saving(before):
                write_text(before, json.dumps([figures, chosen_answers(model, logits)]))
        return figures

    trainer = Trainer(objective, _batches(dataset, training), validate, training, output)
    progress = trainer.train(resume)
    processes.wait_for_everyone()
    best = ValmModel.from_pretrained(output / "best").to(model.device)
    if photos and config.train_image_encoder:  # it has moved since
        best.mean_image_token.copy_(mean_image_token(best, photos))
    temperature = calibrate(best, QuestionDataset(validation_rows, best, features, run.blind))
    best.config = dataclasses.replace(best.config, temperature=temperature)
    checkpoint, half = output / "checkpoint", run.weights == "float16"
    if processes.is_main_process:
        clear_leftovers(checkpoint)
        with saving(checkpoint):
            best.save_pretrained(checkpoint, half=half)
    processes.wait_for_everyone()
    best = ValmModel.from_pretrained(checkpoint).to(model.device)  # measure what was saved, rounding included
    report, logits = evaluate_with_logits(best, validation_rows, run.blind, features)
    report |= {"best_epoch": progress["best_epoch"], "epochs": progress["epoch"], "command": command}
    if processes.is_main_process:
        card = model_card(best, run, training, len(dataset), report)
        extra_files = {"metrics.json": json.dumps(report, indent=2) + "\n", "README.md": card}
        after = (report, chosen_answers(best, logits))
        with saving(output):
            best.save_pretrained(checkpoint, extra_files, half)
            write_run_report(output, validation_rows, json.loads(before.read_text(encoding="utf-8")), after)
    return report


def pretrain(
    run: RunConfig,
    training: TrainingConfig,
    model: ValmModel,
    rows: tuple[list[Row], list[Row]],
    features: Features | None,
    command: str,
    resume: bool,
) -> dict:
    """Train on statements instead of questions and write ``<output>/checkpoint``; its answer head is as it came.

    Args:
        rows: those to learn from and those to validate on.

    Returns:
        The validation figures of the best epoch: every loss, ``accuracy`` (of hidden tokens) and ``matching_accuracy``.
    """
    dataset, validation = (StatementDataset(part, model, features) for part in rows)
    objective = PretrainingObjective(model)
    output = Path(run.output)
    trainer = Trainer(
        objective, _batches(dataset, training), lambda _: evaluate_pretraining(objective, validation), training, output
    )
    progress = trainer.train(resume)
    trainer.accelerator.wait_for_everyone()
    by_epoch = {row["epoch"]: row for row in read_metrics(output)}
    report = by_epoch[progress["best_epoch"]] | {"before": by_epoch[0], "command": command}
    if trainer.accelerator.is_main_process:
        best = ValmModel.from_pretrained(output / "best")
        metrics = {"metrics.json": json.dumps(report, indent=2) + "\n"}
        clear_leftovers(output / "checkpoint")
        with saving(output):
            best.save_pretrained(output / "checkpoint", metrics, run.weights == "float16")
            write_curves(output)
    return report


def _some(rows: list[Row], limit: int) -> list[Row]:
    """At most ``limit`` of the rows (0: all), the same ones every time."""
    return random.Random(0).sample(rows, limit) if 0 < limit < len(rows) else rows


def _batches(dataset, training: TrainingConfig) -> BucketedBatches:
    micro_batch = training.batch_size // training.accumulation_steps
    photo_ids = dataset.photo_ids if training.group_photos else None
    return BucketedBatches(dataset, dataset.collate, micro_batch, training.seed, training.workers, photo_ids)


def calibrate(model: ValmModel, validation: QuestionDataset) -> float:
    """The temperature under which the model's confidence fits its accuracy on the validation rows."""
    logits = predict_logits(model, validation)
    chosen = chosen_answers(model, logits)
    correct = [vqa_accuracy(answer, row.answers) for row, answer in zip(validation.rows, chosen, strict=True)]
    return fit_temperature(logits, torch.tensor(correct))


def chosen_answers(model: ValmModel, logits: torch.Tensor) -> list[str]:
    """The likeliest answer of every row of logits [R, A]."""
    return [model.answers[index] for index in logits.argmax(dim=-1).tolist()]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file with the sections run, model and training")
    parser.add_argument("--data", help="training rows, instead of the config's")
    parser.add_argument("--validation", help="validation rows, instead of the config's")
    parser.add_argument("--output", help="folder of the run, instead of the config's")
    parser.add_argument("--init", help="checkpoint to start from, instead of the config's")
    parser.add_argument("--report", help="also write the validation figures to this JSON file")
    parser.add_argument("--resume", action="store_true", help="go on where the run in the output folder stopped")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("settings", nargs="*", metavar="name=value", help="change any setting of the config")
    options = parser.parse_args(arguments)
    files = {
        name: getattr(options, name) for name in ("data", "validation", "output", "init") if getattr(options, name)
    }
    try:
        configs = read_config(options.config, parse_overrides(options.settings) | files)
        words = [*(f"--{name} {value}" for name, value in files.items()), *options.settings]
        command = " ".join(["python -m training.train --config", options.config, *words])
        report = train(*configs, command, options.resume, options.device)
        if options.report:
            write_text(options.report, json.dumps(report, indent=2) + "\n")
    except (OSError, FloatingPointError, ValueError, yaml.YAMLError) as error:
        parser.exit(2, f"{error}\n")
    if "by_type" in report:
        print(format_table(report))
    print(f"The checkpoint is in {Path(configs[0].output) / 'checkpoint'}.")


if __name__ == "__main__":
    main()
