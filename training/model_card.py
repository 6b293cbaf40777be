"""The model card that every finished run writes beside its checkpoint."""

from training.evaluate import format_table
from valm_core.model import ValmModel
from valm_core.model_card import checkpoint_card
from valm_core.trainer import TrainingConfig


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
    sections = f"""## Training

{trained_rows} rows of `{_name(run.data)}` whose answer is in the list{start}; at most {training.epochs} epochs, batches of
{training.batch_size}, AdamW at {training.learning_rate}, dropout {model.config.dropout}, seed {training.seed}. Epoch {report["best_epoch"]}
of {report["epochs"]} was the best on the validation rows. Command:

    {report["command"]}

## Figures on `{_name(run.validation)}`

```
{format_table(report)}
```

Accuracy follows the VQA rules; with one reference answer a row it is exact match after normalisation and not comparable with
published VQA figures. An answer outside the list counts as wrong. The best epoch and the temperature ({model.config.temperature:.3f})
were chosen on these same rows, so the figures are slightly flattering; expect a little less on new photos.

"""
    return checkpoint_card(
        model.config,
        len(model.answers),
        sees="the question alone (blind)" if run.blind else "photo and question",
        stored=sum(tensor.numel() for tensor in model.stored_state().values()),
        sections=sections,
        accuracy=(_name(run.validation), round(report["accuracy"], 4)),
    )


def _name(path: str) -> str:
    """The last two parts of a path: enough to know the data set, nothing about the machine."""
    return "/".join(path.replace("\\", "/").split("/")[-2:])
