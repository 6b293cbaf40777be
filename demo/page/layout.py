"""The page's components, part by part; wiring.py wires them to the callbacks of events.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import gradio as gr

from demo.languages.chinese import STEPS
from demo.languages.translate import label
from demo.panels.compare import build_compare
from demo.panels.correct import build_corrections, made_with
from demo.panels.share import build_keep, build_map_tools
from demo.panels.what_if import build_what_if
from demo.rendering.photo_input import NO_SHARING, PhotoInput, ShownSlider
from demo.settings import Settings
from demo.visit import asking
from demo.visit.asking import ALL
from valm_core.inputs.question import MAX_QUESTION_CHARACTERS
from valm_core.outputs import Predictor

SELECTION_SCRIPT = (Path(__file__).parent / "selection.js").read_text(encoding="utf-8")
CLAIM = "Ask a photo a question. See the answer, how sure the model is, and where it looked for every word."
HEADER = f'<header class="page-header"><h1>VALM</h1><p>{label(CLAIM)}</p></header>'
GHOST_BARS = f'<div class="ghost-bars" aria-hidden="true">{5 * "<span></span>"}</div>'
EMPTY_RESULT = f'<section class="empty-result">{label(STEPS)}{GHOST_BARS}</section>'
FOOTER = (
    "A heat map shows what the model read for its answer, which is a clue and not a proof of it. Photos stay on this "
    "server for a few hours at most."
)
EXCEPTION = "Those that their owners agree to keep with a correction stay longer."
VISIT = (
    "This tab keeps your questions and the names of your photos, so that a reload brings them back; closing it, or the "
    "button here, forgets them."
)
PACKAGED = "/examples"  # the address of the example photos, see wiring.launch_options
VIEWS = [(label("Map"), "map"), (label("Side by side"), "side_by_side"), (label("Slider"), "slider")]
DIRECTIONS = [
    (label("Words → photo: where each looked"), "text_to_image"),
    (label("Photo → words: what it read"), "image_to_text"),
]
NUMBERS = [(label("Evenness (entropy)"), "evenness"), (label("Attention in the picked cells"), "attention")]


@dataclass(frozen=True)
class Memory:
    """What the page keeps of one visitor between events."""

    opened: gr.State  # OpenedPhoto: encoded once, asked often
    asked: gr.State  # Outcome of the last question, perhaps of a photo that is gone
    reply: gr.State  # Reply on the page: what every redraw is made from
    again: gr.State  # Again: the last explanation of another answer or method
    selected: gr.State  # Selection: words and cells
    kept: gr.State  # PhotoHistory of each photo of this visit, to go back to
    linked: gr.State  # Link that the page was opened with
    visit: gr.Textbox  # what the tab's own storage is to keep of this visit, see browser_storage.py
    kept_by_tab: gr.State  # what it kept before the page was loaded again


@dataclass(frozen=True)
class AskColumn:
    """The photo, where it comes from, and the question about it."""

    photo: PhotoInput
    strip: gr.HTML  # the photos of this visit
    example_buttons: list[gr.Button]
    question: gr.Textbox
    ask_button: gr.Button
    suggestions: list[gr.Button]
    notice: gr.HTML


@dataclass(frozen=True)
class Result:
    """The answers, and what stands in their place before there are any."""

    empty: gr.HTML
    announcement: gr.HTML  # the new answer, for screen readers
    whole: gr.Column  # everything below, hidden until the first answer
    answers: gr.HTML
    history: gr.HTML  # the questions about this photo


@dataclass(frozen=True)
class MapColumn:
    """The map, the words that it belongs to, and how it is drawn."""

    subject: gr.HTML
    words: gr.HTML
    several: gr.Checkbox
    clear: gr.Button  # takes back what is selected
    overlay: gr.HTML
    slider: ShownSlider
    map_button: gr.Button
    description: gr.HTML
    colour_bar: gr.HTML
    served: gr.HTML
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
    doubt: DoubtColumn
    panels: Panels
    forget: gr.Button  # what the tab keeps

    @property
    def look(self) -> list:
        """How the map is looked at, in the order in which ``Page.draw`` takes it."""
        return look_of(self.map, self.doubt)

    @property
    def drawing(self) -> list:
        """What ``Page.draw`` updates."""
        column = self.map
        drawn = [column.subject, column.words, column.clear, column.overlay, column.slider]
        return [*drawn, column.description, column.colour_bar, column.served, self.doubt.heads]

    @property
    def shown(self) -> list:
        """What a new answer updates."""
        memory, result, doubt = self.memory, self.result, self.doubt
        answered = [memory.opened, memory.reply, memory.selected, self.ask.notice]
        answered += [result.empty, result.announcement, result.whole, result.answers, result.history, self.ask.strip]
        chosen = [doubt.evidence, doubt.explained, doubt.method, doubt.refusal, doubt.layer, doubt.head]
        return [*answered, *chosen, *self.drawing, *self.panels.what_if_parts, *self.panels.compare_parts]


def look_of(map_column: MapColumn, doubt: DoubtColumn) -> list:
    """The controls of how a map is looked at, see ``Parts.look``."""
    place = [doubt.direction, doubt.layer, doubt.head]
    return [*place, map_column.opacity, map_column.raw_cells, map_column.same_scale, map_column.view, doubt.number]


def build_layout(predictor: Predictor, examples: Sequence[asking.Example], seconds: float, settings: Settings) -> Parts:
    """Lay the page out; call it within the page's block.

    Args:
        predictor: for the panels.
        examples: the packaged photos.
        seconds: how long an untouched visitor's photo and maps stay in memory.
        settings: for the panels.
    """
    memory = build_memory(seconds)
    gr.HTML(HEADER)
    with gr.Row(elem_id="columns"):
        ask = build_ask_column(examples)
        with gr.Column(scale=8, min_width=320, elem_id="result-column"):
            empty = gr.HTML(EMPTY_RESULT, elem_id="empty")
            announcement = gr.HTML(elem_id="announcement")  # outside of what is hidden: it must be there beforehand
            with gr.Column(visible=False, elem_id="result") as whole:
                answers = gr.HTML(elem_id="answers")
                history = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="history")
                with gr.Row(elem_id="inspect"):
                    map_column = build_map_column()
                    doubt = build_doubt_column(predictor)
                panels = build_panels(predictor, memory.reply, seconds, settings)
                look = look_of(map_column, doubt)
                build_keep(predictor, examples, memory.reply, memory.selected, look, map_column.map_button)
    footer = label(FOOTER, EXCEPTION, VISIT) if panels.correction_parts else label(FOOTER, VISIT)
    with gr.Row(elem_id="page-end"):
        gr.HTML(f'<footer class="page-footer">{footer}</footer>')
        forget = gr.Button(label("Forget this visit"), size="sm", min_width=150, scale=0, elem_id="forget")
    result = Result(empty, announcement, whole, answers, history)
    return Parts(memory, ask, result, map_column, doubt, panels, forget)


def build_memory(seconds: float) -> Memory:
    """What is kept of each visitor, until ``seconds`` after it was last used."""
    return Memory(
        opened=gr.State(time_to_live=seconds),
        asked=gr.State(time_to_live=seconds),
        reply=gr.State(time_to_live=seconds),
        again=gr.State(time_to_live=seconds),
        selected=gr.State(asking.Selection(), time_to_live=seconds),
        kept=gr.State((), time_to_live=seconds),
        linked=gr.State(time_to_live=seconds),
        visit=gr.Textbox(visible=False),
        kept_by_tab=gr.State(time_to_live=seconds),
    )


def build_ask_column(examples: Sequence[asking.Example]) -> AskColumn:
    """The left column: photo, examples, question."""
    with gr.Column(scale=4, min_width=320):
        photo = PhotoInput(
            label=label("Photo"),
            sources=["upload", "webcam", "clipboard"],
            height=300,
            placeholder=label("Drop a photo here\nor click to choose one"),
            buttons=["fullscreen"],
            elem_id="photo",
        )
        strip = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="strip")
        with gr.Column(elem_id="example-strip", visible=bool(examples)):
            gr.HTML(label("or pick an example"), elem_id="example-title", elem_classes="strip-title")
            with gr.Row(elem_id="examples"):
                example_buttons = [example_card(example) for example in examples]
        with gr.Row(elem_id="question-row"):
            question = gr.Textbox(
                label=label("Question"),
                placeholder=label("What is in the photo?"),
                max_length=MAX_QUESTION_CHARACTERS,
                lines=1,
                scale=5,
                min_width=200,
                elem_id="question",
            )
            ask_button = gr.Button(label("Ask"), variant="primary", scale=1, min_width=88, elem_id="ask")
        with gr.Row(elem_id="suggestions"):
            suggestions = [gr.Button(text, size="sm", min_width=0) for text in asking.GENERAL_QUESTIONS]
        notice = gr.HTML(elem_id="notice")
    return AskColumn(photo, strip, example_buttons, question, ask_button, suggestions, notice)


def example_card(example: asking.Example) -> gr.Button:
    """A photo as a button, so that the keyboard reaches it too; says how many questions the model gets right."""
    name = label(example.title)
    if example.right is not None:
        count = len(example.questions)
        name = label("{title} · gets {right} of {count} right", title=example.title, right=example.right, count=count)
    icon = packaged_picture(example.path.name)
    return gr.Button(name, icon=icon, size="sm", min_width=0, elem_classes=["example-card"])


def packaged_picture(name: str) -> dict:
    """A file of the example photos for the browser, in gradio's form.

    Given its path, gradio would serve a copy among the visitors' uploads, and delete that after some hours.
    """
    return {"path": name, "url": f"{PACKAGED}/{quote(name)}", "meta": {"_type": "gradio.FileData"}}


def build_map_column() -> MapColumn:
    """The map with its words above and its controls below."""
    with gr.Column(min_width=360):
        subject = gr.HTML(elem_id="subject")
        words = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="words")
        with gr.Row(elem_id="picking"):
            several = gr.Checkbox(label=label("Pick several words or cells"), min_width=120, elem_id="several")
            clear = gr.Button(label("Clear what is picked"), size="sm", min_width=170, scale=0, elem_id="clear-picked")
        overlay = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="overlay")
        slider = ShownSlider(
            show_label=False,
            interactive=False,
            visible=False,
            format="jpeg",
            max_height=520,
            buttons=NO_SHARING,
            elem_id="slider",
        )
        map_button = build_map_tools()
        description = gr.HTML(elem_id="description")
        colour_bar = gr.HTML(elem_id="colour-bar")
        served = gr.HTML(elem_id="served")
        with gr.Row(elem_id="look"):
            view = gr.Radio(VIEWS, value="map", label=label("Show"), min_width=200, elem_id="view")
            opacity = gr.Slider(0, 100, 55, step=5, label=label("Heat map opacity (%)"), buttons=[], elem_id="opacity")
            raw_cells = gr.Checkbox(label=label("Raw cells"), min_width=120, elem_id="raw-cells")
            same_scale = gr.Checkbox(label=label("Same scale for all words"), min_width=220, elem_id="same-scale")
    return MapColumn(
        subject,
        words,
        several,
        clear,
        overlay,
        slider,
        map_button,
        description,
        colour_bar,
        served,
        view,
        opacity,
        raw_cells,
        same_scale,
    )


def build_doubt_column(predictor: Predictor) -> DoubtColumn:
    """Evidence for the map, the choice of what is explained, all layers and heads."""
    with gr.Column(min_width=360):
        with gr.Accordion(label("Can this be believed?"), elem_id="doubt"):
            evidence = gr.HTML(elem_id="evidence")
        with gr.Accordion(label("Choose what is explained"), open=False, elem_id="choose"):
            with gr.Row():
                explained = gr.Dropdown(
                    [],
                    label=label("Answer"),
                    info=label("Pick, or type another"),
                    allow_custom_value=True,
                    min_width=160,
                    elem_id="explained",
                )
                method = gr.Dropdown(
                    asking.method_choices(predictor),
                    value=asking.default_method(predictor),
                    label=label("Method"),
                    info=label("How the map is computed"),
                    min_width=160,
                    elem_id="method",
                )
            refusal = gr.HTML(elem_id="refusal")
            direction = gr.Radio(DIRECTIONS, value="text_to_image", label=label("Direction"), elem_id="direction")
            with gr.Row():
                every = [(label("all"), ALL)]
                layer = gr.Dropdown(every, value=ALL, label=label("Layer"), min_width=120, elem_id="layer")
                head = gr.Dropdown(every, value=ALL, label=label("Head"), min_width=120, elem_id="head")
        with gr.Accordion(label("All layers and heads"), open=False, elem_id="heads"):
            number = gr.Radio(NUMBERS, value="evenness", label=label("Number"), elem_id="number")
            heads = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="head-maps")
    return DoubtColumn(evidence, explained, method, refusal, direction, layer, head, number, heads)


def build_panels(predictor: Predictor, reply: gr.State, seconds: float, settings: Settings) -> Panels:
    """The panels "What if", "Compare" and, where it is set up, the form for corrections."""
    what_if = build_what_if(predictor, reply, seconds)
    compare = build_compare(predictor, reply, seconds, settings.compare or {})
    corrections = build_corrections(reply, seconds, settings, made_with(predictor))
    return Panels(what_if[0], what_if[1], compare[0], compare[1], *corrections)
