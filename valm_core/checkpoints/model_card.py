"""The card of a checkpoint: Hugging Face metadata, what the model is made of, and what it is not for."""

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
    concepts = (
        f"{config.concepts} words, looked for in every cell; what they mean joins the cell"
        if config.concepts
        else "off"
    )
    similar = "on: words read first where cells resemble them" if config.similarity else "off"
    side = config.image_size // config.image_stride
    cells = f"{side} x {side}, " * config.image_encoder.startswith("package:")
    cells += f"features reduced to {config.cell_width}" if config.cell_width else "features as the encoder gives them"
    head = "on: what the question alone makes likely is added to the answers' logits" if config.question_head else "off"
    glimpses = f"{config.heads} of width {config.glimpse_width}" if config.glimpse_width else "off"
    size = f"\n| stored numbers | {stored / 1e6:.2f} million |" if stored else ""
    return f"""{card_metadata("visual-question-answering", ["explainability"], "VALM checkpoint", accuracy)}

# VALM checkpoint

Answers questions about a photo out of {answers} fixed answers. It sees {sees}.

| part | what |
|---|---|
| text encoder | {text_encoder_cell(config)} |
| image encoder | {image_encoder_cell(config)} |
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


def card_metadata(pipeline_tag: str, tags: list[str], title: str, accuracy: tuple[str, float] | None = None) -> str:
    """The block of Hugging Face metadata that a card begins with; ``accuracy`` as in ``checkpoint_card``."""
    from huggingface_hub import EvalResult, ModelCardData

    results = None
    if accuracy:
        data, share = accuracy
        results = [EvalResult(pipeline_tag, data, data, metric_type="accuracy", metric_value=share)]
    metadata = ModelCardData(
        library_name="valm",
        pipeline_tag=pipeline_tag,
        language="en",
        license="apache-2.0",
        tags=tags,
        model_name=title,
        eval_results=results,
    )
    return f"---\n{metadata.to_yaml()}\n---"


def text_encoder_cell(config: ValmConfig) -> str:
    """Which text encoder it is, and what of it has learned."""
    text = _frozen(config.train_text_encoder, config.text_encoder_sha256)
    if config.learned_text_layers:
        text = text.replace("frozen", f"frozen but for its last {config.learned_text_layers} layers")
    return f"`{config.text_encoder}`{text}"


def image_encoder_cell(config: ValmConfig) -> str:
    """Which image encoder it is, what it sees of a photo, whether it has learned, and whose it is."""
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
