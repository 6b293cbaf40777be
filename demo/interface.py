"""The page: layout and wiring only. callbacks.py does the work, figures.py draws."""

from html import escape
from pathlib import Path

import gradio as gr

from demo import callbacks, figures
from demo.compare import build_compare
from demo.photo_input import PhotoInput
from demo.theme import build_theme
from demo.what_if import build_what_if

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "assets" / "examples"
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
<li><strong>Click a word</strong> of your question to see where in the photo the model looked for it.</li></ol>
<div class="ghost-bars" aria-hidden="true"><span></span><span></span><span></span><span></span><span></span></div>
<p class="fine-print">You get five answers with calibrated probabilities, and what the model would have said without the
photo.</p></section>
"""
FOOTER = """
<footer class="page-footer">A heat map shows what the model read for its answer, which is a clue and not a proof of it.
Photos stay on this server for a few hours at most.</footer>
"""

# On a phone the result lies below the fold, and no component can scroll to another: bring it into view if it isn't.
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
        gr.HTML(HEADER)
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=5, min_width=320):
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
            with gr.Column(scale=6, min_width=320, elem_id="result-column"):
                empty = gr.HTML(EMPTY_RESULT, elem_id="empty")
                with gr.Column(visible=False, elem_id="result") as result:
                    answers = gr.HTML(elem_id="answers")
                    word = gr.Radio(
                        [("whole question", figures.WHOLE_QUESTION)],
                        value=figures.WHOLE_QUESTION,
                        label="Where did it look? Pick a word of your question",
                        elem_id="words",
                    )
                    picture = gr.Image(
                        show_label=False,
                        interactive=False,
                        format="jpeg",
                        buttons=["download", "fullscreen"],
                        elem_id="overlay",
                    )
                    colour_bar = gr.HTML(elem_id="colour-bar")
                    evidence = gr.HTML(elem_id="evidence")
                    opacity = gr.Slider(0, 100, 55, step=5, label="Heat map opacity (%)", buttons=[], elem_id="opacity")
                    with gr.Row(elem_id="look"):
                        raw_cells = gr.Checkbox(label="Raw cells", min_width=120, elem_id="raw-cells")
                        same_scale = gr.Checkbox(label="Same scale for all words", min_width=220, elem_id="same-scale")
                    prepare_what_if, what_if_parts = build_what_if(predictor, reply)
                    empty_compare, compare_parts = build_compare(predictor, reply)
        gr.HTML(FOOTER)

        look = [opacity, raw_cells, same_scale]
        drawing = [picture, colour_bar]
        shown = [opened, reply, notice, empty, result, answers, word, evidence, *drawing]

        def no_result() -> dict:
            return {
                reply: None,
                notice: notice_html(""),
                empty: gr.update(visible=True),
                result: gr.update(visible=False),
                answers: "",
                picture: None,
                colour_bar: "",
                evidence: "",
            }

        def draw(current, index, opacity_percent, raw, same) -> dict:
            if current is None:  # the visitor's state was dropped meanwhile, or a new photo arrived
                return {picture: gr.skip(), colour_bar: gr.skip()}
            index = callbacks.known_word(current.explanation, index)
            wanted = figures.Look(opacity_percent / 100, raw, same)
            return {
                picture: gr.update(
                    value=figures.overlay(current.photo.picture, current.explanation, index, wanted),
                    alt_text=figures.map_description(current.explanation, index),
                ),
                colour_bar: figures.colour_bar_html(current.explanation, index, wanted),
            }

        def answer(path, known, text) -> dict:
            outcome = callbacks.answer(predictor, path, known, text)
            return {asked: outcome, **({opened: outcome.reply.photo} if outcome.reply else {})}

        def show(outcome, path, *wanted) -> dict:
            if outcome is None or outcome.path != path:  # another photo came meanwhile: its page stays as it is
                return {reply: gr.skip()}
            if outcome.reply is None:
                return {notice: notice_html(outcome.message)}  # an earlier answer on this photo stays
            current = outcome.reply
            return {
                reply: current,
                notice: notice_html(""),
                empty: gr.update(visible=False),
                result: gr.update(visible=True),
                answers: figures.result_html(current.prediction, callbacks.right_answer(examples, current)),
                word: gr.update(choices=callbacks.word_choices(current.explanation), value=figures.WHOLE_QUESTION),
                evidence: figures.evidence_html(current.evidence),
                **draw(current, figures.WHOLE_QUESTION, *wanted),
            }

        def forget_photo(path, outcome) -> dict:
            if path and outcome is not None and outcome.path == path:  # a quick question was answered before us
                return {opened: gr.skip()}
            return {opened: None, **no_result(), **offer(callbacks.GENERAL_QUESTIONS)}

        def encode(path, known) -> dict:
            try:
                return {opened: callbacks.open_photo(predictor, path, known) if path else None}
            except Exception as error:
                return {photo: None, notice: notice_html(callbacks.message_for(error))}

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
        gr.on(
            [word.input, opacity.input, raw_cells.input, same_scale.input],
            draw,
            [reply, word, *look],
            drawing,
            trigger_mode="always_last",
            concurrency_limit=4,
            show_progress="hidden",
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


def notice_html(message: str) -> str:
    """A message for the person, read out by screen readers; nothing for no message."""
    return f'<p class="notice" role="alert">{escape(message)}</p>' if message else ""
