"""The page "More", beside the page that answers: words tagged, relations, statements, feelings, documents read."""

from dataclasses import dataclass

import gradio as gr
from markupsafe import escape

from demo.languages.translate import label, say, translated
from demo.more.models import MoreModels
from demo.more.results import labelled_html, map_picture_html, page_picture_html, read_html, tagged_html
from demo.page.find import ASK
from demo.rendering.photo_input import build_photo
from demo.rendering.wording import notice_html
from valm_core.inputs.photo import open_photo
from valm_core.outputs import InputError
from valm_core.tasks.labeller import MAX_TEXT_CHARACTERS

NAME = "More"
ON_MODELS = {"concurrency_id": "more", "concurrency_limit": 1}
CLAIM = (
    "<h1>More than questions</h1>"
    "<p>Small models for single tasks. Each says how likely it is, and what spoke for it.</p>"
)


@dataclass(frozen=True)
class Task:
    """What a visitor sees of a task: its name, what it does, what the text is, an example, what it takes beside."""

    name: str
    does: str
    text: str
    example: str
    photo: bool = False
    document: bool = False


TASKS = {
    "tag": Task(
        "Tag words",
        "Finds people, places, organisations and other names in a sentence.",
        "A sentence",
        "Angela Merkel visited the U.N. in New York.",
    ),
    "relate": Task(
        "Relate",
        "Says how two marked parts of a text are related. Mark both with brackets.",
        "A text with two marked parts",
        "[Bill Cosby] 's star on the [Hollywood Walk of Fame]",
    ),
    "judge": Task(
        "Judge",
        "Says whether a photo supports a statement, contradicts it, or leaves it open.",
        "A statement about the photo",
        "Two people are outdoors.",
        photo=True,
    ),
    "feel": Task(
        "Feel",
        "Says whether a short text, with its photo if it has one, sounds positive, neutral or negative.",
        "A short text",
        "What a lovely evening with friends!",
        photo=True,
    ),
    "read": Task(
        "Read",
        "Reads a receipt or another printed page, a photo or a PDF, and finds the answer among its words.",
        "A question about the page",
        "What is the total on the receipt?",
        document=True,
    ),
}


class MorePage:
    """What happens on the page; every function returns the values of its outputs in their order."""

    def __init__(self, models: MoreModels):
        self.models = models

    def choose(self, task: str) -> list:
        """Show what a task takes: what it does, text, example, photo, document, page; and no result yet."""
        chosen = TASKS[task]
        return [
            f"<p>{say(chosen.does)}</p>",
            gr.update(label=say(chosen.text), placeholder=chosen.example),
            gr.update(value=chosen.example),
            gr.update(visible=chosen.photo),
            gr.update(visible=chosen.document),
            gr.update(visible=chosen.document),
            "",
            "",
            "",
        ]

    def run(self, task: str, *given) -> tuple[str, ...]:
        """``answer``, kept for ``show`` with the task that it is of."""
        return task, *self.answer(task, *given)

    def show(self, done: tuple[str, ...] | None, task: str) -> list:
        """What was found out, unless another task was chosen meanwhile."""
        return list(done[1:]) if done and done[0] == task else [gr.skip()] * 3

    def answer(self, task: str, text: str, photo: str | None, document: str | None, number: float | None) -> list[str]:
        """What the model says, a picture of where it looked, "" for none, and what is read out of it all."""
        chosen = TASKS[task]
        try:
            if task == "tag":
                tagged = self.models.tag(text)
                said = ", ".join(span.text for span in tagged.spans) or say("No entity was found in this sentence.")
                return [tagged_html(tagged), "", str(escape(said))]
            if task == "read":
                if document is None:
                    raise InputError("There is no document yet. Choose a photo or a PDF of one.")
                page, answer = self.models.read(document, text, int(number or 1))
                return [read_html(page, answer), page_picture_html(page, answer), str(escape(answer.text))]
            shown = photo if chosen.photo else None
            labelled = self.models.label(task, text, shown)
            picture = map_picture_html(open_photo(shown), labelled) if shown else ""
            return [labelled_html(labelled), picture, str(escape(labelled.labels[0].text))]
        except InputError as error:
            return [notice_html(translated(error)), "", ""]


def build_more_page(models: MoreModels, seconds: float) -> None:
    """Lay the page out and wire it; call it within the block of its route.

    Args:
        models: those of the tasks.
        seconds: how long what was found out stays in memory.
    """
    page = MorePage(models)
    done = gr.State(time_to_live=seconds)
    first = TASKS[models.tasks[0]]
    gr.Navbar(main_page_name=ASK)
    gr.HTML(f'<header class="page-header">{label(CLAIM)}</header>')
    with gr.Row(elem_id="columns"):
        with gr.Column(scale=4, min_width=320, elem_id="ask-column"):
            choices = [(label(TASKS[name].name), name) for name in models.tasks]
            task = gr.Radio(choices, value=models.tasks[0], label=label("Task"), elem_id="more-task")
            does = gr.HTML(f"<p>{label(first.does)}</p>")
            photo = build_photo(None, 220, first.photo)
            document = gr.File(
                label=label("Document: a photo or a PDF"),
                file_types=["image", ".pdf"],
                height=120,
                visible=first.document,
            )
            number = gr.Number(
                1, label=label("Page of the PDF"), minimum=1, precision=0, visible=first.document, elem_id="more-number"
            )
            text = gr.Textbox(
                label=label(first.text),
                placeholder=first.example,
                max_length=MAX_TEXT_CHARACTERS,
                lines=2,
                max_lines=4,
                elem_id="more-text",
            )
            with gr.Row(elem_id="suggestions"):
                example = gr.Button(first.example, size="sm", min_width=0, elem_id="more-example")
            run = gr.Button(label("Go"), variant="primary", elem_id="more-run")
        with gr.Column(scale=8, min_width=320, elem_id="result-column"):
            result = gr.HTML(elem_id="more-result")
            picture = gr.HTML(elem_id="more-picture")
            announcement = gr.HTML(elem_id="announcement")
    found = [result, picture, announcement]
    taken = [does, text, example, photo, document, number, *found]
    task.change(page.choose, task, taken, queue=False, show_progress="hidden")
    running = {
        "fn": page.run,
        "inputs": [task, text, photo, document, number],
        "outputs": done,
        "show_progress_on": [result],
        "trigger_mode": "always_last",
        **ON_MODELS,
    }
    filling = example.click(lambda shown: shown, example, text, queue=False, show_progress="hidden")
    showing = {"trigger_mode": "always_last", "queue": False, "show_progress": "hidden"}
    for finding_out in (run.click(**running), filling.then(**running)):
        finding_out.then(page.show, [done, task], found, **showing)
