"""The panel "Compare": what another method, checkpoint or model says about the same photo and question."""

import functools
from collections.abc import Callable, Mapping

import gradio as gr

from demo.languages.translate import label, say
from demo.panels.late import find_out
from demo.panels.peers import Answered, load_peer
from demo.rendering.answers import side_by_side_html
from demo.rendering.menus import Menu
from demo.rendering.overlay import Look, overlay
from demo.rendering.photo_input import NO_SHARING, ShownPicture
from demo.rendering.wording import notice_html
from demo.rendering.words import place_text
from demo.visit import asking
from demo.visit.map_parts import part_of, place_in
from valm_core.evidence.rules import is_flat
from valm_core.outputs import Explanation, Predictor

HELP = (
    "Both columns answer the same question about the same photo. Another method explains our own answer; another "
    "model answers for itself, and its map is its own attention. Maps of different models are not on one scale."
)


def build_compare(
    predictor: Predictor, reply: gr.State, shown: list, seconds: float, others: Mapping[str, str]
) -> tuple[Callable, list]:
    """Lay the panel out and wire it.

    Args:
        predictor: ours, for the other methods.
        reply: the ``Reply`` on the page, None without one.
        shown: the selected words and cells, and the controls of the direction, layer and head whose map is on the page.
        seconds: how long what it found out stays in memory.
        others: folders or hub names of other models, by name; set by who runs the page, never by a visitor.

    Returns:
        What empties the panel for another answer or map (it takes the ``Reply``, and returns the updates), and the
        components that takes.
    """
    choices = choices_beside(predictor, asking.default_method(predictor), others)

    @functools.cache
    def peer(name: str):
        return load_peer(name, others[name])

    def ask_other(current: asking.Reply, choice: str) -> Answered:
        if choice.startswith("model:"):
            return peer(choice.removeprefix("model:")).ask(current.photo.picture, current.prediction.question)
        return answered_by_method(predictor, current, choice)

    with gr.Accordion(label("Compare"), open=False, visible=bool(choices), elem_id="compare"):
        gr.HTML(label(HELP), elem_classes="fine-print")
        other = Menu(
            choices,
            value=choices[0][1] if choices else None,
            label=label("Beside our answer and map"),
            elem_id="compare-with",
        )
        button = gr.Button(label("Compare"), elem_id="compare-button")
        message = gr.HTML(elem_id="compare-message")
        with gr.Row(elem_id="compare-pictures"):
            look = {"interactive": False, "visible": False, "format": "jpeg", "min_width": 300, "buttons": NO_SHARING}
            pictures = [ShownPicture(label=label("ours"), **look), ShownPicture(label=label("the other"), **look)]

    def empty(current: asking.Reply) -> dict:
        offered = choices_beside(predictor, current.explanation.method, others)
        cleared = {picture: gr.update(value=None, visible=False) for picture in pictures}
        menu = gr.update(choices=offered, value=offered[0][1]) if offered else gr.skip()
        return {message: "", other: menu, **cleared}

    def compare(current, choice, selection, toward, layer, head) -> dict:
        if current is None:
            return {message: notice_html(asking.NO_QUESTION)}
        try:
            theirs = ask_other(current, choice)
        except Exception as error:
            return {**empty(current), other: choice, message: notice_html(asking.message_for(error))}
        ours = answered_here(current, toward, *place_in(current.explanation, layer, head))
        words = [same_words(current.explanation, selection.words, side.explanation) for side in (ours, theirs)]
        named = of_words(current.explanation, selection.words) if words[1] else ""
        if not words[1]:  # another model has no such word: the whole question, on both sides
            words = [(), ()]
        return {message: answered_html([ours, theirs], named)} | {
            picture: gr.update(
                value=overlay(current.photo.picture, side.explanation, chosen, Look()),
                label=side.name,
                visible=True,
            )
            for picture, side, chosen in zip(pictures, (ours, theirs), words, strict=True)
        }

    parts = [message, other, *pictures]
    find_out(button.click, compare, [reply, other, *shown], parts, seconds)
    return empty, parts


def choices_beside(predictor: Predictor, shown: str, others: Mapping[str, str]) -> list[tuple]:
    """What can stand beside a map by the method ``shown``: other models, and the methods that aren't on the page."""
    models = [(label("model") + f": {name}", f"model:{name}") for name in others]
    return models + [choice for choice in asking.method_choices(predictor) if choice[1] != shown]


def answered_here(current: asking.Reply, toward: str, layer: int | None, head: int | None) -> Answered:
    """What is on the page; the layer and head are None for all."""
    note = map_note(current, current.explanation.method)
    if (toward, layer, head) != ("text_to_image", None, None):
        note = f"{note} · {place_text(toward, layer, head)}"
    return Answered(say("ours"), current.prediction.answers, part_of(current.explanation, toward, layer, head), note)


def answered_by_method(predictor: Predictor, current: asking.Reply, method: str) -> Answered:
    """Our own reply with the map of another method, for the answer that is explained on the page."""
    explanation = predictor.explain(current.photo.encoded, current.prediction.question, method, current.answer)
    name = say("ours, {method}", method=asking.method_label(method))
    return Answered(name, current.prediction.answers, explanation, map_note(current, method))


def map_note(current: asking.Reply, method: str) -> str:
    """Which method made a map of ours, and for which answer where it isn't the likeliest."""
    likeliest = current.answer == current.prediction.answers[0].text
    if likeliest:
        return say("map: {method}", method=asking.method_label(method))
    return say("map: {method}, explaining “{answer}”", method=asking.method_label(method), answer=current.answer)


def same_words(ours: Explanation, words: tuple[int, ...], other: Explanation) -> tuple[int, ...]:
    """Where selected words of our explanation stand in another; none where it lacks one of them."""
    tokens = [token.casefold() for token in other.tokens]
    if tokens == [token.casefold() for token in ours.tokens]:
        return words
    wanted = [ours.tokens[word].casefold() for word in words]
    return tuple(tokens.index(word) for word in wanted) if set(wanted) <= set(tokens) else ()


def of_words(explanation: Explanation, words: tuple[int, ...]) -> str:
    """Whose maps are drawn, for people."""
    return say("maps of “{words}”", words=", ".join(explanation.tokens[word] for word in words)) if words else ""


def answered_html(sides: list[Answered], named: str = "") -> str:
    """Every side's answers and how its map was made, as columns; ``named`` says of which words the maps are."""
    notes = [
        side.note + (f"; {say('no place stands out')}" if is_flat(side.explanation.image_map) else "") for side in sides
    ]
    notes = [f"{note} · {named}" if named else note for note in notes]
    columns = side_by_side_html([(side.name, side.answers, note) for side, note in zip(sides, notes, strict=True)])
    return f'<div class="comparison" role="status">{columns}</div>'
