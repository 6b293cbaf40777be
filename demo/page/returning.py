"""The callbacks that bring back what was: an earlier question or photo, a reloaded visit, what a link names."""

from pathlib import Path

import gradio as gr

from demo.page.events import Page
from demo.rendering.wording import notice_html
from demo.visit import asking, browser_storage, conversation, history
from demo.visit.examples import example_named
from valm_core.outputs import InputError


class Returning:
    """What brings back earlier states of one page; see ``Page`` for the order of values and for what comes back."""

    def __init__(self, page: Page):
        self.page, self.predictor, self.examples = page, page.predictor, page.examples
        self.memory, self.ask = page.memory, page.ask

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
        there = Path(before.path).is_file()  # unless it lay here for longer than shutdown.FILE_SECONDS
        return {
            self.ask.photo: before.path if there else before.photo.picture,
            **self.page.offer(self.page.questions_for(before.photo)),
            **self.back_to(before.replies[-1], before.path, toward, *wanted),
        }

    def back_to(self, current, path, toward, *wanted) -> dict:
        """An earlier reply, as it was after its question; the next one may follow it."""
        return {
            self.memory.opened: current.photo,
            self.memory.asked: asking.Outcome(path, current),
            self.ask.question: current.prediction.question,
            **self.prompt_of(current.prediction.question, current.prediction.prompt),
            **self.page.present(current, asking.Selection(), "", toward, None, None, *wanted),
        }

    def prompt_of(self, question: str, prompt: str | None) -> dict:
        """What a question was asked by, in the prompt's box, for the next one; opened unless it is the model's own."""
        if "write" not in self.predictor.offers:
            return {}
        shown = conversation.prompt_shown(self.predictor, question, prompt)
        changed = shown != self.predictor.facts["prompt_without_template"]
        return {self.ask.prompt: shown} | ({self.ask.prompt_box: gr.update(open=True)} if changed else {})

    def open_page(self, kept, request: gr.Request) -> dict:
        """What a page that was just opened is to show: what its address names, else what its tab kept.

        A reload of a page that a link opened brings back all that was asked on it, the link's question too.
        """
        opened = self.open_link(request)
        link = opened.get(self.memory.linked)
        if not kept or (link and not browser_storage.has_asked(kept, link.photo, link.question)):
            return opened
        notice = gr.skip() if link else opened[self.ask.notice]
        return {self.memory.kept_by_tab: kept, self.ask.notice: notice}

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
            **self.page.offer(self.page.questions_for(current.photo)),
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
            self.ask.notice: "",
            **self.prompt_of("", None),
            **self.page.forget_photo(None, None, ()),
        }

    def open_link(self, request: gr.Request) -> dict:
        """The example and the question that the page's address names."""
        try:
            link = history.read_link(request.query_params, self.examples)
        except InputError as error:
            return {self.ask.notice: notice_html(asking.message_for(error))}
        if link is None:
            return {self.ask.notice: gr.skip()}
        example = example_named(self.examples, link.photo)
        return {
            self.memory.linked: link,
            self.ask.photo: str(example.path),
            self.ask.question: link.question,
            **self.prompt_of(link.question, link.prompt),
            **self.page.offer(example.questions),
        }
