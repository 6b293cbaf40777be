"""A description on the page: the sentence, and its words to choose from, each with its map. No event is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import escape
from PIL import Image

from demo.languages.translate import say
from demo.rendering.evidence import SHORT_VERDICT_WORDS, VERDICT_WORDS
from demo.rendering.overlay import Look, overlay
from demo.rendering.wording import data_address

if TYPE_CHECKING:  # for real it would load torch
    from valm_core.captions.describing import Description

PICTURE_SIDE = 360  # pixels of a map's longer side

# A word's map may be flat, too: then nothing was hidden that could tell.
WORD_VERDICTS = VERDICT_WORDS | {"cannot tell": SHORT_VERDICT_WORDS["cannot tell"]}


def description_html(picture: Image.Image, description: Description) -> str:
    """The sentence, and below it the words, of which a chosen one shows the photo under its map."""
    picture = picture.copy()
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    explanation = description.explanation()
    words = "".join(
        word_html(number, description, data_address(overlay(picture, explanation, (number,), Look())))
        for number in range(len(description.words))
    )
    legend = say("Choose a word to see where it was read:")
    note = say("By a second, small model, in English: it names what is usual, and errs often.")
    return (
        f'<div class="described" role="group"><p class="described-sentence" lang="en">{escape(description.text)}</p>'
        f'<p class="fine-print">{escape(note)}</p>'
        f'<fieldset class="described-words"><legend>{escape(legend)}</legend>{words}</fieldset></div>'
    )


def word_html(number: int, description: Description, address: str) -> str:
    """One word to choose, with the picture and the sentence that it then shows."""
    word = description.words[number]
    sentence = say(
        "“{word}”: {percent} likely after the words before it; {verdict}.",
        word=word.text,
        percent=f"{word.probability:.0%}",
        verdict=say(WORD_VERDICTS[word.verdict]),
    )
    return (
        f'<label><input type="radio" name="described-word" value="{number}"><span lang="en">{escape(word.text)}</span>'
        f'<figure><img src="{address}" alt="{escape(say("Where “{word}” was read", word=word.text))}">'
        f"<figcaption>{escape(sentence)}</figcaption></figure></label>"
    )
