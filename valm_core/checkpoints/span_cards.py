"""Model cards of checkpoints that mark words: of sentences by a label, of documents as an answer."""

from valm_core.checkpoints.model_card import _text_encoder, card_metadata, measured_and_learned
from valm_core.config import ValmConfig

TAGGING_TAGS = ["explainability", "named-entity-recognition"]
READING_TAGS = ["explainability", "document-question-answering"]


def tag_card(config: ValmConfig, stored: int, figures: str, command: str, data_note: str) -> str:
    """Markdown for the ``README.md`` of a checkpoint that labels words.

    Args:
        config: of the model.
        stored: how many numbers the checkpoint holds.
        figures: lines of text.
        command: that trained it.
        data_note: where the data comes from, its licence, what is known to be wrong with it.
    """
    photos = "" if config.fusion == "text" else f"\n| photo | `{config.image_encoder}` by {config.fusion} |"
    return f"""{card_metadata("token-classification", TAGGING_TAGS, "VALM tagging checkpoint")}

# VALM tagging checkpoint

Gives each word of a sentence one label in BIO form, and shows which other words spoke for it.

| part | what |
|---|---|
| text encoder | `{config.text_encoder}`{_text_encoder(config)} |
| beside it | capitals, digits, marks and letters of each word |
| decoding | a chain that allows no I without its B |{photos}
| stored numbers | {stored / 1e6:.2f} million |

## Use

    valm-ask --checkpoint FOLDER "Angela Merkel visited Paris."

{measured_and_learned(figures, command, data_note)}

## Intended use and limits

For looking into how entities are found in English text like that of its training data; elsewhere it is worse, and names
that are rare there are found less often. Not for decisions about people.
"""


def read_card(config: ValmConfig, stored: int, figures: str, command: str, data_note: str) -> str:
    """Markdown for the ``README.md`` of a checkpoint that reads documents. Arguments as of ``tag_card``."""
    return f"""{card_metadata("document-question-answering", READING_TAGS, "VALM reading checkpoint")}

# VALM reading checkpoint

Answers a question about a scanned document with words that stand on it, and shows where they stand.

| part | what |
|---|---|
| text encoder | `{config.text_encoder}`{_text_encoder(config)} |
| places | where each word stands on the page joins its pieces |
| layers over the page | {config.layers} of width {config.width}, {config.heads} heads |
| stored numbers | {stored / 1e6:.2f} million |

## Use

    valm-ask --checkpoint FOLDER receipt.jpg "What is the total on the receipt?"

{measured_and_learned(figures, command, data_note)}

## Intended use and limits

For looking into how an answer is found on a page, on receipts like those of its training data. Not for bookkeeping:
check what it says against the page, where the words that it used are marked.
"""
