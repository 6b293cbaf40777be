"""The model cards of tasks beside answering: one frame, and what it says of each task."""

from collections.abc import Callable
from dataclasses import dataclass

from valm_core.checkpoints.model_card import card_metadata, image_encoder_cell, text_encoder_cell
from valm_core.config import ValmConfig

Parts = tuple[tuple[str, str], ...]  # the lines of the table of parts: what each is called, and what it is


@dataclass(frozen=True)
class CardText:
    """What a card says of a task.

    Args:
        name: of the kind of checkpoint.
        pipeline_tag, tags: those of the hub; each is tagged "explainability" too.
        does: in a sentence.
        use: a command.
        limits: what it is for and what not.
        parts: a model's config -> what the model is made of.
    """

    name: str
    pipeline_tag: str
    tags: tuple[str, ...]
    does: str
    use: str
    limits: str
    parts: Callable[[ValmConfig], Parts]


def task_card(config: ValmConfig, stored: int, figures: str, command: str, data_note: str) -> str:
    """Markdown for the ``README.md`` of a checkpoint.

    Args:
        config: of the model; its task is one of ``CARD_TEXTS``.
        stored: how many numbers the checkpoint holds.
        figures: lines of text, on the validation rows.
        command: that trained it.
        data_note: what it learned from, with licences and what is known to be wrong with it.
    """
    text = CARD_TEXTS[config.task]
    parts = (*text.parts(config), ("stored numbers", f"{stored / 1e6:.2f} million"))
    table = "\n".join(f"| {part} | {what} |" for part, what in parts)
    return f"""{card_metadata(text.pipeline_tag, ["explainability", *text.tags], f"VALM {text.name} checkpoint")}

# VALM {text.name} checkpoint

{text.does}

| part | what |
|---|---|
{table}

## Use

    {text.use}

## Figures

On the validation data, from which also the epoch was chosen, so they are slightly flattering:

```
{figures}
```

Trained by:

    {command}

## Data

{data_note.strip() or "Not described."}

## Intended use and limits

{text.limits}
"""


def _retrieval_parts(config: ValmConfig) -> Parts:
    return (
        ("text encoder", text_encoder_cell(config)),
        ("image encoder", image_encoder_cell(config)),
        ("common space", f"{config.width} numbers: a vector a text and photo, and one a word and cell"),
    )


def _caption_parts(config: ValmConfig) -> Parts:
    decoder = f"{config.layers} layers of width {config.width}, {config.heads} heads, reading all cells"
    return (
        ("image encoder", image_encoder_cell(config)),
        ("decoder", decoder),
        ("vocabulary", f"{config.vocabulary} word pieces"),
    )


def _fusion_parts(config: ValmConfig) -> Parts:
    text = ("text encoder", text_encoder_cell(config))
    if config.fusion == "text":
        return (text, ("fusion", f"none: it reads texts alone, width {config.width}"))
    fusion = f"`{config.fusion}`, {config.layers} layers of width {config.width}, {config.heads} heads"
    return (text, ("image encoder", image_encoder_cell(config)), ("fusion", fusion))


def _tag_parts(config: ValmConfig) -> Parts:
    photo = () if config.fusion == "text" else (("photo", f"`{config.image_encoder}` by {config.fusion}"),)
    return (
        ("text encoder", text_encoder_cell(config)),
        ("beside it", "capitals, digits, marks and letters of each word"),
        ("decoding", "a chain that allows no I without its B"),
        *photo,
    )


def _read_parts(config: ValmConfig) -> Parts:
    return (
        ("text encoder", text_encoder_cell(config)),
        ("places", "where each word stands on the page joins its pieces"),
        ("layers over the page", f"{config.layers} of width {config.width}, {config.heads} heads"),
    )


CARD_TEXTS = {
    "retrieval": CardText(
        name="retrieval",
        pipeline_tag="image-text-to-text",
        tags=("image-retrieval",),
        does="Finds photos by words and words by photos, and shows which cells of a photo matched which word.",
        use='valm-find FOLDER "a dog on a beach"',
        limits="""\
For searching one's own photos by English words. It hardly understands negation ("no dog"), counts and who does what to
whom: "a dog chases a man" and "a man chases a dog" get nearly the same photos. What it takes for a man, a woman or a
child follows the looks that annotators named; don't use it to sort people.""",
        parts=_retrieval_parts,
    ),
    "caption": CardText(
        name="caption",
        pipeline_tag="image-to-text",
        tags=("image-captioning",),
        does="Describes a photo in a sentence, and shows for every word where in the photo it was read.",
        use="valm-describe photo.jpg",
        limits="""\
For looking into how words of a description relate to places of a photo, in English. Not for decisions about people,
safety or medicine, and no replacement for a description by a person: it names things that are not there, counts badly,
can't read text, and what it says of rare things is what is usual in its data. What it takes for a man, a woman or a
child follows the looks that annotators named; don't use it to sort people.""",
        parts=_caption_parts,
    ),
    "relate": CardText(
        name="relation",
        pipeline_tag="text-classification",
        tags=("relation-extraction",),
        does="Says in which relation two marked parts of a text stand, out of a fixed list, and which words spoke for "
        "it.",
        use='valm-ask --checkpoint NAME "[Bill Cosby] \'s star on [Hollywood Walk of Fame] vandalized"',
        limits="""\
For looking into how words make a relation, in English posts. Not for facts about people: it says what a
text like this usually means, whether it is true or not. Two thirds of the pairs that it learned from have no relation,
and of most relations it saw fewer than a hundred: rare ones are hardly ever found.""",
        parts=_fusion_parts,
    ),
    "judge": CardText(
        name="judging",
        pipeline_tag="image-text-to-text",
        tags=("visual-entailment",),
        does="Says whether a photo supports a statement, contradicts it or leaves it open, and which words and places "
        "spoke for that.",
        use='valm-ask --checkpoint NAME photo.jpg "Two dogs are running."',
        limits="""\
For looking into what in a photo speaks for or against a sentence, in English. Not for checking facts or
news: it is often wrong, above all about counts, positions and who does what, and judges much by how a statement is
worded (see `without_photo` above). On VALSE and VSR,
which it never learned from, it was no better than guessing.""",
        parts=_fusion_parts,
    ),
    "feel": CardText(
        name="mood",
        pipeline_tag="image-text-to-text",
        tags=("sentiment-analysis",),
        does="Says whether a post with its picture sounds positive, neutral or negative, and which words and places "
        "spoke for that.",
        use='valm-ask --checkpoint NAME picture.jpg "What a lovely day!"',
        limits="""\
For looking into how words and pictures carry a mood, in English posts. Not for judging people or what
they feel: labels are those of a few annotators who often disagreed, and irony is taken at its word.""",
        parts=_fusion_parts,
    ),
    "tag": CardText(
        name="tagging",
        pipeline_tag="token-classification",
        tags=("named-entity-recognition",),
        does="Gives each word of a sentence one label in BIO form, and shows which other words spoke for it.",
        use='valm-ask --checkpoint FOLDER "Angela Merkel visited Paris."',
        limits="""\
For looking into how entities are found in English text like that of its training data; elsewhere it is worse, and names
that are rare there are found less often. Not for decisions about people.""",
        parts=_tag_parts,
    ),
    "read": CardText(
        name="reading",
        pipeline_tag="document-question-answering",
        tags=("document-question-answering",),
        does="Answers a question about a scanned document with words that stand on it, and shows where they stand.",
        use='valm-ask --checkpoint FOLDER receipt.jpg "What is the total on the receipt?"',
        limits="""\
For looking into how an answer is found on a page, on receipts like those of its training data. Not for bookkeeping:
check what it says against the page, where the words that it used are marked.""",
        parts=_read_parts,
    ),
}
