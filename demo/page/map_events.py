"""The callbacks of the map: what is selected in it, how it is looked at, another explanation."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import escape

from demo.languages.translate import say
from demo.page.parts import Parts
from demo.rendering.answers import is_doubted, lead_html, sure_html
from demo.rendering.evidence import evidence_html
from demo.rendering.map import (
    colour_bar_html,
    heads_html,
    map_description,
    map_html,
    no_heads_html,
    served_html,
)
from demo.rendering.overlay import WORD_COLOURS, Look, overlay
from demo.rendering.sentences import word_sentence
from demo.rendering.wording import notice_html
from demo.rendering.words import subject_html, words_html
from demo.visit import asking, history
from demo.visit.map_parts import ALL, all_heads, has_heads, part_of, place_in
from demo.visit.printed import with_read
from valm_core.outputs import Predictor
from valm_core.stopping import Stopped


class MapEvents:
    """What happens on the map of one page; see ``Page`` for the order of values and for what comes back."""

    def __init__(self, predictor: Predictor, parts: Parts, giving_way: Callable[[Callable], Any]):
        self.predictor, self.parts, self.giving_way = predictor, parts, giving_way
        self.memory, self.result, self.map, self.doubt = parts.memory, parts.result, parts.map, parts.doubt

    def offer_heads(self, current, in_layer, in_head) -> dict:
        """The menus of layers and heads as they are for the map on the page; a method without heads has all only."""
        layers, width = current.explanation.text_to_image.shape[:2]
        place = place_in(current.explanation, in_layer, in_head)
        layer, head = (ALL if index is None else index for index in place)
        some = has_heads(current.explanation)
        offered = ((self.doubt.layer, layers, layer), (self.doubt.head, width, head))
        return {
            menu: gr.update(choices=numbered(count if some else 0), value=value, visible=some and count > 1)
            for menu, count, value in offered
        }

    def draw(self, current, selection, toward, in_layer, in_head, percent, raw, same, shape, counted) -> dict:
        """The map and all that is read with it, from the arrays of the reply."""
        if current is None:  # the visitor's state was dropped meanwhile, or a new photo arrived
            return dict.fromkeys(self.parts.map_outputs, gr.skip())
        place = place_in(current.explanation, in_layer, in_head)
        part = part_of(current.explanation, toward, *place)
        wanted = Look(percent / 100, raw, same)
        picture, words, cells = current.photo.picture, selection.words, selection.cells
        html = map_html(picture, part, words, cells, wanted, shape == "side_by_side", toward)
        slider = gr.update(visible=False)
        if shape == "slider":
            slider = gr.update(value=(picture, overlay(picture, part, words, wanted)), visible=True)
        heads = no_heads_html(current.explanation.method)
        if has_heads(current.explanation):
            every = all_heads(current.explanation, toward)
            heads = heads_html(every, words, cells, wanted, place, counted)
        no_word_verdict = {} if words else {self.map.word_verdict: ""}  # of selected ones ``show_judged`` tells
        return {
            **no_word_verdict,
            self.map.subject: subject_html(current.answer, part, toward, *place, words, quiet=True),
            self.map.words: words_html(part, words),
            self.map.clear: gr.update(interactive=bool(words or cells)),
            self.map.overlay: gr.update(value=html, visible=shape != "slider"),
            self.map.slider: slider,
            self.map.description: described(map_description(part, words)),
            self.map.colour_bar: colour_bar_html(part, words, wanted),
            self.result.served: served_html(part, cells, toward),
            self.doubt.heads: heads,
        }

    def select_words(self, event: gr.EventData, current, selection, more, *wanted) -> dict:
        """After a click on a word."""
        return self.redraw(current, selection, "words", more, event, wanted)

    def judge_word(self, current, selection) -> asking.JudgedWord | None:
        """The evidence for the map of the one word that is selected, kept for ``show_judged``; as ``Page.weigh``."""
        try:
            return self.giving_way(partial(asking.judge_word, self.predictor, current, selection))
        except Stopped:
            return None

    def show_judged(self, judged, current, selection):
        """Whether it mattered where the selected word looked; nothing where something else is selected meanwhile."""
        if judged is None or current is None or selection.words != judged.words:
            return ""
        if judged.reply.explanation is not current.explanation:
            return ""
        return f'<p class="fine-print" role="status">{escape(word_sentence(current.explanation, judged.evidence))}</p>'

    def select_cells(self, event: gr.EventData, current, selection, more, *wanted) -> dict:
        """After a click on the photo."""
        return self.redraw(current, selection, "cells", more, event, wanted)

    def clear_selection(self, current, *wanted) -> dict:
        """Nothing is selected any more."""
        if current is None:
            return {self.memory.selected: gr.skip()}
        selection = asking.Selection()
        return {self.memory.selected: selection, **self.draw(current, selection, *wanted)}

    def redraw(self, current, selection, kind, more, event, wanted) -> dict:
        """The map with what is selected now."""
        if current is None:
            return {self.memory.selected: gr.skip()}
        data = event._data
        count = {"words": len(current.explanation.tokens), "cells": current.explanation.token_to_patch.shape[1]}
        most = len(WORD_COLOURS) if kind == "words" else None
        add = more or bool(data.get("add"))
        new = asking.select(getattr(selection, kind), data.get("items"), add, count[kind], most)
        selection = dataclasses.replace(selection, **{kind: new})
        return {self.memory.selected: selection, **self.draw(current, selection, *wanted)}

    def select_head(self, event: gr.EventData, current, selection, toward, in_layer, in_head, *wanted) -> dict:
        """After a click on a small map of "All layers and heads": that head, or all of them for the same once more."""
        if current is None or not has_heads(current.explanation):
            return {self.memory.selected: gr.skip()}
        layers, width = current.explanation.text_to_image.shape[:2]
        new = asking.select((), event._data.get("items"), False, layers * width)
        place = divmod(new[0], width) if new and divmod(new[0], width) != (in_layer, in_head) else (ALL, ALL)
        drawn = self.draw(current, selection, toward, *place, *wanted)
        return {self.doubt.layer: place[0], self.doubt.head: place[1], **drawn}

    # Another explanation

    def explain_again(self, current, last, newest, histories, name, text):
        """The map by another method or of another answer, kept for ``show_again``."""
        if current is None or is_passed_by(current, newest, histories):
            return None
        if last is not None and last.reply is not None and last.asked.prediction is current.prediction:
            current = last.reply  # newer than what the page shows: a menu may tell of one choice twice
        return asking.explain_again(self.predictor, current, name, text)

    def show_again(self, outcome, current, selection, toward, in_layer, in_head, *wanted) -> dict:
        """The other explanation on the page, or why there is none."""
        reply, doubt = self.memory.reply, self.doubt
        if outcome is None or current is None or outcome.asked.prediction is not current.prediction:
            return {reply: gr.skip()}  # another question was answered meanwhile
        if outcome.reply is None:  # the menus go back to what the map still shows
            back = gr.update(value=current.answer), gr.update(value=known_method(current))
            return {
                doubt.refusal: notice_html(outcome.message),
                doubt.explained: back[0],
                doubt.method: back[1],
            }
        if outcome.reply.explanation is current.explanation:  # a menu was passed by Tab, or tells twice
            return {doubt.refusal: ""}
        read = current.read  # perhaps since this explanation was asked for
        current = outcome.reply if read is None else with_read(outcome.reply, read)
        return {
            reply: current,
            doubt.refusal: "",
            doubt.explained: current.answer,
            self.result.sentence: sentence_of(self.predictor, current),
            doubt.evidence: evidence_of(self.predictor, current),
            **self.offer_heads(current, in_layer, in_head),
            **self.draw(current, selection, toward, in_layer, in_head, *wanted),
            **self.parts.panels.empty_compare(current),
        }


def sentence_of(predictor: Predictor, current: asking.Reply) -> str:
    """The sentence that leads: the likeliest answer, and what to think of it."""
    prediction = current.prediction
    read = current.read is not None and current.read.answer is not None
    record = predictor.track_record(prediction.answers[0])
    return lead_html(prediction, record, current.evidence, read, current.awaited)


def evidence_of(predictor: Predictor, current: asking.Reply) -> str:
    """What speaks for and against the answer and its map."""
    prediction = current.prediction
    sure = sure_html(prediction, predictor.track_record(prediction.answers[0]))
    return evidence_html(current.evidence, prediction.gate, is_doubted(prediction), sure, prediction.calibrated)


def is_passed_by(current: asking.Reply, newest: asking.Outcome | None, histories) -> bool:
    """Whether a later question about the photo is answered, but its answer isn't on the page yet: the next step of the
    page puts it there, perhaps before what is made from ``current`` comes back, perhaps after it.
    """
    later = newest.reply if newest else None
    if later is None or later.prediction is current.prediction or later.photo.digest != current.photo.digest:
        return False
    kept = history.history_of(histories, later.photo)
    return kept is None or all(reply.prediction is not later.prediction for reply in kept.replies)


def known_method(current: asking.Reply) -> str:
    """What the menu of methods shows for a reply."""
    return current.explanation.method


def described(text: str) -> str:
    """A map in words, read out by screen readers whenever it changes."""
    return f'<p role="status" aria-live="polite">{escape(text)}</p>'


def numbered(count: int) -> list[tuple[str, int]]:
    """What a menu of layers or heads offers: all of them, then each by its number counted from 1."""
    return [(say("all"), ALL), *((str(index + 1), index) for index in range(count))]
