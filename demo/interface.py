"""The page: layout and wiring only. callbacks.py does the work, figures.py draws."""

import dataclasses
from html import escape
from pathlib import Path

import gradio as gr

from demo import ASSETS, callbacks, figures
from demo.compare import build_compare
from demo.photo_input import PhotoInput
from demo.theme import build_theme
from demo.what_if import build_what_if

HERE = Path(__file__).parent
EXAMPLES = ASSETS / "examples"
SUGGESTIONS = 4  # buttons; a photo may have fewer questions
STATE_SECONDS = 60 * 60  # how long an untouched visitor's photo and maps stay in memory
FILE_SECONDS = 4 * 60 * 60  # how long an uploaded file stays on disk

HEADER = """
<header class="page-header"><h1>VALM</h1>
<p>Ask a photo a question. See the answer, how sure the model is, and where it looked for every word.</p></header>
"""
EMPTY_RESULT = """
<section class="empty-result"><h2>Your answer appears here</h2><ol>
<li><strong>Add a photo</strong> or pick an example.</li>
<li><strong>Ask</strong> about what is in it, in plain English.</li>
<li><strong>Click a word</strong> of your question to see where in the photo the model looked for it.</li>
<li><strong>Click a place</strong> in the photo, or drag a box over it, to see which words it served.</li>
<li><strong>Doubt it</strong>: explain another answer, by another method, and see whether the map matters.</li></ol>
<div class="ghost-bars" aria-hidden="true"><span></span><span></span><span></span><span></span><span></span></div>
<p class="fine-print">You get five answers with calibrated probabilities, and what the model would have said without the
photo.</p></section>
"""
FOOTER = """
<footer class="page-footer">A heat map shows what the model read for its answer, which is a clue and not a proof of it.
Photos stay on this server for a few hours at most.</footer>
"""

# On a phone the result lies below the fold, and no component can scroll to another: bring it into view if it isn't.
PICK = (HERE / "pick.js").read_text(encoding="utf-8")
ALL = -1  # in the menus of layers and heads
VIEWS = [("Map", "map"), ("Side by side", "side_by_side"), ("Slider", "slider")]
DIRECTIONS = [("Words → photo: where each looked", "text_to_image"), ("Photo → words: what it read", "image_to_text")]
NUMBERS = [("Evenness (entropy)", "evenness"), ("Attention in the picked cells", "attention")]

SHOW_RESULT = """() => {
  const answers = document.querySelector("#result .answers");
  if (!answers || answers.getBoundingClientRect().bottom <= window.innerHeight) return;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.querySelector("#result").scrollIntoView({behavior: calm ? "auto" : "smooth", block: "start"});
}"""


def launch_options() -> dict:
    """What ``launch`` must be told so that the page looks and behaves as it was built."""
    return {
        "theme": build_theme(),
        "css_paths": [HERE / "style.css"],
        "footer_links": [],
        "allowed_paths": [str(EXAMPLES)],
        "max_file_size": "20mb",
        "ssr_mode": False,
    }


def build_page(predictor, examples_folder: Path = EXAMPLES) -> gr.Blocks:
    """The page around one predictor, which all visitors share and which keeps nothing about them."""
    examples = callbacks.read_examples(examples_folder)
    with gr.Blocks(title="VALM – ask a photo, see why", delete_cache=(STATE_SECONDS, FILE_SECONDS)) as page:
        opened = gr.State(time_to_live=STATE_SECONDS)  # OpenedPhoto: encoded once, asked often
        asked = gr.State(time_to_live=STATE_SECONDS)  # Outcome of the last question, perhaps of a photo that is gone
        reply = gr.State(time_to_live=STATE_SECONDS)  # Reply on the page: what every redraw is made from
        again = gr.State(time_to_live=STATE_SECONDS)  # Again: the last explanation of another answer or method
        picked = gr.State(callbacks.Picked(), time_to_live=STATE_SECONDS)  # the words and cells that are picked
        gr.HTML(HEADER)
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=4, min_width=320):
                photo = PhotoInput(
                    label="Photo",
                    sources=["upload", "webcam", "clipboard"],
                    height=300,
                    placeholder="Drop a photo here\nor click to choose one",
                    buttons=["fullscreen"],
                    elem_id="photo",
                )
                with gr.Column(elem_id="example-strip", visible=bool(examples)):
                    gr.HTML('<p class="strip-title" id="example-title">or pick an example</p>')
                    with gr.Row(elem_id="examples"):
                        example_buttons = [example_card(example) for example in examples]
                with gr.Row(elem_id="question-row"):
                    question = gr.Textbox(
                        label="Question",
                        placeholder="What is in the photo?",
                        max_length=1000,
                        lines=1,
                        scale=5,
                        min_width=200,
                        elem_id="question",
                    )
                    ask_button = gr.Button("Ask", variant="primary", scale=1, min_width=88, elem_id="ask")
                with gr.Row(elem_id="suggestions"):
                    suggestions = [gr.Button(text, size="sm", min_width=0) for text in callbacks.GENERAL_QUESTIONS]
                notice = gr.HTML(elem_id="notice")
            with gr.Column(scale=8, min_width=320, elem_id="result-column"):
                empty = gr.HTML(EMPTY_RESULT, elem_id="empty")
                with gr.Column(visible=False, elem_id="result") as result:
                    answers = gr.HTML(elem_id="answers")
                    with gr.Row(elem_id="inspect"):
                        with gr.Column(min_width=360):
                            subject = gr.HTML(elem_id="subject")
                            words = gr.HTML(js_on_load=PICK, apply_default_css=False, elem_id="words")
                            several = gr.Checkbox(label="Pick several words or cells", elem_id="several")
                            overlay = gr.HTML(js_on_load=PICK, apply_default_css=False, elem_id="overlay")
                            slider = gr.ImageSlider(
                                show_label=False,
                                interactive=False,
                                visible=False,
                                format="jpeg",
                                max_height=520,
                                buttons=["download", "fullscreen"],
                                elem_id="slider",
                            )
                            description = gr.HTML(elem_id="description")
                            colour_bar = gr.HTML(elem_id="colour-bar")
                            served = gr.HTML(elem_id="served")
                            with gr.Row(elem_id="look"):
                                view = gr.Radio(VIEWS, value="map", label="Show", min_width=200, elem_id="view")
                                opacity = gr.Slider(
                                    0, 100, 55, step=5, label="Heat map opacity (%)", buttons=[], elem_id="opacity"
                                )
                                raw_cells = gr.Checkbox(label="Raw cells", min_width=120, elem_id="raw-cells")
                                same_scale = gr.Checkbox(
                                    label="Same scale for all words", min_width=220, elem_id="same-scale"
                                )
                        with gr.Column(min_width=360):
                            with gr.Accordion("Can this be believed?", elem_id="doubt"):
                                evidence = gr.HTML(elem_id="evidence")
                            with gr.Accordion("Choose what is explained", open=False, elem_id="choose"):
                                with gr.Row():
                                    explained = gr.Dropdown(
                                        [],
                                        label="Answer",
                                        info="Pick, or type another",
                                        allow_custom_value=True,
                                        min_width=160,
                                        elem_id="explained",
                                    )
                                    method = gr.Dropdown(
                                        callbacks.method_choices(),
                                        value=callbacks.DEFAULT_METHOD,
                                        label="Method",
                                        info="How the map is computed",
                                        min_width=160,
                                        elem_id="method",
                                    )
                                refusal = gr.HTML(elem_id="refusal")
                                direction = gr.Radio(
                                    DIRECTIONS, value="text_to_image", label="Direction", elem_id="direction"
                                )
                                with gr.Row():
                                    layer = gr.Dropdown(
                                        [("all", ALL)], value=ALL, label="Layer", min_width=120, elem_id="layer"
                                    )
                                    head = gr.Dropdown(
                                        [("all", ALL)], value=ALL, label="Head", min_width=120, elem_id="head"
                                    )
                            with gr.Accordion("All layers and heads", open=False, elem_id="heads"):
                                number = gr.Radio(NUMBERS, value="evenness", label="Number", elem_id="number")
                                heads = gr.HTML(js_on_load=PICK, apply_default_css=False, elem_id="head-maps")
                    prepare_what_if, what_if_parts = build_what_if(predictor, reply)
                    empty_compare, compare_parts = build_compare(predictor, reply)
        gr.HTML(FOOTER)

        look = [direction, layer, head, opacity, raw_cells, same_scale, view, number]
        drawing = [subject, words, overlay, slider, description, colour_bar, served, heads]
        chosen = [explained, method, refusal, layer, head]
        shown = [opened, reply, picked, notice, empty, result, answers, evidence, *chosen, *drawing]

        def no_result() -> dict:
            return {
                reply: None,
                picked: callbacks.Picked(),
                notice: figures.notice_html(""),
                empty: gr.update(visible=True),
                result: gr.update(visible=False),
                answers: "",
                evidence: "",
                slider: gr.update(value=None, visible=False),
                **dict.fromkeys([subject, words, overlay, description, colour_bar, served, heads], ""),
            }

        def draw(current, marked, toward, in_layer, in_head, percent, raw, same, shape, counted) -> dict:
            if current is None:  # the visitor's state was dropped meanwhile, or a new photo arrived
                return dict.fromkeys(drawing, gr.skip())
            place = tuple(None if index in (None, ALL) else index for index in (in_layer, in_head))
            part = callbacks.part_of(current.explanation, toward, *place)
            wanted = figures.Look(percent / 100, raw, same)
            photo_itself = current.photo.picture
            return {
                subject: figures.subject_html(current.answer, part, toward, *place),
                words: figures.words_html(part, marked.words),
                overlay: gr.update(
                    value=figures.map_html(
                        photo_itself, part, marked.words, marked.cells, wanted, original=shape == "side_by_side"
                    ),
                    visible=shape != "slider",
                ),
                slider: gr.update(
                    value=(photo_itself, figures.overlay(photo_itself, part, marked.words, wanted)), visible=True
                )
                if shape == "slider"
                else gr.update(visible=False),
                description: described(figures.map_description(part, marked.words)),
                colour_bar: figures.colour_bar_html(part, marked.words, wanted),
                served: figures.served_html(part, marked.cells, toward),
                heads: figures.heads_html(
                    callbacks.all_heads(current.explanation, toward), marked.words, marked.cells, wanted, place, counted
                ),
            }

        def pick_words(event: gr.EventData, current, marked, more, *wanted) -> dict:
            return redraw(current, marked, "words", more, event, wanted)

        def pick_cells(event: gr.EventData, current, marked, more, *wanted) -> dict:
            return redraw(current, marked, "cells", more, event, wanted)

        def redraw(current, marked, kind, more, event, wanted) -> dict:
            if current is None:
                return {picked: gr.skip()}
            data = event._data
            count = {"words": len(current.explanation.tokens), "cells": current.explanation.token_to_patch.shape[1]}
            new = callbacks.pick(getattr(marked, kind), data.get("items"), more or bool(data.get("add")), count[kind])
            marked = dataclasses.replace(marked, **{kind: new})
            return {picked: marked, **draw(current, marked, *wanted)}

        def pick_head(event: gr.EventData, current, marked, toward, in_layer, in_head, *wanted) -> dict:
            if current is None:
                return {picked: gr.skip()}
            layers, width = current.explanation.text_to_image.shape[:2]
            new = callbacks.pick((), event._data.get("items"), False, layers * width)
            place = divmod(new[0], width) if new and divmod(new[0], width) != (in_layer, in_head) else (ALL, ALL)
            return {layer: place[0], head: place[1], **draw(current, marked, toward, *place, *wanted)}

        def explain_again(current, last, name, text):
            if current is None:
                return None
            if last is not None and last.reply is not None and last.asked.prediction is current.prediction:
                current = last.reply  # newer than what the page shows: a menu may tell of one choice twice
            return callbacks.explain_again(predictor, current, name, text)

        def show_again(outcome, current, marked, *wanted) -> dict:
            if outcome is None or current is None or outcome.asked.prediction is not current.prediction:
                return {reply: gr.skip()}  # another question was answered meanwhile
            if outcome.reply is None:  # the menus go back to what the map still shows
                back = gr.update(value=current.answer), gr.update(value=known_method(current))
                return {refusal: figures.notice_html(outcome.message), explained: back[0], method: back[1]}
            current = outcome.reply
            return {
                reply: current,
                refusal: "",
                explained: current.answer,
                evidence: figures.evidence_html(current.evidence, current.prediction.gate),
                **draw(current, marked, *wanted),
            }

        def known_method(current) -> str:
            name = current.explanation.method
            return name if name in callbacks.EXPLANATION_METHODS else callbacks.DEFAULT_METHOD

        def answer(path, known, text) -> dict:
            outcome = callbacks.answer(predictor, path, known, text)
            return {asked: outcome, **({opened: outcome.reply.photo} if outcome.reply else {})}

        def show(outcome, path, toward, in_layer, in_head, *wanted) -> dict:
            if outcome is None or outcome.path != path:  # another photo came meanwhile: its page stays as it is
                return {reply: gr.skip()}
            if outcome.reply is None:
                return {notice: figures.notice_html(outcome.message)}  # an earlier answer on this photo stays
            current = outcome.reply
            layers, width = current.explanation.text_to_image.shape[:2]
            marked = callbacks.Picked()
            return {
                reply: current,
                picked: marked,
                notice: figures.notice_html(""),
                empty: gr.update(visible=False),
                result: gr.update(visible=True),
                answers: figures.result_html(current.prediction, callbacks.right_answer(examples, current)),
                evidence: figures.evidence_html(current.evidence, current.prediction.gate),
                explained: gr.update(
                    choices=[candidate.text for candidate in current.prediction.answers], value=current.answer
                ),
                method: known_method(current),
                refusal: "",
                layer: gr.update(choices=numbered(layers), value=ALL),
                head: gr.update(choices=numbered(width), value=ALL),
                **draw(current, marked, toward, ALL, ALL, *wanted),
            }

        def forget_photo(path, outcome) -> dict:
            if path and outcome is not None and outcome.path == path:  # a quick question was answered before us
                return {opened: gr.skip()}
            return {opened: None, **no_result(), **offer(callbacks.GENERAL_QUESTIONS)}

        def encode(path, known) -> dict:
            try:
                return {opened: callbacks.open_photo(predictor, path, known) if path else None}
            except Exception as error:
                return {photo: None, notice: figures.notice_html(callbacks.message_for(error))}

        def offer(questions) -> dict:
            texts = [*questions][:SUGGESTIONS] + [None] * (SUGGESTIONS - len(questions))
            return {
                button: gr.update(value=text or "", visible=text is not None)
                for button, text in zip(suggestions, texts, strict=True)
            }

        on_model = {"concurrency_id": "model", "concurrency_limit": 1}  # encoding and answering wait for each other
        at_once = {"queue": False, "show_progress": "hidden"}

        def and_show(asking) -> None:
            showing = asking.then(show, [asked, photo, *look], shown, **at_once)
            showing.then(None, js=SHOW_RESULT)
            showing.then(prepare_what_if, reply, what_if_parts, **at_once)
            showing.then(empty_compare, None, compare_parts, **at_once)

        asking = {
            "fn": answer,
            "inputs": [photo, opened, question],
            "outputs": [asked, opened],
            "show_progress_on": [empty, answers],
            **on_model,
        }
        and_show(gr.on([ask_button.click, question.submit], **asking))
        for button in suggestions:
            and_show(button.click(lambda text: text, button, question, **at_once).then(**asking))
        for button, example in zip(example_buttons, examples, strict=True):

            def choose(example=example) -> dict:
                return {
                    **forget_photo(None, None),
                    **offer(example.questions),
                    photo: str(example.path),
                    question: example.questions[0],
                }

            and_show(button.click(choose, None, [photo, question, *shown, *suggestions], **at_once).then(**asking))
        # A question that is still being answered isn't cancelled: `show` drops what belongs to another photo. Gradio
        # cancels when this event comes back, which on a busy server is after the person has asked about the new photo.
        gr.on([photo.input, photo.clear], forget_photo, [photo, asked], [*shown, *suggestions], **at_once).then(
            encode,
            [photo, opened],
            [photo, opened, notice],
            show_progress="hidden",
            trigger_mode="always_last",
            **on_model,
        )
        redrawing = {"trigger_mode": "always_last", "concurrency_limit": 4, "show_progress": "hidden"}
        gr.on([control.input for control in look], draw, [reply, picked, *look], drawing, **redrawing)
        # Every pick counts, in its order: "always_last" would drop those that come while one is being drawn.
        picking = {"trigger_mode": "multiple", "concurrency_id": "pick", "concurrency_limit": 1}
        picking["show_progress"] = "hidden"
        words.pick(pick_words, [reply, picked, several, *look], [picked, *drawing], **picking)
        overlay.pick(pick_cells, [reply, picked, several, *look], [picked, *drawing], **picking)
        heads.pick(pick_head, [reply, picked, *look], [picked, layer, head, *drawing], **picking)
        gr.on(
            [explained.input, method.input],
            explain_again,
            [reply, again, method, explained],
            again,
            show_progress_on=[overlay, evidence],
            trigger_mode="always_last",
            **on_model,
        ).then(
            show_again,
            [again, reply, picked, *look],
            [reply, refusal, explained, method, evidence, *drawing],
            **at_once,
        )
    return page.queue(default_concurrency_limit=4, max_size=32)


def example_card(example: callbacks.Example) -> gr.Button:
    """A photo as a button, so that the keyboard reaches it too; says so when the model is known to be wrong on it."""
    label = example.title + (" · the model gets this one wrong" if example.known_wrong else "")
    return gr.Button(
        label,
        icon=str(example.path),
        size="sm",
        min_width=0,
        elem_classes=["example-card"] + (["known-wrong"] if example.known_wrong else []),
    )


def described(text: str) -> str:
    """A map in words, read out by screen readers whenever it changes."""
    return f'<p role="status" aria-live="polite">{escape(text)}</p>'


def numbered(count: int) -> list[tuple[str, int]]:
    """What a menu of layers or heads offers: all of them, then each by its number counted from 1."""
    return [("all", ALL), *((str(index + 1), index) for index in range(count))]
