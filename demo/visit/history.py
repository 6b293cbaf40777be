"""What was asked in this visit, to go back to without the model, and links that bring a state back.

Nothing here outlives the visit: what is kept lies in a ``gr.State``, bounded in photos and questions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from markupsafe import escape

from demo.languages.translate import say
from demo.rendering.answers import is_doubted
from demo.rendering.wording import data_address, percent, short_answer
from demo.visit import asking
from demo.visit.asking import OpenedPhoto, Outcome, Reply, Selection
from demo.visit.examples import Example, example_named, example_of
from demo.visit.map_parts import place_in
from valm_core.inputs.question import MAX_PROMPT, MAX_QUESTION_CHARACTERS
from valm_core.method_names import DEFAULT_METHOD, EVERY_METHOD
from valm_core.outputs import InputError, Predictor

MAX_PHOTOS = 4  # each about 3 MB
MAX_QUESTIONS = 20  # for each photo; a reply's maps take about 100 kB
THUMBNAIL_SIDE = 160  # pixels
DIRECTIONS = ("text_to_image", "image_to_text")
LINKED = ("photo", "question", "prompt", "answer", "method", "words", "cells", "direction", "layer", "head")
OWN_PHOTO = (
    "A link can’t carry a photo of your own: it stays on this server for a few hours and is shown to nobody else. "
    "Download the report instead, or ask about one of the examples."
)


@dataclass(frozen=True, eq=False)
class PhotoHistory:
    """A photo of this visit, the file that the page has of it, and its replies, oldest first."""

    photo: OpenedPhoto
    path: str
    replies: tuple[Reply, ...] = ()


@dataclass(frozen=True)
class Link:
    """A state of the page that a link can carry: an example, what was asked about it, and what is looked at.

    ``prompt`` is that of an open model, None for its own; ``answer`` and ``method`` are what is explained and how, None
    for the likeliest and the default; ``layer`` and ``head`` count from 0, None for all.
    """

    photo: str
    question: str
    answer: str | None = None
    method: str | None = None
    words: tuple[int, ...] = ()
    cells: tuple[int, ...] = ()
    direction: str = DIRECTIONS[0]
    layer: int | None = None
    head: int | None = None
    prompt: str | None = None
    ignored: tuple[str, ...] = ()  # names of what stood in it and can't be used


def remember(kept: tuple[PhotoHistory, ...], path: str | None, reply: Reply | None) -> tuple[PhotoHistory, ...]:
    """The histories with a reply in the one of its photo; the oldest photos and questions give way.

    The reply takes the place of an earlier one to the same prediction, and goes to the end in place of one to the same
    question. ``path`` is the photo's on the page, which may be another one already.
    """
    if reply is None or not path:
        return kept
    old = history_of(kept, reply.photo)
    replies = old.replies if old else ()
    place = next((i for i, known in enumerate(replies) if known.prediction is reply.prediction), None)
    if place is None:
        replies = (*(known for known in replies if _asked_by(known) != _asked_by(reply)), reply)[-MAX_QUESTIONS:]
    else:
        replies = (*replies[:place], reply, *replies[place + 1 :])
    if (old is None or old.path != path) and asking.holds(path, reply.photo) is False:
        path = old.path if old else ""
    new = PhotoHistory(reply.photo, path, replies)
    if old is None:
        return (*kept, new)[-MAX_PHOTOS:]
    return tuple(new if history is old else history for history in kept)


def _asked_by(reply: Reply) -> tuple[str, str | None]:
    """A reply's question, and the prompt that was chosen for it."""
    return reply.prediction.question, reply.prediction.prompt


def catch_up(
    kept: tuple[PhotoHistory, ...], path: str | None, outcome: Outcome | None, visit: int
) -> tuple[PhotoHistory, ...]:
    """The histories with what was answered about the photo at ``path`` before the page could tell of it.

    Args:
        kept: the histories.
        path: of the page's photo.
        outcome: the last one, with those before it.
        visit: number of the visit; forgetting one raises it, so that nothing of a forgotten visit comes back.
    """
    for one in (*outcome.earlier, outcome) if outcome else ():
        reply = one.reply
        if reply is None or one.visit != visit or one.path != path:
            continue
        old = history_of(kept, reply.photo)
        if old is None or all(known.prediction is not reply.prediction for known in old.replies):
            kept = remember(kept, path, reply)
    return kept


def history_of(kept: tuple[PhotoHistory, ...], photo: OpenedPhoto) -> PhotoHistory | None:
    """The history of a photo, whatever its file is called; None for one that isn't kept."""
    return next((history for history in kept if history.photo.digest == photo.digest), None)


def already_opened(kept: tuple[PhotoHistory, ...], path: str | None) -> OpenedPhoto | None:
    """The photo in the file at ``path`` where it is kept, so that it need not be encoded again."""
    try:
        digest = asking.digest_of(asking.content_of(path)) if kept and path else None
    except InputError:
        return None
    return next((history.photo for history in kept if history.photo.digest == digest), None)


def history_html(kept: tuple[PhotoHistory, ...], current: Reply | None) -> str:
    """The questions asked about the current photo as buttons, newest first; nothing for fewer than two."""
    history = history_of(kept, current.photo) if current else None
    if current is None or history is None or len(history.replies) < 2:
        return ""
    title = say("Asked about this photo")
    rows = "".join(
        f"<li>{_button(place, reply.prediction is current.prediction, 'asked', _asked(reply))}</li>"
        for place, reply in reversed([*enumerate(history.replies)])
    )
    return (
        f'<section class="history" aria-label="{title}"><h3>{title}</h3>'
        f'<ol data-columns="1" reversed>{rows}</ol></section>'
    )


def _asked(reply: Reply) -> str:
    best = reply.prediction.answers[0]
    kind = "asked-doubted" if is_doubted(reply.prediction) else "asked-answer"
    return (
        f"<span>{escape(reply.prediction.question)}</span>"
        f'<span class="{kind}">{escape(short_answer(best.text))}</span>'
        f"<span>{'' if reply.prediction.long else percent(best.probability)}</span>"
    )


def strip_html(kept: tuple[PhotoHistory, ...], photo: OpenedPhoto | None) -> str:
    """The photos of this visit as buttons, the one on the page marked; nothing where it is the only one."""
    here = history_of(kept, photo) if photo else None
    if not kept or (len(kept) == 1 and here):
        return ""
    title = say("Photos of this visit")
    cards = []
    for place, history in enumerate(kept):
        small = history.photo.picture.convert("RGB")
        small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        last, count = history.replies[-1].prediction.question, len(history.replies)
        questions = say("1 question") if count == 1 else say("{count} questions", count=count)
        name = escape(say("Back to the photo with {questions}, the last: {last}", questions=questions, last=last))
        content = f'<img src="{data_address(small)}" alt=""><span>{questions}</span>'
        cards.append(_button(place, history is here, "kept-photo", content, f' aria-label="{name}" title="{name}"'))
    return (
        f'<p>{title}</p><div class="kept-photos" role="toolbar" '
        f'aria-label="{title}" data-columns="{len(cards)}">{"".join(cards)}</div>'
    )


def _button(item: int, current: bool, kind: str, content: str, more: str = "") -> str:
    return (
        f'<button type="button" class="{kind}" data-item="{item}" aria-current="{str(current).lower()}"{more}>'
        f"{content}</button>"
    )


def link_to(
    reply: Reply, examples: tuple[Example, ...], selection: Selection, direction: str, layer, head
) -> Link | None:
    """What a link to the state of the page must carry; None where the photo is no example."""
    example = example_of(examples, reply.photo)
    if example is None:
        return None
    best = reply.prediction.answers[0].text
    method = reply.explanation.method
    return Link(
        photo=example.path.stem,
        question=reply.prediction.question,
        answer=None if reply.answer == best else reply.answer,
        prompt=reply.prediction.prompt,
        method=method if method in EVERY_METHOD and method != DEFAULT_METHOD else None,
        words=selection.words,
        cells=selection.cells,
        direction=direction,
        layer=layer,
        head=head,
    )


def to_query(link: Link) -> str:
    """A link's part from the question mark on; layers, heads, words and cells count from 1 there, as on the page."""
    values = {"photo": link.photo, "question": link.question}
    values |= {name: getattr(link, name) for name in ("prompt", "answer", "method") if getattr(link, name) is not None}
    for name in ("words", "cells"):
        if numbers := getattr(link, name):
            values[name] = ",".join(str(number + 1) for number in numbers)
    if link.direction != DIRECTIONS[0]:
        values["direction"] = link.direction
    values |= {name: getattr(link, name) + 1 for name in ("layer", "head") if getattr(link, name) is not None}
    return "?" + urlencode(values)


def read_link(query: Mapping[str, str], examples: tuple[Example, ...]) -> Link | None:
    """The state that a page's address asks for; None where it asks for none.

    Names that aren't a ``Link``'s are none of ours (gradio and trackers have their own) and pass in silence.

    Raises:
        InputError: it names no example.
    """
    asked = {name: str(query[name]) for name in LINKED if name in query}
    if not asked:
        return None
    example = example_named(examples, asked.get("photo"))
    ignored = []
    allowed = {"method": EVERY_METHOD, "direction": DIRECTIONS}
    read: dict[str, Any] = {"photo": example.path.stem, "question": example.questions[0]}
    for name, text in asked.items():
        if name == "photo":
            continue
        value: Any
        if name in ("question", "answer"):
            value = " ".join(text.split()) if len(text) <= MAX_QUESTION_CHARACTERS else None
        elif name == "prompt":
            value = text if len(text) <= MAX_PROMPT else None
        elif name in allowed:
            value = text if text in allowed[name] else None
        else:
            value = _numbers(text)
            if name in ("layer", "head"):
                value = value[0] if value and len(value) == 1 else None
        if value or value == 0:
            read[name] = value
        else:
            ignored.append(name)
    return Link(**read, ignored=tuple(ignored))


def _numbers(text: str) -> tuple[int, ...] | None:
    """“1,3” as (0, 2); None for anything else."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and 1 <= len(part) <= 4 and int(part) for part in parts):
        return None
    return tuple(dict.fromkeys(int(part) - 1 for part in parts))


def follow_link(predictor: Predictor, path: str | None, known: OpenedPhoto | None, link: Link) -> Outcome:
    """Ask what a link asks about its photo, which the page has at ``path``, and explain what it wants explained."""
    outcome = asking.answer(predictor, path, known, link.question, link.prompt)
    wanted = link.method if link.method in predictor.explanation_methods else None
    if outcome.reply is None or (link.answer is None and wanted is None):
        return outcome
    method, answer = wanted or asking.default_method(predictor), link.answer or outcome.reply.answer
    again = asking.explain_again(predictor, outcome.reply, method, answer)
    messages = [message for message in (outcome.message, again.message) if message]
    return Outcome(path, again.reply or outcome.reply, " ".join(messages))


def selected_by(link: Link, reply: Reply) -> tuple[Selection, int | None, int | None, str]:
    """What a link selects in a reply: words and cells, layer, head, and a message about what of it was ignored."""
    explanation = reply.explanation
    layers, heads, words, cells = explanation.text_to_image.shape
    inside = {
        name: tuple(number for number in getattr(link, name) if number < count)
        for name, count in (("words", words), ("cells", cells))
    }
    layer = link.layer if link.layer is not None and link.layer < layers else None
    head = link.head if link.head is not None and link.head < heads else None
    layer, head = place_in(explanation, layer, head)
    found = inside | {"layer": layer, "head": head}
    ignored = [*link.ignored, *(name for name, value in found.items() if value != getattr(link, name))]
    message = say("Ignored in the link, because it can’t be used here: {names}.", names=", ".join(ignored))
    return Selection(**inside), layer, head, message if ignored else ""
