"""The model card that every finished run writes beside its checkpoint, and that calibrating writes anew."""

import re

from training.evaluate import format_table
from training.measuring import data_name
from valm_core.model import ValmModel
from valm_core.model_card import checkpoint_card
from valm_core.trainer import TrainingConfig

FIGURES = "## Figures on "


def model_card(model: ValmModel, run, training: TrainingConfig, trained_rows: int, report: dict) -> str:
    """Markdown with Hugging Face metadata: what the model is, what it learned from, its figures, its limits.

    Args:
        model: the finished model.
        run: the ``RunConfig``.
        training: how it was trained.
        trained_rows: rows that training used.
        report: figures of ``training.evaluate`` on the validation rows, with ``command``.
    """
    start = f", starting from `{run.init}`" if run.init else ""
    learned = f"""## Training

{trained_rows} rows of `{data_name(run.data)}` whose answer is in the list{start}; at most {training.epochs} epochs, batches of
{training.batch_size}, AdamW at {training.learning_rate}, dropout {model.config.dropout}, seed {training.seed}. Epoch {report["best_epoch"]}
of {report["epochs"]} was the best on the validation rows. Command:

    {report["command"]}

"""
    if run.data_note:
        learned += f"## Data\n\n{run.data_note.strip()}\n\n"
    return _card(model, learned, run.validation, report, run.blind)


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
    return _card(model, learned.group() if learned else "", data, report, blind)


def _card(model: ValmModel, learned: str, data: str, report: dict, blind: bool) -> str:
    config = model.config
    temperatures = f"{config.temperature:.3f}"
    if config.yes_no_temperature:
        temperatures += f', and {config.yes_no_temperature:.3f} where "yes" or "no" is likeliest'
    sections = f"""{learned}{FIGURES}`{data_name(data)}`

```
{format_table(report)}
```

Accuracy follows the VQA rules; with one reference answer a row it is exact match after normalisation and not comparable with
published VQA figures. An answer outside the list counts as wrong. The best epoch and the temperature ({temperatures})
were chosen on these same rows, so the figures are slightly flattering; expect a little less on new photos. With temperatures from one half
of the photos the calibration error of the other half is {100 * report["held_out_calibration_error"]:.1f} %.

"""
    return checkpoint_card(
        config,
        len(model.answers),
        sees="the question alone (blind)" if blind else "photo and question",
        stored=sum(tensor.numel() for tensor in model.stored_state().values()),
        sections=sections,
        accuracy=(data_name(data), round(report["accuracy"], 4)),
    )
