"""The page: layout and wiring only. callbacks.py does the work, figures.py draws."""

import dataclasses
import json
from html import escape
from pathlib import Path

import gradio as gr

from demo import ASSETS, callbacks, figures, session
from demo.api import build_api, mcp_wanted
from demo.callbacks import ALL
from demo.chinese import CHINESE, STEPS
from demo.compare import build_compare
from demo.feedback import build_feedback
from demo.guard import exposure_options
from demo.keep import NO_FULLSCREEN, build_keep, build_map_tools
from demo.languages import label, say, translations
from demo.photo_input import PhotoInput, ShownSlider
from demo.theme import build_theme
from demo.uploads import LARGEST_UPLOAD, SealedBlocks
from demo.what_if import build_what_if
from valm_core.outputs import InputError

HERE = Path(__file__).parent
EXAMPLES = ASSETS / "examples"
SUGGESTIONS = 4  # buttons; a photo may have fewer questions
STATE_SECONDS = 60 * 60  # how long an untouched visitor's photo and maps stay in memory
MOST_WAITING = 96  # questions in the queue, of all visitors
FILE_SECONDS = 4 * 60 * 60  # how long an uploaded file stays on disk

# On a phone the result lies below the fold, and no component can scroll to another: bring it into view if it isn't.
PICK = (HERE / "pick.js").read_text(encoding="utf-8")
TITLE = "VALM – ask a photo, see why"
CLAIM = "Ask a photo a question. See the answer, how sure the model is, and where it looked for every word."
HEADER = f'<header class="page-header"><h1>VALM</h1><p>{label(CLAIM)}</p></header>'
GHOST_BARS = f'<div class="ghost-bars" aria-hidden="true">{5 * "<span></span>"}</div>'
EMPTY_RESULT = f'<section class="empty-result">{label(STEPS)}{GHOST_BARS}</section>'
FOOTER = (
    "A heat map shows what the model read for its answer, which is a clue and not a proof of it. Photos stay on this "
    "server for a few hours at most."
)
EXCEPTION = "Those that their owners agree to keep with a correction stay longer."
CHINESE_TITLE = json.dumps(CHINESE[TITLE])  # the page's title is no component, so gradio doesn't translate it
VIEWS = [(label("Map"), "map"), (label("Side by side"), "side_by_side"), (label("Slider"), "slider")]
DIRECTIONS = [
    (label("Words → photo: where each looked"), "text_to_image"),
    (label("Photo → words: what it read"), "image_to_text"),
]
NUMBERS = [(label("Evenness (entropy)"), "evenness"), (label("Attention in the picked cells"), "attention")]

SHOW_RESULT = """() => {
  const answers = document.querySelector("#result .answers");
  if (!answers || answers.getBoundingClientRect().bottom <= window.innerHeight) return;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.querySelector("#result").scrollIntoView({behavior: calm ? "auto" : "smooth", block: "start"});
}"""

# The upload button goes away with the focus when the photo comes; who types next, types the question. Not on a phone,
# where it would open the keyboard over the photo.
TO_QUESTION = """() => {
  const lost = document.activeElement === document.body && !window.matchMedia("(pointer: coarse)").matches;
  if (lost) document.querySelector("#question textarea, #question input")?.focus({preventScroll: true});
}"""
# gradio 6.31 takes Tab in a menu for a key that opens it, so each menu that was only passed would stay open.
LEAVE_MENUS = """() => document.addEventListener("keydown", (event) => {
  if (event.key === "Tab" && event.target.role === "combobox") event.stopPropagation();
}, true)"""


def launch_options() -> dict:
    """What ``launch`` must be told so that the page looks and behaves as it was built."""
    return {
        "theme": build_theme(),
        "css_paths": [HERE / "style.css"],
        "footer_links": [],
        "allowed_paths": [str(EXAMPLES)],
        "max_file_size": LARGEST_UPLOAD,
        "mcp_server": mcp_wanted(),
        "ssr_mode": False,
        "i18n": gr.I18n(**translations()),
        "show_error": False,  # what our own callbacks say is shown; anything else stays in the log
        **exposure_options(),
    }


def build_page(predictor, examples_folder: Path = EXAMPLES) -> gr.Blocks:
    """The page around one predictor, which all visitors share and which keeps nothing about them."""
    examples = callbacks.read_examples(examples_folder)
    with SealedBlocks(title=TITLE, delete_cache=(STATE_SECONDS, FILE_SECONDS)) as page:
        opened = gr.State(time_to_live=STATE_SECONDS)  # OpenedPhoto: encoded once, asked often
        asked = gr.State(time_to_live=STATE_SECONDS)  # Outcome of the last question, perhaps of a photo that is gone
        reply = gr.State(time_to_live=STATE_SECONDS)  # Reply on the page: what every redraw is made from
        again = gr.State(time_to_live=STATE_SECONDS)  # Again: the last explanation of another answer or method
        picked = gr.State(callbacks.Picked(), time_to_live=STATE_SECONDS)  # the words and cells that are picked
        kept = gr.State((), time_to_live=STATE_SECONDS)  # PhotoHistory of each photo of this visit, to go back to
        linked = gr.State(time_to_live=STATE_SECONDS)  # Link that the page was opened with
        gr.HTML(HEADER)
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=4, min_width=320):
                photo = PhotoInput(
                    label=label("Photo"),
                    sources=["upload", "webcam", "clipboard"],
                    height=300,
                    placeholder=label("Drop a photo here\nor click to choose one"),
                    buttons=["fullscreen"],
                    elem_id="photo",
                )
                strip = gr.HTML(js_on_load=PICK, apply_default_css=False, elem_id="strip")
                with gr.Column(elem_id="example-strip", visible=bool(examples)):
                    gr.HTML(label("or pick an example"), elem_id="example-title", elem_classes="strip-title")
                    with gr.Row(elem_id="examples"):
                        example_buttons = [example_card(example) for example in examples]
                with gr.Row(elem_id="question-row"):
                    question = gr.Textbox(
                        label=label("Question"),
                        placeholder=label("What is in the photo?"),
                        max_length=1000,
                        lines=1,
                        scale=5,
                        min_width=200,
                        elem_id="question",
                    )
                    ask_button = gr.Button(label("Ask"), variant="primary", scale=1, min_width=88, elem_id="ask")
                with gr.Row(elem_id="suggestions"):
                    suggestions = [gr.Button(text, size="sm", min_width=0) for text in callbacks.GENERAL_QUESTIONS]
                notice = gr.HTML(elem_id="notice")
            with gr.Column(scale=8, min_width=320, elem_id="result-column"):
                empty = gr.HTML(EMPTY_RESULT, elem_id="empty")
                with gr.Column(visible=False, elem_id="result") as result:
                    answers = gr.HTML(elem_id="answers")
                    history = gr.HTML(js_on_load=PICK, apply_default_css=False, elem_id="history")
                    with gr.Row(elem_id="inspect"):
                        with gr.Column(min_width=360):
                            subject = gr.HTML(elem_id="subject")
                            words = gr.HTML(js_on_load=PICK, apply_default_css=False, elem_id="words")
                            several = gr.Checkbox(label=label("Pick several words or cells"), elem_id="several")
                            overlay = gr.HTML(js_on_load=PICK, apply_default_css=False, elem_id="overlay")
                            slider = ShownSlider(
                                show_label=False,
                                interactive=False,
                                visible=False,
                                format="jpeg",
                                max_height=520,
                                buttons=["download", "fullscreen"],
                                elem_id="slider",
                            )
                            map_button = build_map_tools()
                            description = gr.HTML(elem_id="description")
                            colour_bar = gr.HTML(elem_id="colour-bar")
                            served = gr.HTML(elem_id="served")
                            with gr.Row(elem_id="look"):
                                view = gr.Radio(VIEWS, value="map", label=label("Show"), min_width=200, elem_id="view")
                                opacity = gr.Slider(
                                    0,
                                    100,
                                    55,
                                    step=5,
                                    label=label("Heat map opacity (%)"),
                                    buttons=[],
                                    elem_id="opacity",
                                )
                                raw_cells = gr.Checkbox(label=label("Raw cells"), min_width=120, elem_id="raw-cells")
                                same_scale = gr.Checkbox(
                                    label=label("Same scale for all words"), min_width=220, elem_id="same-scale"
                                )
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
                                        callbacks.method_choices(),
                                        value=callbacks.DEFAULT_METHOD,
                                        label=label("Method"),
                                        info=label("How the map is computed"),
                                        min_width=160,
                                        elem_id="method",
                                    )
                                refusal = gr.HTML(elem_id="refusal")
                                direction = gr.Radio(
                                    DIRECTIONS, value="text_to_image", label=label("Direction"), elem_id="direction"
                                )
                                with gr.Row():
                                    layer = gr.Dropdown(
                                        [(label("all"), ALL)],
                                        value=ALL,
                                        label=label("Layer"),
                                        min_width=120,
                                        elem_id="layer",
                                    )
                                    head = gr.Dropdown(
                                        [(label("all"), ALL)],
                                        value=ALL,
                                        label=label("Head"),
                                        min_width=120,
                                        elem_id="head",
                                    )
                            with gr.Accordion(label("All layers and heads"), open=False, elem_id="heads"):
                                number = gr.Radio(NUMBERS, value="evenness", label=label("Number"), elem_id="number")
                                heads = gr.HTML(js_on_load=PICK, apply_default_css=False, elem_id="head-maps")
                    prepare_what_if, what_if_parts = build_what_if(predictor, reply, STATE_SECONDS)
                    empty_compare, compare_parts = build_compare(predictor, reply, STATE_SECONDS)
                    empty_feedback, feedback_inputs, feedback_parts = build_feedback(reply, STATE_SECONDS)
                    look = [direction, layer, head, opacity, raw_cells, same_scale, view, number]
                    build_keep(predictor, examples, reply, picked, look, map_button)
        kept_photos = " " + label(EXCEPTION) if feedback_parts else ""
        gr.HTML(f'<footer class="page-footer">{label(FOOTER)}{kept_photos}</footer>')

        drawing = [subject, words, overlay, slider, description, colour_bar, served, heads]
        chosen = [explained, method, refusal, layer, head]
        shown = [opened, reply, picked, notice, empty, result, answers, history, evidence, *chosen, *drawing]
        shown += [*what_if_parts, *compare_parts]

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
                **dict.fromkeys([subject, words, overlay, description, colour_bar, served, heads, history], ""),
            }

        def draw(current, marked, toward, in_layer, in_head, percent, raw, same, shape, counted) -> dict:
            if current is None:  # the visitor's state was dropped meanwhile, or a new photo arrived
                return dict.fromkeys(drawing, gr.skip())
            place = callbacks.place_or_all(in_layer), callbacks.place_or_all(in_head)
            part = callbacks.part_of(current.explanation, toward, *place)
            wanted = figures.Look(percent / 100, raw, same)
            photo_itself = current.photo.picture
            return {
                subject: figures.subject_html(current.answer, part, toward, *place),
                words: figures.words_html(part, marked.words),
                overlay: gr.update(
                    value=figures.map_html(
                        photo_itself, part, marked.words, marked.cells, wanted, shape == "side_by_side", toward
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
            most = len(figures.WORD_COLOURS) if kind == "words" else None
            add = more or bool(data.get("add"))
            new = callbacks.pick(getattr(marked, kind), data.get("items"), add, count[kind], most)
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

        def answer(path, known, text, histories) -> dict:
            return answered(callbacks.answer(predictor, path, session.already_opened(histories, path) or known, text))

        def answer_link(link, path, known) -> dict:
            return answered(session.follow_link(predictor, path, known, link)) if link else {asked: gr.skip()}

        def answered(outcome) -> dict:
            return {asked: outcome, **({opened: outcome.reply.photo} if outcome.reply else {})}

        def show(outcome, path, toward, in_layer, in_head, *wanted) -> dict:
            if outcome is None or outcome.path != path:  # another photo came meanwhile: its page stays as it is
                return {reply: gr.skip()}
            if outcome.reply is None:
                return {notice: figures.notice_html(outcome.message)}  # an earlier answer on this photo stays
            return present(outcome.reply, callbacks.Picked(), outcome.message, toward, None, None, *wanted)

        def show_link(outcome, link, path, toward, in_layer, in_head, *wanted) -> dict:
            if link is None or outcome is None or outcome.path != path or outcome.reply is None:
                return show(outcome, path, toward, in_layer, in_head, *wanted)
            marked, *place, missing = session.marked_by(link, outcome.reply)
            message = " ".join(filter(None, (outcome.message, missing)))
            return {
                direction: link.direction,
                **present(outcome.reply, marked, message, link.direction, *place, *wanted),
            }

        def present(current, marked, message, toward, in_layer, in_head, *wanted) -> dict:
            """A reply on the page, as it is after a question."""
            layers, width = current.explanation.text_to_image.shape[:2]
            place = tuple(ALL if index is None else index for index in (in_layer, in_head))
            return {
                reply: current,
                picked: marked,
                notice: figures.notice_html(" ".join(filter(None, (message, getattr(predictor, "notice", ""))))),
                empty: gr.update(visible=False),
                result: gr.update(visible=True),
                answers: figures.result_html(
                    current.prediction,
                    callbacks.right_answer(examples, current),
                    predictor.track_record(current.prediction.answers[0].probability),
                ),
                evidence: figures.evidence_html(current.evidence, current.prediction.gate),
                explained: gr.update(
                    choices=[candidate.text for candidate in current.prediction.answers], value=current.answer
                ),
                method: known_method(current),
                refusal: "",
                layer: gr.update(choices=numbered(layers), value=place[0]),
                head: gr.update(choices=numbered(width), value=place[1]),
                **draw(current, marked, toward, *place, *wanted),
                **prepare_what_if(current),  # here, not as events of their own: those could overtake a quick click
                **empty_compare(),
            }

        def remember(histories, path, current) -> dict:
            histories = session.remember(histories, path, current)
            return {
                kept: histories,
                history: session.history_html(histories, current),
                strip: session.strip_html(histories, current),
            }

        def back_to_question(event: gr.EventData, histories, current, toward, in_layer, in_head, *wanted) -> dict:
            before = session.history_of(histories, current.photo) if current else None
            place = callbacks.pick((), event._data.get("items"), False, len(before.replies) if before else 0)
            if not place:
                return {reply: gr.skip()}
            return back_to(before.replies[place[0]], toward, *wanted)

        def back_to_photo(event: gr.EventData, histories, toward, in_layer, in_head, *wanted) -> dict:
            place = callbacks.pick((), event._data.get("items"), False, len(histories))
            if not place:
                return {reply: gr.skip()}
            before = histories[place[0]]
            example = session.example_of(examples, before.photo)
            there = Path(before.path).is_file()  # unless it lay here for longer than FILE_SECONDS
            return {
                photo: before.path if there else before.photo.picture,
                **offer(example.questions if example else callbacks.GENERAL_QUESTIONS),
                **back_to(before.replies[-1], toward, *wanted),
            }

        def back_to(current, toward, *wanted) -> dict:
            return {
                opened: current.photo,
                question: current.prediction.question,
                **present(current, callbacks.Picked(), "", toward, None, None, *wanted),
            }

        def open_link(request: gr.Request) -> dict:
            try:
                link = session.read_link(request.query_params, examples)
            except InputError as error:
                return {notice: figures.notice_html(callbacks.message_for(error))}
            if link is None:
                return {notice: gr.skip()}
            example = next(example for example in examples if example.path.stem == link.photo)
            return {
                linked: link,
                photo: str(example.path),
                question: link.question,
                **offer(example.questions),
            }

        def forget_photo(path, outcome) -> dict:
            if path and outcome is not None and outcome.path == path:  # a quick question was answered before us
                return {opened: gr.skip()}
            return {opened: None, **no_result(), **offer(callbacks.GENERAL_QUESTIONS)}

        def encode(path, known, histories) -> dict:
            known = session.already_opened(histories, path) or known
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
            and_follow(asking.then(show, [asked, photo, *look], shown, **at_once))

        def and_follow(showing) -> None:
            showing.then(remember, [kept, photo, reply], [kept, history, strip], **at_once)
            showing.then(None, js=SHOW_RESULT)
            if feedback_parts:
                showing.then(empty_feedback, feedback_inputs, feedback_parts, **at_once)

        asking = {
            "fn": answer,
            "inputs": [photo, opened, question, kept],
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
            [photo, opened, kept],
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
        ).then(remember, [kept, photo, reply], [kept, history, strip], **at_once)
        going_back = {"outputs": [photo, question, *suggestions, *shown], "show_progress": "hidden", "queue": False}
        and_follow(history.pick(back_to_question, [kept, reply, *look], **going_back))
        and_follow(strip.pick(back_to_photo, [kept, *look], **going_back))
        photo.upload(None, js=TO_QUESTION)
        page.load(None, js=LEAVE_MENUS)
        page.load(None, js=NO_FULLSCREEN)
        page.load(None, js=f"() => {{ if (document.documentElement.lang !== 'en') document.title = {CHINESE_TITLE}; }}")
        # Through the queue: gradio tells of a changed State only there.
        page.load(open_link, None, [linked, notice, photo, question, *suggestions], show_progress="hidden")
        following = linked.change(
            answer_link, [linked, photo, opened], [asked, opened], show_progress_on=[empty, answers], **on_model
        )
        and_follow(following.then(show_link, [asked, linked, photo, *look], [direction, *shown], **at_once))
        build_api(page, predictor, examples)
    # Nobody skips the queue by calling a function directly; past the limit a visitor is told that the page is busy.
    return page.queue(default_concurrency_limit=4, max_size=MOST_WAITING, api_open=False)


def example_card(example: callbacks.Example) -> gr.Button:
    """A photo as a button, so that the keyboard reaches it too; says so when the model is known to be wrong on it."""
    return gr.Button(
        label(example.title + (" · the model gets this one wrong" if example.known_wrong else "")),
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
    return [(say("all"), ALL), *((str(index + 1), index) for index in range(count))]
