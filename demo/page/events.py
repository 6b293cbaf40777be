"""The callbacks of photo and question: what each event takes from the components and gives back.

asking.py does the work; map_events.py has what happens on the map, returning.py what brings back earlier answers.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr
from markupsafe import escape

from demo.languages.translate import say
from demo.more.results import printed_html, reading_html
from demo.page.map_events import MapEvents, evidence_of, known_method, sentence_of
from demo.page.parts import Parts
from demo.rendering.answers import announcement_text, likely_html, writing_html
from demo.rendering.wording import notice_html
from demo.visit import asking, browser_storage, conversation, history
from demo.visit.examples import Example, example_of, right_answer
from demo.visit.printed import QUESTIONS, PageReader, known_page, read_printed, wants_reading, with_read
from valm_core.captions.captioner import Captioner
from valm_core.outputs import Predictor
from valm_core.stopping import Stopped


class Page:
    """The callbacks of one page around one predictor; they keep nothing about the visitors, who all share them.

    Values come in the order in which wiring.py lists the inputs; ``wanted`` is what is left of ``Parts.look_inputs``.
    What they return are updates by component. A skip of any one component says that nothing is to change.
    """

    def __init__(
        self,
        predictor: Predictor,
        examples: tuple[Example, ...],
        parts: Parts,
        captioner: Captioner | None = None,
        reader: PageReader | None = None,
        giving_way: Callable[[Callable], Any] = lambda work: work(),
    ):
        self.predictor, self.examples, self.parts, self.captioner = predictor, examples, parts, captioner
        self.reader, self.giving_way = reader, giving_way
        self.memory, self.ask, self.result = parts.memory, parts.ask, parts.result
        self.map, self.doubt, self.panels = parts.map, parts.doubt, parts.panels
        self.on_map = MapEvents(predictor, parts, giving_way)

    # The photo

    def choose(self, example: Example, histories) -> dict:
        """An example's photo and its first question."""
        return {
            **self.forget_photo(None, None, histories),
            **self.offer(example.questions),
            self.ask.notice: "",
            self.ask.photo: str(example.path),
            self.ask.question: example.questions[0],
        }

    def forget_photo(self, path, outcome, histories) -> dict:
        """The page without its result, since the photo is another; a message stays, which may be about that photo."""
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
            self.result.writing: "",
            self.result.empty: gr.update(visible=True),
            self.result.whole: gr.update(visible=False),
            self.result.printed: "",
            self.result.sentence: "",
            self.result.asked_as: "",
            self.result.answers: "",
            self.result.announcement: "",
            self.doubt.evidence: "",
            **dict.fromkeys([*self.parts.map_outputs, self.result.history], ""),
            self.map.slider: gr.update(value=None, visible=False),
            self.map.clear: gr.update(interactive=False),
        }

    def encode(self, path, known, histories) -> dict:
        """The new photo, made ready for questions while the person types one; or which file is refused, and why."""
        known = history.already_opened(histories, path) or known
        try:
            photo = asking.open_photo(self.predictor, path, known) if path else None
            return {self.memory.refused: "", self.memory.opened: photo, **self.offer(self.questions_for(photo))}
        except Exception as error:
            said = notice_html(asking.message_for(error))
            return {self.memory.refused: json.dumps({"path": path, "said": said})}

    def questions_for(self, photo: asking.OpenedPhoto | None) -> tuple[str, ...]:
        """The questions that come with an example, and those that fit any other photo."""
        example = example_of(self.examples, photo) if photo else None
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

    def write(self, path, known, text, histories, last, visit, prompt):
        """As ``answer``, of a model that writes: its text as far as it is written comes first."""
        known = history.already_opened(histories, path) or known
        for part in conversation.write(self.predictor, path, known, text, last, self.prompt_in(prompt)):
            if isinstance(part, str):
                yield {self.result.writing: writing_html(part)}
            else:
                yield self.answered(part, last, visit)

    def prompt_in(self, typed) -> str | None:
        """What a visitor wants the model asked by; None for its own prompt."""
        own, prompt = self.predictor.facts.get("prompt_without_template"), (typed or "").strip()
        return prompt if prompt and prompt != str(own).strip() else None

    def answer_exactly(self, path, known, current, histories, last, visit) -> dict:
        """The answer to what was typed, word for word, where something else was asked in its place."""
        if current is None:
            return {self.memory.asked: gr.skip()}
        known, typed = history.already_opened(histories, path) or known, conversation.shown_question(current)
        prompt = asking.prompt_of(current.photo)
        outcome = conversation.answer(self.predictor, path, known, typed, exactly=True, prompt=prompt)
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
            said = {self.ask.notice: outcome.described + notice_html(outcome.message), self.result.writing: ""}
            return {**said, self.result.announcement: escape(outcome.said), **offered}
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
            self.result.writing: "",
            self.result.empty: gr.update(visible=False),
            self.result.whole: gr.update(visible=True),
            self.result.printed: self.printed_of(current),
            self.result.sentence: sentence_of(self.predictor, current),
            self.result.asked_as: conversation.asked_as_html(current.understood),
            self.result.answers: likely_html(current.prediction, right_answer(self.examples, current)),
            self.result.announcement: escape(announcement_text(current.prediction)),
            doubt.evidence: evidence_of(self.predictor, current),
            doubt.explained: gr.update(choices=texts, value=current.answer),
            doubt.method: known_method(current),
            doubt.refusal: "",
            **self.on_map.offer_heads(current, in_layer, in_head),
            **self.on_map.draw(current, selection, toward, in_layer, in_head, *wanted),
            # Here, not as events of their own: those could overtake a quick click.
            **self.panels.prepare_what_if(current),
            **self.panels.empty_compare(current),
        }

    # Whether it mattered where the model looked

    def weigh(self, current, weighed):
        """The reply with the evidence that it awaits, kept for ``show_found``.

        It takes many times what an answer does, so it gives way as long as anybody waits for one.
        """
        if current is None or not current.awaited or asking.with_evidence(current, weighed) is not current:
            return gr.skip()
        try:
            return self.giving_way(partial(asking.weigh, self.predictor, current))
        except Stopped:
            return gr.skip()

    def show_found(self, weighed, read, current, histories, path) -> dict:
        """What was found out about the reply that the page shows: its evidence, what is read on its photo, or both.

        They come in lines of their own, each of which would undo what the other showed while it began: so each shows
        all that is there by then.
        """
        new = asking.with_evidence(current, weighed) if current else None
        if new and new.read is None and read is not None and read.prediction is new.prediction:
            new = with_read(new, read.read)
        if new is None or new is current:
            return {self.memory.reply: gr.skip()}
        shown = {
            self.memory.reply: new,
            self.memory.kept: history.remember(histories, path, new),
            self.result.sentence: sentence_of(self.predictor, new),
        }
        if new.evidence is not current.evidence:
            shown[self.doubt.evidence] = evidence_of(self.predictor, new)
        if new.read is not current.read:
            shown |= self.show_read(new)
        return shown

    # A printed page

    def printed_of(self, current) -> str:
        """What was read on the photo of a reply, or that it is being read; nothing for nearly all photos."""
        if current.read is not None:
            return printed_html(current.read)
        if self.reader is None or not wants_reading(current.prediction):
            return ""
        return reading_html()

    def read(self, path, current, histories):
        """The reply with what is read on its photo, kept for ``show_found``; what was read before stays."""
        if self.reader is None or current is None or current.read is not None or not wants_reading(current.prediction):
            return gr.skip()
        before = history.history_of(histories, current.photo)
        # The file is larger than what is kept of it; by now it may be that of another photo.
        document = path if asking.holds(path, current.photo) else current.photo.picture
        known = known_page(before.replies) if before else None
        return with_read(current, read_printed(self.reader, document, current.prediction.question, known))

    def show_read(self, current) -> dict:
        """What was read, in place of the warning that the photo is unfamiliar."""
        shown = {self.result.printed: printed_html(current.read)}
        if current.read.answer is None:
            return shown
        said = say("Read on the page: {answer}", answer=current.read.answer.text)
        message = f"{announcement_text(current.prediction)} {said}"
        return {**shown, self.result.announcement: escape(message), **self.offer(QUESTIONS)}

    def remember(self, histories, path, current, outcome=None, visit=-1) -> dict:
        """The reply among those of this visit, and what a quick next question kept from the page."""
        histories = history.remember(history.catch_up(histories, path, outcome, visit), path, current)
        return {
            self.memory.kept: histories,
            self.result.history: history.history_html(histories, current),
            self.ask.strip: history.strip_html(histories, current.photo if current else None),
            self.memory.visit: browser_storage.to_keep(histories, current, self.examples),
        }
