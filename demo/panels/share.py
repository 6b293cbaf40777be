"""The panel "Keep and share": files of the question on the page, made when asked for, and a link to its state."""

from functools import partial

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache

from demo.downloads.files import FILES, Shown, file_name
from demo.languages.translate import label
from demo.rendering.overlay import Look
from demo.rendering.wording import notice_html
from demo.visit import asking, history
from demo.visit.examples import right_answer
from demo.visit.map_parts import place_in
from valm_core.outputs import Predictor

HELP = (
    "Files of the question and the maps on the page: a figure for paper or slides, all numbers, or a report that "
    "opens in any browser without a network. A link brings an example, its question and what is selected back."
)
# What each button makes, its place on the page, its name.
BUTTONS = (
    ("figure", "download-figure", label("Figure (PNG)")),
    ("svg", "download-svg", label("Figure (SVG)")),
    ("pdf", "download-pdf", label("Figure (PDF)")),
    ("json", "download-json", label("Numbers (JSON)")),
    ("report", "download-report", label("Report (HTML)")),
    ("link", "make-link", label("Link to this view")),
)
# The file that was made is fetched by a link that the page clicks itself: a DownloadButton would need a second click.
FETCH = """(file) => {
  if (!file) return;
  const link = Object.assign(document.createElement("a"), {href: file.url, download: file.orig_name});
  document.body.append(link);
  link.click();
  link.remove();
}"""
# What became of it stands below the buttons, perhaps below the screen.
SHOW_MADE = """() => setTimeout(() => {
  document.querySelector("#keep-message .notice, #link")?.scrollIntoView({block: "nearest"});
}, 100)"""
WHOLE_ADDRESS = "(query) => query ? location.origin + location.pathname + query : query"
# The whole window, and where a browser can (phones often can't), the whole screen; Escape goes back too.
ENLARGE = """() => {
  const stage = document.querySelector("#stage");
  stage.classList.add("large");
  document.querySelector("#close-large").focus();
  stage.requestFullscreen?.().catch(() => {});
}"""
SHRINK = """async () => {
  document.querySelector("#stage").classList.remove("large");
  if (document.fullscreenElement) await document.exitFullscreen();
  document.querySelector("#enlarge").focus();
}"""
LEAVE_LARGE = """() => {
  const shrink = () => document.querySelector("#stage.large #close-large")?.click();
  document.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement) shrink(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.target.closest?.("[data-item]")) shrink();
  });
}"""


def build_close_button() -> gr.Button:
    """What brings the large map back to its place; it is seen there only."""
    return gr.Button(label("Close"), size="sm", min_width=0, elem_id="close-large")


def build_map_tools(close: gr.Button) -> gr.Button:
    """Two buttons under the map: one shows it large, the other is returned and downloads it, see ``build_keep``."""
    close.click(None, js=SHRINK)
    with gr.Row(elem_id="map-tools"):
        gr.Button(label("Show large"), size="sm", min_width=0, elem_id="enlarge").click(None, js=ENLARGE)
        return gr.Button(label("Download this map (PNG)"), size="sm", min_width=0, elem_id="download-map")


def build_keep(
    predictor: Predictor, examples, reply: gr.State, selected: gr.State, look: list, map_button: gr.Button
) -> None:
    """Lay the panel out and wire it.

    Args:
        predictor: for its ``facts`` and ``track_record``.
        examples: the packaged photos, which a link can name.
        reply: the ``Reply`` on the page, None without one.
        selected: the ``Selection`` in it.
        look: direction, layer, head, opacity, raw cells, same scale, view and more, in this order.
        map_button: downloads the map as it is drawn.
    """
    with gr.Accordion(label("Keep and share"), open=False, elem_id="keep"):
        gr.HTML(label(HELP), elem_classes="fine-print")
        with gr.Row():
            buttons = {"map": map_button} | {
                kind: gr.Button(name, size="sm", min_width=120, elem_id=place) for kind, place, name in BUTTONS
            }
        message = gr.HTML(elem_id="keep-message")
        link = gr.Textbox(label=label("Link"), visible=False, interactive=False, buttons=["copy"], elem_id="link")
        file = gr.DownloadButton(visible=False)

    def shown_of(current, selection, direction, layer, head, percent, raw, same, view, *_) -> Shown:
        layer, head = place_in(current.explanation, layer, head)
        look_now = Look(percent / 100, raw, same)
        right = right_answer(examples, current)
        record = predictor.track_record(current.prediction.answers[0])
        return Shown(current, selection, direction, layer, head, look_now, view, right, record)

    def make(kind: str, current, *state):
        if current is None:
            return {file: None, message: notice_html(asking.NO_QUESTION)}
        ending, write = FILES[kind]
        try:
            current = asking.weigh(predictor, current) if current.awaited else current
            content = write(shown_of(current, *state), predictor.facts)
        except Exception as error:
            return {file: None, message: notice_html(asking.message_for(error))}
        name = file_name(current.prediction.question, ending)
        return {file: save_bytes_to_cache(content, name, file.GRADIO_CACHE), message: ""}

    def make_link(current, *state):
        hidden = gr.update(value="", visible=False)
        if current is None:
            return {link: hidden, message: notice_html(asking.NO_QUESTION)}
        shown = shown_of(current, *state)
        found = history.link_to(current, examples, shown.selection, shown.direction, shown.layer, shown.head)
        if found is None:
            return {link: hidden, message: notice_html(history.OWN_PHOTO)}
        return {link: gr.update(value=history.to_query(found), visible=True), message: ""}

    state = [reply, selected, *look]
    for kind in FILES:
        # trigger_mode "once": a second click while a file is being made is dropped
        making = {"concurrency_id": "export", "concurrency_limit": 1, "show_progress_on": buttons[kind]}
        buttons[kind].click(partial(make, kind), state, [file, message], **making).then(None, file, js=FETCH)
    at_once = {"queue": False, "show_progress": "hidden"}
    linking = buttons["link"].click(make_link, state, [link, message], **at_once)
    linking.then(None, link, link, js=WHOLE_ADDRESS).then(None, js=SHOW_MADE)
