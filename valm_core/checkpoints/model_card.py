"""The card of a checkpoint: Hugging Face metadata, what the model is made of, and what it is not for."""

from dataclasses import dataclass

from valm_core.config import ValmConfig


def checkpoint_card(
    config: ValmConfig,
    answers: int,
    sees: str = "photo and question",
    stored: int = 0,
    sections: str = "",
    accuracy: tuple[str, float] | None = None,
) -> str:
    """Markdown for the ``README.md`` of a checkpoint, as the Hugging Face hub reads it.

    Args:
        config: of the model.
        answers: length of the answer list.
        sees: what the model answers from.
        stored: how many numbers the checkpoint holds; 0 leaves the line out.
        sections: Markdown between the table of parts and the limits, e.g. on training and figures.
        accuracy: name of a data set and the accuracy on it, 0..1, for the metadata.
    """
    from huggingface_hub import EvalResult, ModelCardData

    task = "visual-question-answering"
    results = [
        EvalResult(task_type=task, dataset_type=name, dataset_name=name, metric_type="accuracy", metric_value=value)
        for name, value in ([accuracy] if accuracy else [])
    ]
    metadata = ModelCardData(
        library_name="valm",
        pipeline_tag=task,
        language="en",
        license="apache-2.0",
        tags=["explainability"],
        model_name="VALM checkpoint",
        eval_results=results or None,
    )
    concepts = (
        f"{config.concepts} words, looked for in every cell; what they mean joins the cell"
        if config.concepts
        else "off"
    )
    similar = "on: words read first where cells resemble them" if config.similarity else "off"
    side = config.image_size // config.image_stride
    cells = f"{side} x {side}, " * config.image_encoder.startswith("package:")
    cells += f"features reduced to {config.cell_width}" if config.cell_width else "features as the encoder gives them"
    text = _text_encoder(config)
    head = "on: what the question alone makes likely is added to the answers' logits" if config.question_head else "off"
    glimpses = f"{config.heads} of width {config.glimpse_width}" if config.glimpse_width else "off"
    size = f"\n| stored numbers | {stored / 1e6:.2f} million |" if stored else ""
    return f"""---
{metadata.to_yaml()}
---

# VALM checkpoint

Answers questions about a photo out of {answers} fixed answers. It sees {sees}.

| part | what |
|---|---|
| text encoder | `{config.text_encoder}`{text} |
| image encoder | {_image_encoder(config)} |
| cells | {cells} |
| concepts | {concepts} |
| similarity of words and cells | {similar} |
| fusion | `{config.fusion}`, {config.layers} layers of width {config.width}, {config.heads} heads |
| question head | {head} |
| glimpses | {glimpses} |{size}

## Use

With VALM installed, `NAME` being this folder or its `user/model` on the hub:

    from valm_core.predictor import VqaPredictor

    predictor = VqaPredictor.from_checkpoint("NAME")
    print(predictor.answer(predictor.encode("photo.jpg"), "What is this?").answers)

{sections}## Intended use and limits

For looking into how attention relates questions to photos, in English. Not for decisions about people, safety or
medicine. It knows only its answer list, can't read text, counts badly, and often answers from what is usual rather than
from what the photo shows: compare with the blind answer (`python -m training.evaluate --blind`). The answers carry the
biases of the annotators and of the photo selection of the training data.
"""


def retrieval_card(config: ValmConfig, stored: int, figures: str, command: str, data_note: str) -> str:
    """Markdown for the ``README.md`` of a checkpoint that finds photos.

    Args:
        config: of the model.
        stored: how many numbers the checkpoint holds.
        figures: the table of its figures on the validation photos.
        command: that trained it.
        data_note: what it learned from, with licences and what is known to be wrong with it.
    """
    text = _text_encoder(config)
    return f"""{card_metadata("image-text-to-text", ["explainability", "image-retrieval"], "VALM retrieval checkpoint")}

# VALM retrieval checkpoint

Finds photos by words and words by photos, and shows which cells of a photo matched which word.

| part | what |
|---|---|
| text encoder | `{config.text_encoder}`{text} |
| image encoder | {_image_encoder(config)} |
| common space | {config.width} numbers: a vector a text and photo, and one a word and cell |
| stored numbers | {stored / 1e6:.2f} million |

## Use

    valm-find FOLDER "a dog on a beach"

{measured_and_learned(figures, command, data_note)}

## Intended use and limits

For searching one's own photos by English words. It hardly understands negation ("no dog"), counts and who does what to
whom: "a dog chases a man" and "a man chases a dog" get nearly the same photos. What it takes for a man, a woman or a
child follows the looks that annotators named; don't use it to sort people.
"""


def caption_card(config: ValmConfig, stored: int, figures: str, command: str, data_note: str) -> str:
    """Markdown for the ``README.md`` of a checkpoint that describes photos. Arguments as of ``retrieval_card``."""
    return f"""{card_metadata("image-to-text", ["explainability", "image-captioning"], "VALM caption checkpoint")}

# VALM caption checkpoint

Describes a photo in a sentence, and shows for every word where in the photo it was read.

| part | what |
|---|---|
| image encoder | {_image_encoder(config)} |
| decoder | {config.layers} layers of width {config.width}, {config.heads} heads, reading all cells |
| vocabulary | {config.vocabulary} word pieces |
| stored numbers | {stored / 1e6:.2f} million |

## Use

    valm-describe photo.jpg

{measured_and_learned(figures, command, data_note)}

## Intended use and limits

For looking into how words of a description relate to places of a photo, in English. Not for decisions about people,
safety or medicine, and no replacement for a description by a person: it names things that are not there, counts badly,
can't read text, and what it says of rare things is what is usual in its data. What it takes for a man, a woman or a
child follows the looks that annotators named; don't use it to sort people.
"""


@dataclass(frozen=True)
class CardText:
    """What a card says of a task: ``name`` of the kind of checkpoint, the hub's ``pipeline_tag`` and ``tags``, what it
    ``does`` in a sentence, a command of its ``use`` with NAME for the checkpoint, and its ``limits``."""

    name: str
    pipeline_tag: str
    tags: tuple[str, ...]
    does: str
    use: str
    limits: str


def task_card(config: ValmConfig, stored: int, figures: str, command: str, data_note: str, text: CardText) -> str:
    """Markdown for the ``README.md`` of a checkpoint for a task of two encoders and a fusion.

    Arguments as of ``retrieval_card``, and ``text``, what it says of the task.
    """
    fusion = f"`{config.fusion}`, {config.layers} layers of width {config.width}, {config.heads} heads"
    parts = [f"| text encoder | `{config.text_encoder}`{_text_encoder(config)} |"]
    if config.fusion == "text":
        parts.append(f"| fusion | none: it reads texts alone, width {config.width} |")
    else:
        parts.append(f"| image encoder | {_image_encoder(config)} |")
        parts.append(f"| fusion | {fusion} |")
    table = "\n".join(parts)
    return f"""{card_metadata(text.pipeline_tag, list(text.tags), f"VALM {text.name} checkpoint")}

# VALM {text.name} checkpoint

{text.does}

| part | what |
|---|---|
{table}
| stored numbers | {stored / 1e6:.2f} million |

## Use

    {text.use}

{measured_and_learned(figures, command, data_note)}

## Intended use and limits

{text.limits}
"""


def card_metadata(pipeline_tag: str, tags: list[str], name: str) -> str:
    """The block of Hugging Face metadata that a card begins with."""
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        library_name="valm",
        pipeline_tag=pipeline_tag,
        language="en",
        license="apache-2.0",
        tags=tags,
        model_name=name,
    )
    return f"---\n{metadata.to_yaml()}\n---"


def measured_and_learned(figures: str, command: str, data_note: str) -> str:
    """What a card says of its figures and its data."""
    return f"""## Figures

On the validation data, from which also the epoch was chosen, so they are slightly flattering:

```
{figures}
```

Trained by:

    {command}

## Data

{data_note.strip() or "Not described."}"""


def _text_encoder(config: ValmConfig) -> str:
    """What learned of the text encoder."""
    text = _frozen(config.train_text_encoder, config.text_encoder_sha256)
    if config.learned_text_layers:
        text = text.replace("frozen", f"frozen but for its last {config.learned_text_layers} layers")
    return text


def _image_encoder(config: ValmConfig) -> str:
    sees = f"`{config.image_encoder}` at {config.image_size} px"
    if config.photo_detail:
        sees += f", photos reduced to {config.photo_detail} px before"
    if not config.image_encoder_of:
        return sees + _frozen(config.train_image_encoder, config.image_encoder_sha256)
    return (
        f"{sees}, that of the checkpoint `{config.image_encoder_of}`, sha256 `{config.image_encoder_of_sha256[:12]}…`: "
        "not stored here, that checkpoint must lie beside this one"
    )


def _frozen(trained: bool, sha256: str) -> str:
    if trained:
        return ", fine-tuned"
    return f", frozen, sha256 `{sha256[:12]}…`" if sha256 else ", frozen"
