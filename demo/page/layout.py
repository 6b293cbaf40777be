"""Lays the page out, part by part; wiring.py wires the parts to callbacks."""

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import gradio as gr

from demo.languages.chinese import STEPS
from demo.languages.translate import label
from demo.page.about import build_about
from demo.page.parts import AskColumn, DoubtColumn, LookColumn, MapColumn, Memory, Panels, Parts, Result, look_inputs
from demo.panels.compare import build_compare
from demo.panels.correct import build_corrections, made_with
from demo.panels.share import build_close_button, build_keep, build_map_tools
from demo.panels.what_if import build_what_if
from demo.rendering.menus import Menu
from demo.rendering.photo_input import NO_SHARING, ShownSlider, build_photo
from demo.server.first_frame import CLAIM
from demo.settings import Settings
from demo.visit import asking
from demo.visit.examples import Example
from demo.visit.map_parts import ALL
from valm_core.captions.captioner import Captioner
from valm_core.inputs.question import MAX_PROMPT, MAX_QUESTION_CHARACTERS
from valm_core.method_names import CONTROLS
from valm_core.outputs import Predictor
from valm_core.vision_language.families import for_longer_texts

SELECTION_SCRIPT, ZOOM_SCRIPT = (
    (Path(__file__).parent / name).read_text(encoding="utf-8") for name in ("selection.js", "zoom.js")
)
HEADER = f'<header class="page-header"><h1>VALM</h1><p>{label(CLAIM)}</p></header>'
GHOST_BARS = f'<div class="ghost-bars" aria-hidden="true">{5 * "<span></span>"}</div>'
EMPTY_RESULT = f'<section class="empty-result">{label(STEPS)}{GHOST_BARS}</section>'
SMALL = "/small-examples"  # the address of the example photos for cards, see wiring.launch_options
NO_ATTENTION = (
    "This model has no attention maps here, because it isn’t known which of its parts read which places of the photo. "
    "Occlusion hides one place after the other and works with any model."
)
NO_WORD_EVIDENCE = (
    "Checked is the map of the whole question only: with this model, every word would take as many runs again."
)
ABOUT_PROMPT = (
    "{image} is where the photo goes, {question} your question. A prompt that doesn’t ask for one word or a short "
    "phrase lets the model write longer answers, which come word by word and take longer."
)
VIEWS = [(label("Map"), "map"), (label("Side by side"), "side_by_side"), (label("Slider"), "slider")]
DIRECTIONS = [
    (label("Words → photo: where each looked"), "text_to_image"),
    (label("Photo → words: what it read"), "image_to_text"),
]
NUMBERS = [(label("Evenness (entropy)"), "evenness"), (label("Attention in the selected cells"), "attention")]


def build_layout(
    predictor: Predictor,
    examples: Sequence[Example],
    seconds: float,
    settings: Settings,
    captioner: Captioner | None = None,
) -> Parts:
    """Lay the page out; call it within the page's block.

    Args:
        predictor: for the panels.
        examples: the packaged photos.
        seconds: how long an untouched visitor's photo and maps stay in memory.
        settings: for the panels.
        captioner: for the panels; None where nothing describes photos.
    """
    memory = build_memory(seconds)
    gr.HTML(HEADER)
    with gr.Row(elem_id="columns"):
        ask = build_ask_column(examples, predictor)
        with gr.Column(scale=8, min_width=320, elem_id="result-column"):
            writing = gr.HTML(elem_id="writing", visible="write" in predictor.offers)
            empty = gr.HTML(EMPTY_RESULT, elem_id="empty")
            announcement = gr.HTML(elem_id="announcement")  # outside of what is hidden: it must be there beforehand
            with gr.Column(visible=False, elem_id="result") as whole:
                printed = gr.HTML(elem_id="printed")
                sentence = gr.HTML(elem_id="sentence")
                asked_as = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="asked-as")
                with gr.Row(elem_id="inspect"):
                    map_column = build_map_column()
                    with gr.Column(min_width=240, elem_id="beside-map"):
                        answers = gr.HTML(elem_id="answers")
                        served = gr.HTML(elem_id="served")
                        look = build_look_column()
                        history = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="history")
                doubt = build_doubt_column(predictor)
                panels = build_panels(predictor, memory, seconds, settings, map_column.forward, doubt, captioner)
                inputs = look_inputs(look, doubt)
                build_keep(predictor, examples, memory.reply, memory.selected, inputs, map_column.map_button)
    forget = build_about(predictor, bool(panels.correction_parts), settings)
    result = Result(empty, writing, announcement, whole, printed, sentence, asked_as, answers, served, history)
    return Parts(memory, ask, result, map_column, look, doubt, panels, forget)


def build_memory(seconds: float) -> Memory:
    """What is kept of each visitor, until ``seconds`` after it was last used."""
    return Memory(
        opened=gr.State(time_to_live=seconds),
        refused=gr.Textbox(visible=False),
        asked=gr.State(time_to_live=seconds),
        reply=gr.State(time_to_live=seconds),
        again=gr.State(time_to_live=seconds),
        selected=gr.State(asking.Selection(), time_to_live=seconds),
        judged=gr.State(time_to_live=seconds),
        kept=gr.State((), time_to_live=seconds),
        linked=gr.State(time_to_live=seconds),
        visit_number=gr.State(0, time_to_live=seconds),
        visit=gr.Textbox(visible=False),
        kept_by_tab=gr.State(time_to_live=seconds),
        weighed=gr.State(time_to_live=seconds),
        read=gr.State(time_to_live=seconds),
    )


def build_ask_column(examples: Sequence[Example], predictor: Predictor) -> AskColumn:
    """The left column: photo, question, what might be asked, the photos of this visit, examples."""
    with gr.Column(scale=4, min_width=320, elem_id="ask-column"):
        photo = build_photo("photo", 280)
        with gr.Column(elem_id="asking"):
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
            gr.HTML(f'<a href="#sentence">{label("To the answer")}</a>', elem_id="skip")  # seen with the focus only
            with gr.Row(elem_id="suggestions"):
                suggestions = [gr.Button(text, size="sm", min_width=0) for text in asking.GENERAL_QUESTIONS]
            prompt, prompt_box = build_prompt(predictor)
            notice = gr.HTML(elem_id="notice")
        strip = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="strip")
        with (
            gr.Accordion(label("Examples"), elem_id="example-strip", visible=bool(examples)),
            gr.Row(elem_id="examples"),
        ):
            example_buttons = [example_card(example) for example in examples]
    return AskColumn(photo, strip, example_buttons, question, prompt, prompt_box, ask_button, suggestions, notice)


def build_prompt(predictor: Predictor) -> tuple[gr.Textbox, gr.Accordion]:
    """What an open model is asked, to be changed, and buttons for longer and short answers; and what is around them."""
    own = str(predictor.facts.get("prompt_without_template", ""))
    longer = for_longer_texts(own)
    offered = "write" in predictor.offers
    with gr.Accordion(label("What the model is asked"), open=False, visible=offered, elem_id="prompt-box") as box:
        gr.HTML(label(ABOUT_PROMPT), elem_classes="fine-print")  # no ``info``, which gradio doesn't translate
        prompt = gr.Textbox(own, label=label("Prompt"), lines=2, max_length=MAX_PROMPT, elem_id="prompt")
        with gr.Row(visible=longer != own):
            for name, text in (("Longer answers", longer), ("Short answers", own)):
                button = gr.Button(label(name), size="sm", min_width=0)
                button.click(None, js=f"() => {json.dumps(text)}", outputs=prompt)
    return prompt, box


def example_card(example: Example) -> gr.Button:
    """A photo as a button, so that the keyboard reaches it too; says how many questions the model gets right."""
    name = label(example.title)
    if example.right is not None:
        count = len(example.questions)
        name = label(
            "{title} · the model gets {right} of {count} right", title=example.title, right=example.right, count=count
        )
    icon = packaged_picture(example.path.name)
    return gr.Button(name, icon=icon, size="sm", min_width=0, elem_classes=["example-card"])


def packaged_picture(name: str) -> dict:
    """A file of the example photos for the browser, in gradio's form.

    Given its path, gradio would serve a copy among the visitors' uploads, and delete that after some hours.
    """
    return {"path": name, "url": f"{SMALL}/{quote(name)}", "meta": {"_type": "gradio.FileData"}}


def build_map_column() -> MapColumn:
    """The map with its words above and its tools below; ``stage`` is what "Show large" enlarges."""
    with gr.Column(scale=3, min_width=300, elem_id="map-column"):
        with gr.Column(elem_id="stage"):
            close = build_close_button()
            subject = gr.HTML(elem_id="subject")
            words = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="words")
            overlay = gr.HTML(js_on_load=SELECTION_SCRIPT + ZOOM_SCRIPT, apply_default_css=False, elem_id="overlay")
            slider = ShownSlider(
                show_label=False,
                interactive=False,
                visible=False,
                format="jpeg",
                max_height=520,
                buttons=NO_SHARING,
                elem_id="slider",
            )
            colour_bar = gr.HTML(elem_id="colour-bar")
        word_verdict = gr.HTML(elem_id="word-verdict")
        description = gr.HTML(elem_id="description")
        with gr.Row(elem_id="forward"):
            again = gr.Button(label("Ask something else"), size="sm", min_width=0, elem_id="go-ask")
            paint = gr.Button(label("Paint over something and ask again"), size="sm", min_width=0, elem_id="go-paint")
            flip = gr.Button(label("What would change the answer?"), size="sm", min_width=0, elem_id="go-flip")
        with gr.Row(elem_id="selected-tools"):
            several = gr.Checkbox(label=label("Select several words or cells"), min_width=120, elem_id="several")
            clear = gr.Button(label("Clear the selection"), size="sm", min_width=0, scale=0, elem_id="selected-clear")
        map_button = build_map_tools(close)
    return MapColumn(
        subject,
        words,
        several,
        clear,
        again,
        (paint, flip),
        overlay,
        slider,
        map_button,
        description,
        word_verdict,
        colour_bar,
    )


def build_look_column() -> LookColumn:
    """How the map is drawn."""
    with gr.Row(elem_id="look"):
        view = gr.Radio(VIEWS, value="map", label=label("Show"), min_width=200, elem_id="view")
        opacity = gr.Slider(0, 100, 55, step=5, label=label("Heat map opacity (%)"), buttons=[], elem_id="opacity")
        raw_cells = gr.Checkbox(label=label("Raw cells"), min_width=120, elem_id="raw-cells")
        same_scale = gr.Checkbox(label=label("Same scale for all words"), min_width=220, elem_id="same-scale")
        gr.Checkbox(label=label("Grid of cells"), min_width=120, elem_id="cell-grid")  # style.css reads it
    return LookColumn(view, opacity, raw_cells, same_scale)


def limits_of(predictor: Predictor) -> list[str]:
    """Which explanations aren't offered with this model and why, in sentences; none for the shipped one."""
    of_any_model = {"occlusion", *CONTROLS}
    limits = [] if {*predictor.explanation_methods} - of_any_model else [NO_ATTENTION]
    return limits + ([] if "word_evidence" in predictor.offers else [NO_WORD_EVIDENCE])


def build_doubt_column(predictor: Predictor) -> DoubtColumn:
    """The details: evidence, the choice of what is explained, all layers and heads."""
    with gr.Accordion(label("Details"), open=False, elem_id="details"):
        evidence = gr.HTML(elem_id="evidence")
        with gr.Row(elem_id="choose"):
            explained = gr.Dropdown(
                [],
                label=label("Answer (or type another)"),
                allow_custom_value=True,
                min_width=160,
                elem_id="explained",
            )
            method = gr.Dropdown(
                asking.method_choices(predictor),
                value=asking.default_method(predictor),
                label=label("Method"),
                min_width=160,
                elem_id="method",
            )
            every = [(label("all"), ALL)]
            layer = Menu(every, value=ALL, label=label("Layer"), min_width=100, elem_id="layer")
            head = Menu(every, value=ALL, label=label("Head"), min_width=100, elem_id="head")
        refusal = gr.HTML(elem_id="refusal")
        for limit in limits_of(predictor):
            gr.HTML(label(limit), elem_classes="fine-print")
        direction = gr.Radio(DIRECTIONS, value="text_to_image", label=label("Direction"), elem_id="direction")
        with gr.Accordion(label("All layers and heads"), open=False, elem_id="heads"):
            number = gr.Radio(NUMBERS, value="evenness", label=label("Number"), elem_id="number")
            heads = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="head-maps")
    return DoubtColumn(evidence, explained, method, refusal, direction, layer, head, number, heads)


def build_panels(
    predictor: Predictor,
    memory: Memory,
    seconds: float,
    settings: Settings,
    forward: tuple[gr.Button, gr.Button],
    doubt: DoubtColumn,
    captioner: Captioner | None,
) -> Panels:
    """The panels "What if", with its two buttons under the map, "Compare", and the form for corrections if set up."""
    prepare_what_if, what_if_parts, searches = build_what_if(predictor, memory.reply, seconds, forward, captioner)
    shown = [memory.selected, doubt.direction, doubt.layer, doubt.head]
    empty_compare, compare_parts = build_compare(predictor, memory.reply, shown, seconds, settings.compare or {})
    corrections = build_corrections(memory.reply, seconds, settings, made_with(predictor))
    return Panels(prepare_what_if, what_if_parts, searches, empty_compare, compare_parts, *corrections)
