"""The page's languages: English as it stands in the code, Chinese from ``chinese.py``, chosen by the browser.

One rule serves both ways a text reaches the page. Labels that are laid out once are handed to gradio as
``label(text)``, and its frontend translates them; what the server writes for one visitor goes through ``say(text)``,
which reads the request. Both decide by the browser's first language, so that the page never mixes two.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from markupsafe import Markup

from demo.languages.chinese import CHINESE, MESSAGES
from valm_core.outputs import InputError

# Gradio's frontend knows these two Chinese locales; any other, "zh" alone too, it takes for English, and so must we.
CHINESE_LOCALES = ("zh-CN", "zh-TW")
FOREIGN_LETTERS = 0.3  # share of letters outside the Latin script from which a question counts as not English

ENGLISH = """
a an and any are at be can color colour could did do does for from has have he her his how i in is it its many me much
my no not of on or she should that the their there these they this to two was were what when where which who whose why
will with would you
"""
# Frequent words of German, French, Spanish, Portuguese, Italian, Dutch, Polish, Turkish, Swedish and Indonesian
# questions, without accents; none of them is common in English ones.
OTHER = """
aan adalah apa bu che chi cos cosa cuantos czy dans das de del della deze di dit donde een ein eine er es est esta este
et farbe foto gdzie gibt gli hangi hoeveel hur il ile ini ist jak jaka jaki jest kac ki la las le les los mana mi nasil
ne nedir nel o och ook onde para przy qual quale quante quanti quantos que quel quelle qui sont sur siapa sind sul tem
um uma un una une vad var wat welche welk welke wer wie wieviele wo yang zdjeciu
"""
ENGLISH_WORDS, OTHER_WORDS = frozenset(ENGLISH.split()), frozenset(OTHER.split())

_composed: dict[str, str] = {}  # of label, the Chinese by the English; as many as the pages of this process have
_spoken: ContextVar[str | None] = ContextVar("spoken", default=None)


@contextmanager
def speaking(chosen: str) -> Iterator[None]:
    """Within the block ``say`` speaks this language, "en" or "zh", whoever asks."""
    before = _spoken.set(chosen)
    try:
        yield
    finally:
        _spoken.reset(before)


def language() -> str:
    """The language of the visitor whose request is being served: "zh", or "en", also where nobody's is."""
    if chosen := _spoken.get():
        return chosen
    context = sys.modules.get("gradio.context")  # the terminal does without gradio
    request = context.LocalContext.request.get(None) if context else None
    return language_of(dict(request.headers).get("accept-language", "") if request else "")


def language_of(accepted: str) -> str:
    """The page's language for an Accept-Language header, as gradio's frontend chooses it: by the first entry alone."""
    first = accepted.split(",")[0].split(";")[0].strip()
    return "zh" if first in CHINESE_LOCALES else "en"


def html_language() -> str:
    """The visitor's language as HTML's ``lang`` has it."""
    return CHINESE_LOCALES[0] if language() == "zh" else "en"


def say(text: str, **values) -> str:
    """A text in the visitor's language.

    Args:
        text: English, with a ``{name}`` for each value.
        values: what stands in their place.
    """
    text = CHINESE.get(text, text) if language() == "zh" else text
    return text.format(**values) if values else text


def say_html(text: str, **values) -> Markup:
    """``say`` as HTML: values are escaped unless they are ``Markup``."""
    return Markup(say(text)).format(**values)  # noqa: S704 - our own text


def label(*texts: str, **values):
    """Texts that are laid out once for all visitors, translated in their browsers: one ``gr.I18n`` key.

    Gradio's frontend translates the first key of a string only, and shows the code of any other: what stands together
    must be made of one call.

    Args:
        texts: sentences, joined by a space, each with its line in ``CHINESE``.
        values: what stands in place of ``{name}`` in them, translated too where it has a line of its own.
    """
    from gradio.i18n import I18nData

    if len(texts) == 1 and not values:
        return I18nData(texts[0])
    with speaking("en"):
        english = " ".join(say(text, **values) for text in texts)
    with speaking("zh"):
        chinese = {name: say(value) if isinstance(value, str) else value for name, value in values.items()}
        _composed[english] = "".join(say(text, **chinese) for text in texts)
    return I18nData(english)


def translations() -> dict[str, dict[str, str]]:
    """What ``gr.I18n`` is made of: every text by locale. Lay the page out first: it composes some of them."""
    texts = CHINESE | _composed
    return {"en": {text: text for text in texts}, **dict.fromkeys(CHINESE_LOCALES, texts)}


def translated(message: str | InputError) -> str:
    """A message of a room that knows no languages, in the visitor's: found by its template, filled with its values.

    Args:
        message: an error, or a text that stands as it is in the list.
    """
    template, values = (message.template, message.values) if isinstance(message, InputError) else (message, {})
    if language() == "zh":
        template = CHINESE.get(template) or MESSAGES.get(template, template)
    return template.format(**values) if values else template


def is_doubtful(question: str) -> bool:
    """Whether a question is perhaps not English: by its script, else by frequent words.

    A question in the Latin script counts as foreign when it has more frequent words of other European or Asian
    languages than of English. What has none of either passes: a single noun, or a language whose words aren't listed.
    """
    letters = [letter for letter in question if letter.isalpha()]
    foreign = sum(not unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    if letters and foreign / len(letters) > FOREIGN_LETTERS:
        return True
    plain = "".join(
        letter for letter in unicodedata.normalize("NFKD", question.casefold()) if not unicodedata.combining(letter)
    )
    words = re.findall(r"[a-z]+", plain)
    english, other = (sum(word in known for word in words) for known in (ENGLISH_WORDS, OTHER_WORDS))
    return other > english
