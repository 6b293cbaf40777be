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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from training.calibrate import ONE_PHOTO, figures_of_the_card, fit_temperatures, photos_of
from training.datasets import load_rows
from training.datasets.answer_classes import answer_identity, answer_notes
from training.datasets.check_data import check_data
from training.datasets.feature_cache import FeatureCache, mean_image_token
from training.datasets.questions import QuestionDataset, answer_index, build_answer_list
from training.datasets.readers.jsonl import Row
from training.datasets.statements import StatementDataset, evaluate_pretraining
from training.datasets.streaming import STREAM, StreamingBatches
from training.evaluate import evaluate_with_logits, format_table, predict_logits, score_rows
from training.made_from import data_fingerprint, depends_on, rows_fingerprint
from training.model_card import model_card
from training.run_report import read_metrics, write_curves, write_run_report
from training.yaml_files import read_yaml
from valm_core.checkpoints.adapters import save_adapter
from valm_core.checkpoints.atomic_files import clear_leftovers, recover_folder, saving, write_text
from valm_core.checkpoints.contents import CARD_FILE, CONFIG_FILE, METRICS_FILE
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.checkpoints.storage import load_checkpoint, load_stored_state, save_checkpoint, stored_state
from valm_core.config import ValmConfig, from_plain_values
from valm_core.learning.fine_tuning import ADAPTER_MODES, FineTuning, parse_fine_tuning, prepare_fine_tuning
from valm_core.learning.losses import AnswerObjective
from valm_core.learning.pretraining import PretrainingObjective
from valm_core.learning.trainer import BucketedBatches, Trainer, TrainingConfig, check_resume, made_from
from valm_core.model.adapters import adapter_of, merged
from valm_core.model.build import build_model
from valm_core.model.model import ValmModel, extend_answers, learns
from valm_core.predictor import choose_device


@dataclass(frozen=True)
class RunConfig:
    """What one run reads and writes. Checked on construction.

    Args:
        data, validation: what ``training.datasets.load_rows`` takes: a JSON lines file, a CSV, VQA v2's files or
            easy-VQA; the validation rows choose the best epoch and calibrate. Data may also be ``stream:PATTERN``,
            shards that are read while training, see ``training.datasets.streaming``; then ``rows`` make an epoch.
        output: folder of the run; the finished checkpoint lies in ``<output>/checkpoint``.
        answer_data: file whose most common answers make the answer list; empty means ``data``.
        answers: length of the answer list.
        rows, validation_rows: use this many rows at most, drawn once with a fixed seed; 0 takes all.
        init: checkpoint to start from, with its answer list; empty starts afresh. What the config's model section
            leaves out is then taken from the checkpoint.
        init_part: ``all`` of ``init``, or ``question``: what reads the question (text encoder and question head) and
            the answer list; what reads the photo starts afresh and may be of another shape.
        new_answers: with ``init``, how many answers at most join its list: the most common of ``data`` that it lacks.
        repeat: how often an epoch takes each row of ``data``.
        rehearsal: data the model has learned before, mixed in so that it doesn't forget; empty mixes nothing in.
        rehearsal_rows: how many rows of ``rehearsal`` an epoch takes, always the same; 0 takes all.
        cache: folder for the frozen encoders' outputs; empty runs the encoders in every batch.
        blind: train on the questions alone. Rows then need no photo.
        balanced: the ``source`` of rows whose photos were chosen against the usual answer, as VQA v2's pairs are; a
            question head keeps their likelihood apart, see ``heads.QuestionHead``.
        objective: ``answers`` learns to answer, ``pretraining`` learns from statements, see ``learning.pretraining``.
        targets: ``shares`` splits a row's target over its answers, ``soft`` gives each answer its agreement score.
        weights: how the finished checkpoint stores its numbers, ``float32`` or ``float16``.
        data_note: for the model card: where the data comes from, its licence, what is known to be wrong with it.
    """

    data: str
    validation: str
    output: str
    answer_data: str = ""
    answers: int = 2000
    rows: int = 0
    validation_rows: int = 0
    init: str = ""
    init_part: str = "all"
    new_answers: int = 1000
    repeat: int = 1
    rehearsal: str = ""
    rehearsal_rows: int = 0
    cache: str = ""
    blind: bool = False
    balanced: str = ""
    objective: str = "answers"
    targets: str = "shares"
    weights: str = "float16"
    data_note: str = ""

    def __post_init__(self):
        for name in ("answers", "repeat"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a number above 0 is needed.")
        if self.new_answers < 0:
            raise ValueError(f"new_answers is {self.new_answers}; a number of at least 0 is needed.")
        for name, allowed in (
            ("init_part", ("all", "question")),
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
FEW_PHOTOS = 100  # with fewer, what a checkpoint knows of the average photo says more than they do
# Of a checkpoint's config, what a run that starts from it may choose anew, and takes no default from.
FREE_WITH_INIT = (
    "train_text_encoder",
    "train_image_encoder",
    "learned_text_layers",
    "temperature",
    "yes_no_temperature",
    "neutral_yes_no",
    "text_encoder_sha256",
    "image_encoder_sha256",
)
# What it must share with the checkpoint, or the weights wouldn't fit or would mean something else.
SHARED_WITH_INIT = (
    "text_encoder",
    "image_encoder",
    "image_stride",
    "cell_width",
    "concepts",
    "similarity",
    "fusion",
    "gate",
    "product",
    "question_head",
    "glimpse_width",
    "width",
    "layers",
    "heads",
    "feed_forward_ratio",
)
QUESTION_SETTINGS = ("text_encoder", "question_head")  # of those, what ``init_part: question`` shares
QUESTION_TENSORS = ("text_encoder.", "question_head.")


def read_config(path: str | Path, overrides: dict[str, object]) -> tuple[RunConfig, ValmConfig, TrainingConfig]:
    """Read a YAML file with the sections run, model and training; overrides name a setting of any section.

    With ``init``, the checkpoint's config gives the defaults of the model section.

    Raises:
        ValueError: an unknown section or setting, or a value that isn't allowed.
    """
    values = read_sections(path, overrides, SECTIONS)
    start = fetch_checkpoint(str(values["run"].get("init") or "")) / CONFIG_FILE
    if values["run"].get("init") and start.is_file():  # a missing one is told where it is loaded
        stored = dataclasses.asdict(ValmConfig.from_json(start))
        values["model"] = {name: stored[name] for name in stored if name not in FREE_WITH_INIT} | values["model"]
    run, model, training = (from_plain_values(config, values[name]) for name, config in SECTIONS.items())
    return run, model, training


def read_sections(
    path: str | Path, overrides: dict[str, object], known: dict[str, type]
) -> dict[str, dict[str, object]]:
    """The settings of a YAML file by section, with overrides of settings of any section.

    Args:
        path: the file, or the name of a shipped one.
        overrides: by setting.
        known: by section, the dataclass that its settings belong to; what the first lacks is refused by its building.

    Raises:
        ValueError: no sections, or an unknown one.
    """
    sections = read_yaml(_config_file(path)) or {}
    if not isinstance(sections, dict) or not all(isinstance(part or {}, dict) for part in sections.values()):
        raise ValueError(f"{path} needs the sections {', '.join(known)}, each with lines of `name: value`.")
    if unknown := sections.keys() - known.keys() - OTHER_SECTIONS:
        raise ValueError(f"{path} has an unknown section {min(unknown)!r}; allowed: {', '.join(known)}.")
    values = {name: dict(sections.get(name) or {}) for name in known}
    owners = {field.name: name for name, config in known.items() for field in dataclasses.fields(config)}
    for setting, value in overrides.items():
        nearest = difflib.get_close_matches(setting, owners, n=1)  # itself, or what an unknown one was meant to be
        values[owners[nearest[0]] if nearest else next(iter(known))][setting] = value  # refused where it is unknown
    return values


def _config_file(path: str | Path) -> Path:
    """The file itself, or where there is none the shipped config of that name, e.g. ``finetune.yaml``."""
    shipped = Path(__file__).parent / "configs" / Path(path).name
    return Path(path) if Path(path).exists() or not shipped.is_file() else shipped


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
    for name in SHARED_WITH_INIT if run.init_part == "all" else QUESTION_SETTINGS:
        own, wanted = getattr(start.config, name), getattr(config, name)
        if own != wanted:
            raise ValueError(
                f"{name} is {wanted!r}, but the checkpoint {run.init} has {own!r}. Leave `{name}` out of the model "
                "section to take the checkpoint's, or start afresh with `init: ''`."
            )
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
    """
    fine_tuning = parse_fine_tuning(training.fine_tuning)
    check_combination(run, training, fine_tuning)
    from accelerate import PartialState

    processes = PartialState(cpu=choose_device(device).type == "cpu")
    if training.threads:
        torch.set_num_threads(training.threads)
    torch.manual_seed(training.seed)
    captions = run.objective == "pretraining"
    streaming = run.data.startswith(STREAM)
    rows = [] if streaming else _some(load_rows(run.data, not run.blind, captions), run.rows)
    validation_rows = _some(load_rows(run.validation, not run.blind, captions), run.validation_rows)
    model = model_to_train(run, config, rows).to(choose_device(device))
    for note in notes_beforehand(run, rows, validation_rows, model.answers):
        processes.print(note)
    data = {
        "data": data_fingerprint(run.data) if streaming else rows_fingerprint(rows),
        "validation": rows_fingerprint(validation_rows),
    }
    rows = rows * run.repeat
    if run.rehearsal:
        rehearsal = _some(load_rows(run.rehearsal, not run.blind, captions), run.rehearsal_rows)
        data["rehearsal"] = rows_fingerprint(rehearsal)
        rows += rehearsal
    shared = depends_on(run, config, data)
    if resume:  # before photos are encoded, for hours perhaps
        with processes.main_process_first():
            recover_folder(Path(run.output) / "last")
        check_resume(run.output, made_from(training, model.answers, shared))
    prepare_fine_tuning(model, fine_tuning)
    photos = [] if run.blind else [row.image for row in rows]
    with processes.main_process_first():
        features = encode_beforehand(run, model, rows, validation_rows)
    if photos and not (run.init and len(set(photos)) < FEW_PHOTOS):
        cached = features is not None and features.has_images
        model.mean_image_token.copy_(features.mean_image_token(photos) if cached else mean_image_token(model, photos))
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    processes.print(f"{learning / 1e6:.2f} M parameters of the model learn")
    if run.objective == "pretraining":
        return pretrain(run, training, model, (rows, validation_rows), features, command, resume, shared)

    soft = run.targets == "soft"
    if streaming:
        micro_batch = training.batch_size // training.accumulation_steps
        batches = StreamingBatches(run.data, model, run.rows, micro_batch, training.seed, soft)
        if not run.init:
            model.mean_image_token.copy_(batches.mean_image_token())
    else:
        dataset = QuestionDataset(rows, model, features, run.blind, soft, run.balanced).answerable()
        batches = _batches(dataset, training)
        processes.print(f"{len(rows)} rows, {len(dataset)} of them with an answer among {len(model.answers)}")
    validation = QuestionDataset(validation_rows, model, features, run.blind)
    objective = AnswerObjective(
        model, training.visual_weight, training.alignment_weight, training.label_smoothing, soft
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


def notes_beforehand(run: RunConfig, rows: list[Row], validation_rows: list[Row], answers: list[str]) -> Iterator[str]:
    """What a run should know of its data before it begins: merged answers, unknown ones, a single photo."""
    for source, part in {run.data: rows, run.validation: validation_rows}.items():
        for note in answer_notes(answer for row in part for answer in row.answers):
            yield f"{source}: {note}"
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


def check_combination(run: RunConfig, training: TrainingConfig, fine_tuning: FineTuning) -> None:
    """Refuse settings that are fine alone and senseless together. Raises ValueError."""
    if fine_tuning.mode in ADAPTER_MODES and not run.init:
        raise ValueError(
            f"fine_tuning is {training.fine_tuning!r}, which adapts a trained model. Give one with `init`, or choose "
            "frozen, full or top_layers:N."
        )
    if run.init_part != "all" and not run.init:
        raise ValueError(f"init_part is {run.init_part!r}, but there is nothing to start from. Give `init`.")
    if run.balanced and run.data.startswith(STREAM):
        raise ValueError(f"balanced is {run.balanced!r}, but a stream's rows have no source. Leave it out.")
    if run.blind and training.alignment_weight:
        raise ValueError("alignment_weight brings questions and photos together; set it to 0 in a blind run.")
    if not run.data.startswith(STREAM):
        return
    if run.blind or run.objective == "pretraining":
        raise ValueError(f"data is {run.data!r}; a stream is for questions about photos. Use a file for other runs.")
    if not (run.init or run.answer_data):
        raise ValueError(f"data is {run.data!r}; the answer list needs `answer_data`, a file, or `init`.")
    if run.rehearsal or run.repeat > 1:
        raise ValueError(f"data is {run.data!r}; `rehearsal` and `repeat` are for files, leave them out.")


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
    photos = [] if run.blind or learns(model.image_encoder) else [row.image for row in both]
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
    best.config = dataclasses.replace(best.config, temperature=temperature, yes_no_temperature=yes_no)
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


def _some(rows: list[Row], limit: int) -> list[Row]:
    """At most ``limit`` of the rows (0: all), the same ones every time."""
    return random.Random(0).sample(rows, limit) if 0 < limit < len(rows) else rows


def _batches(dataset, training: TrainingConfig) -> BucketedBatches:
    micro_batch = training.batch_size // training.accumulation_steps
    photo_ids = dataset.photo_ids if training.group_photos else None
    return BucketedBatches(dataset, dataset.collate, micro_batch, training.seed, training.workers, photo_ids)


def chosen_answers(model: ValmModel, logits: torch.Tensor) -> list[str]:
    """The likeliest answer of every row of logits [R, A]."""
    return [model.answers[index] for index in logits.argmax(dim=-1).tolist()]


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
    try:
        configs = read_config(options.config, parse_overrides(options.settings) | files)
        if options.check_data:
            run = configs[0]
            sources = [run.data, run.validation] + [run.answer_data] * bool(run.answer_data)
            parser.exit(check_data(sources, not run.blind, run.objective == "pretraining"))
        words = [*(f"--{name} {value}" for name, value in files.items()), *options.settings]
        command = " ".join(["python -m training.train --config", options.config, *words])
        report = train(*configs, command, options.resume, options.device)
        if options.report:
            write_text(options.report, json.dumps(report, indent=2) + "\n")
    except (OSError, FloatingPointError, ValueError, yaml.YAMLError) as error:
        parser.exit(2, f"{error}\n")
    except ModuleNotFoundError as error:
        parser.exit(2, f"{error}. Training needs more packages: `pip install 'valm[train]'`, here `-e '.[train]'`.\n")
    if "by_type" in report:
        print(format_table(report))
    print(f"The checkpoint is in {Path(configs[0].output) / 'checkpoint'}.")


if __name__ == "__main__":
    main()
