"""The config of a training run: read from YAML, changed by settings of the command line, and checked."""

import contextlib
import dataclasses
import difflib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from training.datasets.streaming import STREAM
from training.yaml_files import read_yaml
from valm_core.checkpoints.contents import CONFIG_FILE
from valm_core.checkpoints.hub import fetch_checkpoint
from valm_core.config import ValmConfig, check_choices, check_numbers, from_plain_values
from valm_core.learning.fine_tuning import ADAPTER_MODES, FineTuning, SettingsError
from valm_core.learning.training_config import TrainingConfig


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
        learned_image_layers: of models that find or describe photos, how many of the image encoder's last layers learn
            along, see ``image_side.learn_image_layers``; photos are then cropped and mirrored anew each time.
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
    learned_image_layers: int = 0
    cache: str = ""
    blind: bool = False
    balanced: str = ""
    objective: str = "answers"
    targets: str = "shares"
    weights: str = "float16"
    data_note: str = ""

    def __post_init__(self):
        from_0 = ("rows", "validation_rows", "new_answers", "rehearsal_rows", "learned_image_layers")
        check_numbers(self, answers=(1, math.inf), repeat=(1, math.inf), **dict.fromkeys(from_0, (0, math.inf)))
        check_choices(
            self,
            init_part=("all", "question"),
            weights=("float32", "float16"),
            objective=("answers", "pretraining"),
            targets=("shares", "soft"),
        )
        if self.blind and self.objective == "pretraining":
            raise ValueError("Pretraining relates texts to photos; set `blind` to false.")


SECTIONS = {"run": RunConfig, "model": ValmConfig, "training": TrainingConfig}
OTHER_SECTIONS = {"compare"}  # read by training.compare
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
    "image_encoder_of",
    "image_encoder_of_sha256",
)
IMAGE_SETTINGS = ("image_encoder", "image_size", "photo_detail", "image_stride", "cell_width", "concepts")
# What it must share with the checkpoint, or the weights wouldn't fit or would mean something else.
SHARED_WITH_INIT = (
    "task",
    "text_encoder",
    "image_encoder",
    "image_stride",
    "cell_width",
    "concepts",
    "similarity",
    "fusion",
    "product",
    "question_head",
    "glimpse_width",
    "width",
    "layers",
    "heads",
    "feed_forward_ratio",
)
QUESTION_SETTINGS = ("text_encoder", "question_head")  # of those, what ``init_part: question`` shares


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
        taken = stored.keys() - FREE_WITH_INIT
        if values["model"].get("task", stored["task"]) != stored["task"]:  # of another task only what sees photos
            taken = {*IMAGE_SETTINGS}
        values["model"] = {name: stored[name] for name in stored if name in taken} | values["model"]
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


def check_one_process(what: str) -> None:
    """Refuse several processes that a launcher started together. Raises ValueError.

    Args:
        what: runs in one process alone; begins the message.
    """
    if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise ValueError(
            f"{what} runs in one process, but WORLD_SIZE is {processes}. Start it without `accelerate launch`."
        )


def check_combination(run: RunConfig, training: TrainingConfig, fine_tuning: FineTuning) -> None:
    """Refuse settings that are fine alone and senseless together. Raises SettingsError."""
    if fine_tuning.mode in ADAPTER_MODES and not run.init:
        raise SettingsError(
            f"fine_tuning is {training.fine_tuning!r}, which adapts a trained model. Give one with `init`, or choose "
            "frozen, full or top_layers:N."
        )
    if run.init_part != "all" and not run.init:
        raise SettingsError(f"init_part is {run.init_part!r}, but there is nothing to start from. Give `init`.")
    if run.balanced and run.data.startswith(STREAM):
        raise SettingsError(f"balanced is {run.balanced!r}, but a stream's rows have no source. Leave it out.")
    if run.blind and training.alignment_weight:
        raise SettingsError("alignment_weight brings questions and photos together; set it to 0 in a blind run.")
    if not run.data.startswith(STREAM):
        return
    if run.blind or run.objective == "pretraining":
        raise SettingsError(f"data is {run.data!r}; a stream is for questions about photos. Use a file for other runs.")
    if not (run.init or run.answer_data):
        raise SettingsError(f"data is {run.data!r}; the answer list needs `answer_data`, a file, or `init`.")
    if run.rehearsal or run.repeat > 1:
        raise SettingsError(f"data is {run.data!r}; `rehearsal` and `repeat` are for files, leave them out.")


def check_same_model(run: RunConfig, config: ValmConfig, stored: ValmConfig) -> None:
    """Refuse a config that asks for a model of another kind or size than the one in ``run.init``, whose config is
    ``stored``. Raises SettingsError."""
    for name in SHARED_WITH_INIT if run.init_part == "all" else QUESTION_SETTINGS:
        own, wanted = getattr(stored, name), getattr(config, name)
        if own != wanted:
            raise SettingsError(
                f"{name} is {wanted!r}, but the checkpoint {run.init} has {own!r}. Leave `{name}` out of the model "
                "section to take the checkpoint's, or start afresh with `init: ''`."
            )
