"""The parts of the page by name: which components each has, and which of them change together."""

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from demo.rendering.photo_input import PhotoInput, ShownSlider


@dataclass(frozen=True)
class Memory:
    """What the page keeps of one visitor between events."""

    opened: gr.State  # OpenedPhoto: encoded once, asked often
    refused: gr.Textbox  # the last file that is no photo, and what is to be said of it, as JSON
    asked: gr.State  # Outcome of the last question, perhaps of a photo that is gone
    reply: gr.State  # Reply on the page: what every redraw is made from
    again: gr.State  # Again: the last explanation of another answer or method
    selected: gr.State  # Selection: words and cells
    judged: gr.State  # JudgedWord: the last evidence for the map of one word
    kept: gr.State  # PhotoHistory of each photo of this visit, to go back to
    linked: gr.State  # Link that the page was opened with
    visit_number: gr.State  # raised when the visit is forgotten
    visit: gr.Textbox  # what the tab's own storage is to keep of this visit, see browser_storage.py
    kept_by_tab: gr.State  # what it kept before the page was loaded again
    weighed: gr.State  # Reply: the last one whose evidence was found out
    read: gr.State  # Reply that the last photo of a printed page was read for


@dataclass(frozen=True)
class AskColumn:
    """The photo, where it comes from, and the question about it."""

    photo: PhotoInput
    strip: gr.HTML  # the photos of this visit
    example_buttons: list[gr.Button]
    question: gr.Textbox
    prompt: gr.Textbox  # of a model that writes
    prompt_box: gr.Accordion  # around it
    ask_button: gr.Button
    suggestions: list[gr.Button]
    notice: gr.HTML

    @property
    def asked(self) -> list:
        """What an earlier question, or one that a link brings, is put into."""
        return [self.photo, self.question, self.prompt, self.prompt_box, *self.suggestions]


@dataclass(frozen=True)
class Result:
    """The answers, and what stands in their place before there are any."""

    empty: gr.HTML
    writing: gr.HTML  # a longer text as far as it is written, of a model that writes
    announcement: gr.HTML  # the new answer, for screen readers
    whole: gr.Column  # everything below, hidden until the first answer
    printed: gr.HTML  # what a second model read on a printed page
    sentence: gr.HTML  # the likeliest answer, and what to think of it
    asked_as: gr.HTML  # what a follow-up was taken to ask
    answers: gr.HTML
    served: gr.HTML  # the words that the selected cells served
    history: gr.HTML  # the questions about this photo


@dataclass(frozen=True)
class MapColumn:
    """The map, the words that it belongs to, and how it is drawn."""

    subject: gr.HTML
    words: gr.HTML
    several: gr.Checkbox
    clear: gr.Button  # takes back what is selected
    next_question: gr.Button  # back to the question, where that lies above the screen
    forward: tuple[gr.Button, gr.Button]  # to "What if": to paint, to search what would change the answer
    overlay: gr.HTML
    slider: ShownSlider
    map_button: gr.Button
    description: gr.HTML
    word_verdict: gr.HTML  # whether the map of one selected word can be believed
    colour_bar: gr.HTML


@dataclass(frozen=True)
class LookColumn:
    """How the map is drawn."""

    view: gr.Radio
    opacity: gr.Slider
    raw_cells: gr.Checkbox
    same_scale: gr.Checkbox


@dataclass(frozen=True)
class DoubtColumn:
    """Whether the map can be believed, what it explains, and every layer and head of it."""

    evidence: gr.HTML
    explained: gr.Dropdown
    method: gr.Dropdown
    refusal: gr.HTML
    direction: gr.Radio
    layer: gr.Dropdown
    head: gr.Dropdown
    number: gr.Radio
    heads: gr.HTML


@dataclass(frozen=True)
class Panels:
    """What the page needs of the panels below the result, which wire themselves; see their ``build_`` functions."""

    prepare_what_if: Callable[..., dict]
    what_if_parts: list
    searches: list  # events that take long, to be cancelled when something else is asked
    empty_compare: Callable[..., dict]
    compare_parts: list
    empty_correction: Callable[..., dict]
    correction_inputs: list
    correction_parts: list  # none without a form


@dataclass(frozen=True)
class Parts:
    """The whole page."""

    memory: Memory
    ask: AskColumn
    result: Result
    map: MapColumn
    look: LookColumn
    doubt: DoubtColumn
    panels: Panels
    forget: gr.Button  # what the tab keeps

    @property
    def look_inputs(self) -> list:
        """How the map is looked at, in the order in which ``MapEvents.draw`` takes it."""
        return look_inputs(self.look, self.doubt)

    @property
    def map_outputs(self) -> list:
        """What ``MapEvents.draw`` updates."""
        column = self.map
        drawn = [column.subject, column.words, column.clear, column.overlay, column.slider]
        drawn += [column.description, column.word_verdict, column.colour_bar]
        return [*drawn, self.result.served, self.doubt.heads]

    @property
    def answer_outputs(self) -> list:
        """What a new answer updates."""
        memory, result, doubt = self.memory, self.result, self.doubt
        answered = [memory.opened, memory.reply, memory.selected, self.ask.notice]
        answered += [result.empty, result.writing, result.announcement, result.whole, result.printed]
        answered += [result.sentence, result.asked_as, result.answers]
        answered += [result.history, self.ask.strip]
        chosen = [doubt.evidence, doubt.explained, doubt.method, doubt.refusal, doubt.layer, doubt.head]
        return [*answered, *chosen, *self.map_outputs, *self.panels.what_if_parts, *self.panels.compare_parts]


def look_inputs(look: LookColumn, doubt: DoubtColumn) -> list:
    """The controls of how a map is looked at, see ``Parts.look_inputs``."""
    place = [doubt.direction, doubt.layer, doubt.head]
    return [*place, look.opacity, look.raw_cells, look.same_scale, look.view, doubt.number]
