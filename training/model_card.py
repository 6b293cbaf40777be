"""The model card that every finished run writes beside its checkpoint, and that calibrating writes anew."""

import re

from training.evaluate import format_table
from training.measuring.common import data_name
from training.run_config import RunConfig
from valm_core.checkpoints.model_card import checkpoint_card
from valm_core.checkpoints.storage import stored_state
from valm_core.learning.training_config import SGD_MOMENTUM, TrainingConfig
from valm_core.model.model import ValmModel

FIGURES = "## Figures on "


def model_card(model: ValmModel, run: RunConfig, training: TrainingConfig, trained_rows: int, report: dict) -> str:
    """Markdown with Hugging Face metadata: what the model is, what it learned from, its figures, its limits.

    Args:
        model: the finished model.
        run, training: how it was trained.
        trained_rows: rows that training used.
        report: figures of ``training.evaluate`` on the validation rows, with ``command``.
    """
    start = f"Starting from `{run.init}`; fine" if run.init else "Fine"
    repeated = f", each {run.repeat} times," if run.repeat > 1 else ""
    mixed = f" and of `{data_name(run.rehearsal)}`" if run.rehearsal else ""
    learned = f"""## Training

An epoch has {trained_rows} rows of `{data_name(run.data)}`{repeated}{mixed} whose answer is in the list; at most {training.epochs} epochs,
batches of {training.batch_size}, {_optimizer(training)}, dropout {model.config.dropout}, seed {training.seed}. {start}-tuning `{training.fine_tuning}`.
{_chosen(training, report)} Command:

    {report["command"]}

"""
    if run.data_note:
        learned += f"## Data\n\n{run.data_note.strip()}\n\n"
    return _card(model, learned, run.validation, report, run.blind, "The epoch and the temperature")


def _optimizer(training: TrainingConfig) -> str:
    """The optimizer with its settings, as ``valm_core.learning.optimizer.build_optimizer`` makes it."""
    names = {"adamw": "AdamW", "sgd": f"SGD with momentum {SGD_MOMENTUM}"}
    head = f" ({training.head_learning_rate} for the answer head)" if training.head_learning_rate else ""
    return (
        f"{names[training.optimizer]} at a learning rate of {training.learning_rate}{head}, {training.schedule} schedule, "
        f"weight decay {training.weight_decay}"
    )


def _chosen(training: TrainingConfig, report: dict) -> str:
    """Which epoch the checkpoint is of, and why that one."""
    epoch = f"Epoch {report['best_epoch']} of {report['epochs']}"
    if training.accuracy_to_spare:
        return (
            f"{epoch} is kept: the last that lost no more than {training.accuracy_to_spare} of the accuracy on the "
            "validation rows before training."
        )
    return f"{epoch} was the best on the validation rows."


def renewed_card(model: ValmModel, card: str, data: str, report: dict, blind: bool) -> str:
    """The card of a model that was calibrated again: what ``card`` says of training and data stays.

    Args:
        model: with its new temperatures.
        card: the card as it was; may be empty.
        data: what the new figures were measured on.
        report: the new figures.
        blind: whether the model answers from the question alone.
    """
    learned = re.search(rf"^## Training\n.*?(?=^{FIGURES})", card, re.MULTILINE | re.DOTALL)
    return _card(model, learned.group() if learned else "", data, report, blind, "The temperature")


def _card(model: ValmModel, learned: str, data: str, report: dict, blind: bool, chosen: str) -> str:
    """The card; ``chosen`` begins the sentence on what was chosen on the rows that the figures are of."""
    config = model.config
    temperatures = f"{config.temperature:.3f}"
    if config.yes_no_temperature:
        temperatures += f', and {config.yes_no_temperature:.3f} where "yes" or "no" is likeliest'
    held_out = report.get("held_out_calibration_error")
    others = (
        "All of them are about one photo, so how the temperatures fit other photos was not measured."
        if held_out is None
        else "With temperatures from one half of the photos the calibration error of the other half is "
        f"{100 * held_out:.1f} %."
    )
    if config.yes_no_temperature:
        chosen = chosen.replace("temperature", "temperatures")
    were = "were" if "and" in chosen or config.yes_no_temperature else "was"
    sections = f"""{learned}{FIGURES}`{data_name(data)}`

```
{format_table(report)}
```

Accuracy follows the VQA rules; with one reference answer a row it is exact match after normalisation and not comparable with
published VQA figures. An answer outside the list counts as wrong. {chosen} ({temperatures})
{were} chosen on these same rows, so the figures are slightly flattering; expect a little less on new photos.
{others}

"""
    return checkpoint_card(
        config,
        len(model.answers),
        sees="the question alone (blind)" if blind else "photo and question",
        stored=sum(tensor.numel() for tensor in stored_state(model).values()),
        sections=sections,
        accuracy=(data_name(data), round(report["accuracy"], 4)),
    )
