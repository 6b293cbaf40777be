"""The panel "Compare": what another method, checkpoint or model says about the same photo and question."""

import dataclasses
import functools
import os
from collections.abc import Callable

import gradio as gr

from demo import callbacks
from demo.figures import Look, notice_html, overlay, side_by_side_html
from demo.languages import label, say
from demo.peers import Told, ValmPeer, load_peer, parse_peers
from valm_core.explanations import DEFAULT_METHOD

HELP = (
    "Both columns answer the same question about the same photo. Another method explains our own answer; another "
    "model answers for itself, and its map is its own attention. Maps of different models are not on one scale."
)


def build_compare(predictor, reply: gr.State) -> tuple[Callable, list]:
    """Lay the panel out and wire it.

    Args:
        predictor: ours, for the other methods.
        reply: the ``Reply`` on the page, None without one.

    Returns:
        What to run once a new answer is shown, and the components it empties.
    """
    others = parse_peers(os.environ.get("VALM_COMPARE", ""))  # set by who runs the page, never by a visitor
    choices = [(label("model") + f": {name}", f"model:{name}") for name in others]
    choices += [(text, name) for text, name in callbacks.method_choices() if name != DEFAULT_METHOD]

    @functools.cache
    def peer(choice: str):
        if choice.startswith("model:"):
            name = choice.removeprefix("model:")
            return load_peer(name, others[name])
        return ValmPeer("", predictor, choice)

    with gr.Accordion(label("Compare"), open=False, elem_id="compare"):
        gr.HTML(label(HELP), elem_classes="fine-print")
        other = gr.Dropdown(
            choices, value=choices[0][1], label=label("Beside our answer and map"), elem_id="compare-with"
        )
        button = gr.Button(label("Compare"), elem_id="compare-button")
        told = gr.HTML(elem_id="compare-told")
        with gr.Row(elem_id="compare-pictures"):
            size = {"interactive": False, "visible": False, "format": "jpeg", "min_width": 140}
            pictures = [gr.Image(label=label("ours"), **size), gr.Image(label=label("the other"), **size)]

    def empty() -> dict:
        return {told: "", **{picture: gr.update(value=None, visible=False) for picture in pictures}}

    def compare(current, choice) -> dict:
        if current is None:
            return {told: notice_html(callbacks.NO_QUESTION)}
        try:
            theirs = peer(choice).ask(current.photo.picture, current.prediction.question)
            if not theirs.name:  # another method of ours
                name = say("ours, {method}", method=callbacks.method_label(choice))
                theirs = dataclasses.replace(theirs, name=name)
        except Exception as error:
            return {**empty(), told: notice_html(callbacks.message_for(error))}
        ours = Told(
            say("ours"),
            current.prediction.answers,
            current.explanation,
            say("map: {method}", method=callbacks.method_label(current.explanation.method)),
        )
        return {told: told_html([ours, theirs])} | {
            picture: gr.update(
                value=overlay(current.photo.picture, side.explanation, (), Look()),
                label=side.name,
                visible=True,
            )
            for picture, side in zip(pictures, (ours, theirs), strict=True)
        }

    parts = [told, *pictures]
    button.click(compare, [reply, other], parts, concurrency_id="model", concurrency_limit=1, show_progress_on=told)
    return empty, parts


def told_html(sides: list[Told]) -> str:
    """Every side's answers and how its map was made, as columns."""
    columns = side_by_side_html([(side.name, side.answers, side.note) for side in sides])
    return f'<div class="comparison" role="status">{columns}</div>'
