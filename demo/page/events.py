"""The page's callbacks: what each event takes from the components and gives back; asking.py does the work."""

import dataclasses
from pathlib import Path

import gradio as gr
from markupsafe import escape

from demo.languages.translate import say
from demo.page.layout import Parts
from demo.rendering.answers import announcement_text, is_doubted, lead_html, likely_html, sure_html
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
from demo.visit import asking, browser_storage, conversation, history
from demo.visit.asking import ALL
from valm_core.captions.captioner import Captioner
from valm_core.outputs import InputError, Predictor


class Page:
    """The callbacks of one page around one predictor; they keep nothing about the visitors, who all share them.

    Values come in the order in which wiring.py lists the inputs; ``wanted`` stands for the rest of ``Parts.look``.
    What they return are updates by component. A skip of any one component says that nothing is to change.
    """

    def __init__(
        self,
        predictor: Predictor,
        examples: tuple[asking.Example, ...],
        parts: Parts,
        captioner: Captioner | None = None,
    ):
        self.predictor, self.examples, self.parts, self.captioner = predictor, examples, parts, captioner
        self.memory, self.ask, self.result = parts.memory, parts.ask, parts.result
        self.map, self.doubt, self.panels = parts.map, parts.doubt, parts.panels

    # The photo

    def choose(self, example: asking.Example, histories) -> dict:
        """An example's photo and its first question."""
        return {
            **self.forget_photo(None, None, histories),
            **self.offer(example.questions),
            self.ask.photo: str(example.path),
            self.ask.question: example.questions[0],
        }

    def forget_photo(self, path, outcome, histories) -> dict:
        """The page without its result, since the photo is another."""
        if path and outcome is not None and outcome.path == path:  # a quick question was answered before us
            return {self.memory.opened: gr.skip()}
        strip = history.strip_html(histories, history.already_opened(histories, path))
        cleared = {self.memory.opened: None, **self.no_result(), self.ask.strip: strip}
        return {**cleared, **self.offer(asking.GENERAL_QUESTIONS)}

    def no_result(self) -> dict:
        """The page as it is before the first question."""
        return {
            self.memory.reply: None,
            self.memory.selected: asking.Selection(),
            self.ask.notice: notice_html(""),
            self.result.empty: gr.update(visible=True),
            self.result.whole: gr.update(visible=False),
            self.result.sentence: "",
            self.result.asked_as: "",
            self.result.answers: "",
            self.result.announcement: "",
            self.doubt.evidence: "",
            **dict.fromkeys([*self.parts.drawing, self.result.history], ""),
            self.map.slider: gr.update(value=None, visible=False),
            self.map.clear: gr.update(interactive=False),
        }

    def encode(self, path, known, histories) -> dict:
        """The new photo, made ready for questions while the person types one."""
        known = history.already_opened(histories, path) or known
        try:
            photo = asking.open_photo(self.predictor, path, known) if path else None
            return {self.memory.opened: photo, **self.offer(self.questions_for(photo))}
        except Exception as error:
            return {self.ask.photo: None, self.ask.notice: notice_html(asking.message_for(error))}

    def questions_for(self, photo: asking.OpenedPhoto | None) -> tuple[str, ...]:
        """The questions that come with an example, and those that fit any other photo."""
        example = history.example_of(self.examples, photo) if photo else None
        return example.questions if example else conversation.suggest(self.predictor, photo)

    def offer(self, questions) -> dict:
        """Questions on the buttons below the question; a photo may have fewer than there are buttons."""
        count = len(self.ask.suggestions)
        texts = [*questions][:count] + [None] * (count - len(questions))
        return {
            button: gr.update(value=text or "", visible=text is not None)
            for button, text in zip(self.ask.suggestions, texts, strict=True)
        }

    # A question

    def answer(self, path, known, text, histories, last, visit) -> dict:
        """The answer to what was typed, perhaps a follow-up of the question before."""
        known = history.already_opened(histories, path) or known
        outcome = conversation.answer(self.predictor, path, known, text, last, captioner=self.captioner)
        return self.answered(outcome, last, visit)

    def answer_exactly(self, path, known, current, histories, last, visit) -> dict:
        """The answer to what was typed, word for word, where something else was asked in its place."""
        if current is None:
            return {self.memory.asked: gr.skip()}
        known, typed = history.already_opened(histories, path) or known, conversation.shown_question(current)
        outcome = conversation.answer(self.predictor, path, known, typed, exactly=True)
        return self.answered(outcome, last, visit)

    def answer_link(self, link, path, known, last, visit) -> dict:
        """The answer to what the page's address asks."""
        if not link:
            return {self.memory.asked: gr.skip()}
        return self.answered(history.follow_link(self.predictor, path, known, link), last, visit)

    def answered(self, outcome, last, visit) -> dict:
        """What became of a question, kept for ``show`` and ``remember`` beside those before it."""
        opened = {self.memory.opened: outcome.reply.photo} if outcome.reply else {}
        return {self.memory.asked: conversation.in_order(outcome, last, visit), **opened}

    def show(self, outcome, path, visit, toward, in_layer, in_head, *wanted) -> dict:
        """The answer on the page, or why there is none."""
        # Another photo came meanwhile, or the visit was forgotten: the page stays as it is.
        if outcome is None or outcome.path != path or outcome.visit != visit:
            return {self.memory.reply: gr.skip()}
        offered = self.offer(outcome.suggestions) if outcome.suggestions else {}
        if outcome.reply is None:  # an earlier answer on this photo stays
            return {self.ask.notice: outcome.described + notice_html(outcome.message), **offered}
        shown = self.present(outcome.reply, asking.Selection(), outcome.message, toward, None, None, *wanted)
        shown[self.ask.notice] = outcome.described + shown[self.ask.notice]
        return {**shown, **offered}

    def show_link(self, outcome, link, path, visit, toward, in_layer, in_head, *wanted) -> dict:
        """As ``show``, with what the link selects."""
        if link is None or outcome is None or outcome.path != path or outcome.reply is None or outcome.visit != visit:
            return self.show(outcome, path, visit, toward, in_layer, in_head, *wanted)
        selection, *place, missing = history.selected_by(link, outcome.reply)
        message = " ".join(filter(None, (outcome.message, missing)))
        return {
            self.doubt.direction: link.direction,
            **self.present(outcome.reply, selection, message, link.direction, *place, *wanted),
        }

    def present(self, current, selection, message, toward, in_layer, in_head, *wanted) -> dict:
        """A reply on the page, as it is after a question."""
        messages = message, self.predictor.notice
        texts = [candidate.text for candidate in current.prediction.answers]
        doubt = self.doubt
        return {
            self.memory.reply: current,
            self.memory.selected: selection,
            self.ask.notice: notice_html(" ".join(filter(None, messages))),
            self.result.empty: gr.update(visible=False),
            self.result.whole: gr.update(visible=True),
            self.result.sentence: self.sentence_of(current),
            self.result.asked_as: conversation.asked_as_html(current.understood),
            self.result.answers: likely_html(current.prediction, asking.right_answer(self.examples, current)),
            self.result.announcement: escape(announcement_text(current.prediction)),
            doubt.evidence: self.evidence_of(current),
            doubt.explained: gr.update(choices=texts, value=current.answer),
            doubt.method: known_method(current),
            doubt.refusal: "",
            **self.offer_heads(current, in_layer, in_head),
            **self.draw(current, selection, toward, in_layer, in_head, *wanted),
            # Here, not as events of their own: those could overtake a quick click.
            **self.panels.prepare_what_if(current),
            **self.panels.empty_compare(),
        }

    def sentence_of(self, current) -> str:
        """The sentence that leads: the likeliest answer, and what to think of it."""
        return lead_html(current.prediction, self.record_of(current), current.evidence)

    def evidence_of(self, current) -> str:
        """What speaks for and against the answer and its map."""
        prediction = current.prediction
        sure = sure_html(prediction, self.record_of(current))
        return evidence_html(current.evidence, prediction.gate, is_doubted(prediction), sure, prediction.calibrated)

    def record_of(self, current):
        """How often answers as sure as the likeliest one were right."""
        return self.predictor.track_record(current.prediction.answers[0])

    # The map

    def offer_heads(self, current, in_layer, in_head) -> dict:
        """The menus of layers and heads as they are for the map on the page; a method without heads has all only."""
        layers, width = current.explanation.text_to_image.shape[:2]
        place = asking.place_in(current.explanation, in_layer, in_head)
        layer, head = (ALL if index is None else index for index in place)
        some = asking.has_heads(current.explanation)
        offered = ((self.doubt.layer, layers, layer), (self.doubt.head, width, head))
        return {
            menu: gr.update(choices=numbered(count if some else 0), value=value, visible=some and count > 1)
            for menu, count, value in offered
        }

    def draw(self, current, selection, toward, in_layer, in_head, percent, raw, same, shape, counted) -> dict:
        """The map and all that is read with it, from the arrays of the reply."""
        if current is None:  # the visitor's state was dropped meanwhile, or a new photo arrived
            return dict.fromkeys(self.parts.drawing, gr.skip())
        place = asking.place_in(current.explanation, in_layer, in_head)
        part = asking.part_of(current.explanation, toward, *place)
        wanted = Look(percent / 100, raw, same)
        picture, words, cells = current.photo.picture, selection.words, selection.cells
        html = map_html(picture, part, words, cells, wanted, shape == "side_by_side", toward)
        slider = gr.update(visible=False)
        if shape == "slider":
            slider = gr.update(value=(picture, overlay(picture, part, words, wanted)), visible=True)
        heads = no_heads_html(current.explanation.method)
        if asking.has_heads(current.explanation):
            every = asking.all_heads(current.explanation, toward)
            heads = heads_html(every, words, cells, wanted, place, counted)
        told_of_word = {} if words else {self.map.word_verdict: ""}  # of selected ones ``show_judged`` tells
        return {
            **told_of_word,
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
        """The evidence for the map of the one word that is selected, kept for ``show_judged``."""
        return asking.judge_word(self.predictor, current, selection)

    def show_judged(self, judged, current, selection):
        """Whether it mattered where the selected word looked; nothing where something else is selected meanwhile."""
        if judged is None or current is None or judged.reply is not current or selection.words != judged.words:
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
        if current is None or not asking.has_heads(current.explanation):
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
        if outcome.reply is current:  # a menu was only passed by Tab, or tells of one choice twice
            return {doubt.refusal: ""}
        current = outcome.reply
        return {
            reply: current,
            doubt.refusal: "",
            doubt.explained: current.answer,
            self.result.sentence: self.sentence_of(current),
            doubt.evidence: self.evidence_of(current),
            **self.offer_heads(current, in_layer, in_head),
            **self.draw(current, selection, toward, in_layer, in_head, *wanted),
        }

    # Back to what was asked, and links

    def remember(self, histories, path, current, outcome=None, visit=-1) -> dict:
        """The reply among those of this visit, and what a quick next question kept from the page."""
        histories = history.remember(history.catch_up(histories, path, outcome, visit), path, current)
        return {
            self.memory.kept: histories,
            self.result.history: history.history_html(histories, current),
            self.ask.strip: history.strip_html(histories, current.photo if current else None),
            self.memory.visit: browser_storage.to_keep(histories, current, self.examples),
        }

    def back_to_question(self, event: gr.EventData, histories, current, toward, in_layer, in_head, *wanted) -> dict:
        """An earlier question about this photo."""
        before = history.history_of(histories, current.photo) if current else None
        place = asking.select((), event._data.get("items"), False, len(before.replies) if before else 0)
        if before is None or not place:
            return {self.memory.reply: gr.skip()}
        return self.back_to(before.replies[place[0]], before.path, toward, *wanted)

    def back_to_photo(self, event: gr.EventData, histories, toward, in_layer, in_head, *wanted) -> dict:
        """An earlier photo with its last question."""
        place = asking.select((), event._data.get("items"), False, len(histories))
        if not place:
            return {self.memory.reply: gr.skip()}
        before = histories[place[0]]
        there = Path(before.path).is_file()  # unless it lay here for longer than wiring.FILE_SECONDS
        return {
            self.ask.photo: before.path if there else before.photo.picture,
            **self.offer(self.questions_for(before.photo)),
            **self.back_to(before.replies[-1], before.path, toward, *wanted),
        }

    def back_to(self, current, path, toward, *wanted) -> dict:
        """An earlier reply, as it was after its question; the next one may follow it."""
        return {
            self.memory.opened: current.photo,
            self.memory.asked: asking.Outcome(path, current),
            self.ask.question: current.prediction.question,
            **self.present(current, asking.Selection(), "", toward, None, None, *wanted),
        }

    def open_page(self, kept, request: gr.Request) -> dict:
        """What a page that was just opened is to show: what its address names, else what its tab kept."""
        opened = self.open_link(request)
        return opened if self.memory.linked in opened or not kept else {**opened, self.memory.kept_by_tab: kept}

    def come_back(self, kept, toward, in_layer, in_head, *wanted) -> dict:
        """A visit as it was before the page was loaded again, see ``browser_storage.bring_back``."""
        histories, current = browser_storage.bring_back(self.predictor, self.examples, kept) if kept else ((), None)
        if current is None:
            lost = notice_html(asking.LOST_PHOTO) if kept and '"upload"' in kept else gr.skip()
            return {self.memory.kept: histories or gr.skip(), self.ask.notice: lost}
        of_photo = history.history_of(histories, current.photo)
        return {
            self.memory.kept: histories,
            self.ask.photo: of_photo.path if of_photo else gr.skip(),
            **self.offer(self.questions_for(current.photo)),
            **self.back_to(current, of_photo.path if of_photo else None, toward, *wanted),
        }

    def forget_visit(self, visit=0) -> dict:
        """The page as it was when it was first opened, and nothing kept in the tab.

        What is still being answered carries the former number of the visit, so that it doesn't come back.
        """
        return {
            self.memory.visit_number: visit + 1,
            self.memory.kept: (),
            self.memory.asked: None,
            self.memory.visit: "",
            self.ask.photo: None,
            self.ask.question: "",
            **self.forget_photo(None, None, ()),
        }

    def open_link(self, request: gr.Request) -> dict:
        """The example and the question that the page's address names."""
        try:
            link = history.read_link(request.query_params, self.examples)
        except InputError as error:
            return {self.ask.notice: notice_html(asking.message_for(error))}
        if link is None:
            return {self.ask.notice: gr.skip()}
        example = next(example for example in self.examples if example.path.stem == link.photo)
        return {
            self.memory.linked: link,
            self.ask.photo: str(example.path),
            self.ask.question: link.question,
            **self.offer(example.questions),
        }


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
