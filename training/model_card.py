"""The model card that every finished run writes beside its checkpoint."""

from training.evaluate import format_table
from valm_core.model import ValmModel
from valm_core.trainer import TrainingConfig

OBJECT_NOTE = (
    "on: each cell carries the names of the objects that it seems to belong to, by a head that was taught with the boxes "
    "of a detector; that detector (SSD MobileNet v2) was trained on photos of COCO, perhaps also on some of those below"
)


def model_card(model: ValmModel, run, training: TrainingConfig, trained_rows: int, report: dict) -> str:
    """Markdown with Hugging Face metadata: what the model is, what it learned from, its figures, its limits.

    Args:
        model: the finished model.
        run: the ``RunConfig``.
        training: how it was trained.
        trained_rows: rows that training used.
        report: figures of ``training.evaluate`` on the validation rows, with ``command``.
    """
    config = model.config
    stored = sum(tensor.numel() for tensor in model.stored_state().values())
    sees = "the question alone (blind)" if run.blind else "photo and question"
    start = f", starting from `{run.init}`" if run.init else ""
    data = _name(run.data)
    return f"""---
library_name: valm
pipeline_tag: visual-question-answering
language: en
license: apache-2.0
---

# VALM checkpoint

Answers questions about a photo out of {len(model.answers)} fixed answers. It sees {sees}.

| part | what |
|---|---|
| text encoder | `{config.text_encoder}`{_frozen(config.train_text_encoder, config.text_encoder_sha256)} |
| image encoder | `{config.image_encoder}` at {config.image_size} px, {config.resize}{_frozen(config.train_image_encoder, config.image_encoder_sha256)} |
| semantic tokens | {"on: each cell carries the expected meaning of its ImageNet classes" if config.semantic_tokens else "off"} |
| object tokens | {OBJECT_NOTE if config.object_tokens else "off"} |
| fusion | `{config.fusion}`, {config.layers} layers of width {config.width}, {config.heads} heads |
| stored numbers | {stored / 1e6:.2f} million |

## Training

{trained_rows} rows of `{data}` whose answer is in the list{start}; at most {training.epochs} epochs, batches of
{training.batch_size}, AdamW at {training.learning_rate}, dropout {config.dropout}, seed {training.seed}. Epoch {report["best_epoch"]}
of {report["epochs"]} was the best on the validation rows. Command:

    {report["command"]}

## Figures on `{_name(run.validation)}`

```
{format_table(report)}
```

Accuracy follows the VQA rules; with one reference answer a row it is exact match after normalisation and not comparable with
published VQA figures. An answer outside the list counts as wrong. The best epoch and the temperature ({config.temperature:.3f})
were chosen on these same rows, so the figures are slightly flattering; expect a little less on new photos.

## Intended use and limits

For looking into how attention relates questions to photos, in English. Not for decisions about people, safety or medicine.
It knows only its answer list, can't read text, counts badly, and often answers from what is usual rather than from what
the photo shows: compare with the blind answer (`python -m training.evaluate --blind`). The answers carry the biases of the
annotators and of the photo selection of the training data.
"""


def _frozen(trained: bool, sha256: str) -> str:
    if trained:
        return ", fine-tuned"
    return f", frozen, sha256 `{sha256[:12]}…`" if sha256 else ", frozen"


def _name(path: str) -> str:
    """The last two parts of a path: enough to know the data set, nothing about the machine."""
    return "/".join(path.replace("\\", "/").split("/")[-2:])
