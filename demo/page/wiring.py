"""The page: put together and wired. layout.py has its components, events.py and those beside it what happens."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from demo import ASSETS
from demo.finding.collection import PATH as FIND_PATH
from demo.finding.collection import Collection
from demo.languages.chinese import CHINESE, NAMES_OF_GRADIO
from demo.languages.translate import CHINESE_LOCALES, translations
from demo.more.models import PATH as MORE_PATH
from demo.more.models import MoreModels
from demo.page.about import card_routes
from demo.page.events import Page
from demo.page.find import ASK, build_find_page
from demo.page.find import NAME as FIND
from demo.page.into_view import into_view
from demo.page.layout import SMALL, build_layout
from demo.page.more import NAME as MORE
from demo.page.more import ON_MODELS, build_more_page
from demo.page.returning import Returning
from demo.panels.share import LEAVE_LARGE
from demo.rendering.go_to import GO_TO
from demo.rendering.theme import build_theme
from demo.server.api import build_api, mcp_wanted
from demo.server.api_page import api_routes
from demo.server.first_frame import TITLE, small_pictures
from demo.server.guard import exposure_options
from demo.server.leaving import StoppingBlocks
from demo.server.shutdown import FILE_SECONDS
from demo.settings import Settings
from demo.visit.browser_storage import READ, WRITE
from demo.visit.examples import read_examples
from demo.visit.uploads import MAX_UPLOAD_BYTES
from valm_core.captions.captioner import Captioner
from valm_core.outputs import Predictor

PACKAGED = "/examples"  # the address of the example photos
HERE = Path(__file__).parent
EXAMPLES = ASSETS / "examples"
STATE_SECONDS = 60 * 60  # how long an untouched visitor's photo and maps stay in memory
MAX_WAITING = 192  # in the queue, of all visitors: a question of each, and the evidence of the one before
DEFAULTS = Settings()
# gradio writes there the language of its own that the browser asks for; the page has two of them.
IN_CHINESE = f"{json.dumps(CHINESE_LOCALES)}.includes(document.documentElement.lang)"
IN_ORDER = (HERE / "in_order.js").read_text(encoding="utf-8")
MEND = (HERE / "mend.js").read_text(encoding="utf-8")
MEND = MEND.replace("NAMES", json.dumps(NAMES_OF_GRADIO)).replace("IN_CHINESE", IN_CHINESE)
CHINESE_TITLE = json.dumps(CHINESE[TITLE])  # the page's title is no component, so gradio doesn't translate it
TRANSLATE_TITLE = f"() => {{ if ({IN_CHINESE}) document.title = {CHINESE_TITLE}; }}"
# Nor are the names of the pages.
TRANSLATE_NAMES = f"""() => {{
  if (!{IN_CHINESE}) return;
  const names = {json.dumps({name: CHINESE[name] for name in (ASK, FIND, MORE)})};
  for (const one of document.querySelectorAll("nav *"))
    if (!one.children.length) one.textContent = names[one.textContent.trim()] ?? one.textContent;
}}"""

ON_MODEL = {"concurrency_id": "model", "concurrency_limit": 1}  # encoding and answering wait for each other
BESIDE_MODEL = {"concurrency_id": "evidence", "concurrency_limit": 1}  # gives way to them, see ``Page.weigh``
AT_ONCE = {"queue": False, "show_progress": "hidden"}

# On a phone the result lies below the fold. The examples above an answer fold up once, so that the way back to the
# question is short.
FOLD_EXAMPLES = """() => {
  const narrow = matchMedia("(max-width: 699px)").matches, strip = document.querySelector("#example-strip");
  const answered = document.querySelector("#sentence .sentence");
  if (answered && strip && !strip.dataset.folded && narrow && matchMedia("(pointer: coarse)").matches) {
    strip.dataset.folded = "once";
    strip.querySelector(".label-wrap.open")?.click();
  }
}"""
DESCRIBED = "#notice .described", "#question"  # stands below the question, and is what was asked for
TO_RESULT = into_view(
    DESCRIBED,
    ("#result .answers", "#result"),
    phone=(DESCRIBED, ("#result .map", "#sentence"), ("#result .answers", "#sentence")),
)
SHOW_RESULT = f"""() => {{
  ({FOLD_EXAMPLES})();
  return ({TO_RESULT})();
}}"""
# What is read comes above an answer that was brought into view: once, go up to it.
SHOW_READ = """() => {
  const read = document.querySelector("#printed .printed");
  if (!read || read.dataset.shown) return;
  read.dataset.shown = "once";
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (read.getBoundingClientRect().top < 0) read.scrollIntoView({behavior: calm ? "auto" : "smooth", block: "start"});
}"""
# Back up to the question, on a phone: ready to be overwritten.
TO_NEXT_QUESTION = """() => {
  const box = document.querySelector("#question textarea, #question input");
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  box.focus({preventScroll: true});
  box.select();
  document.querySelector("#photo").scrollIntoView({behavior: calm ? "auto" : "smooth", block: "start"});
}"""

# A file may be refused, and taken off the page, before gradio tells that it came: what was said of it stays then.
UNLESS_REFUSED = "(photo, notice) => photo ? '' : notice"
# And another may have come by the time one is refused: that one stays.
TAKE_OFF = """(photo, notice, refused) => {
  const { path, said } = JSON.parse(refused || "{}");
  return path && photo?.path === path ? [null, said] : [photo, notice];
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

# A part of the sentence that leads is a link to its place in "Details", which is built when it is opened.
OPEN_DETAILS = f"""() => document.addEventListener("click", (event) => {{
  const link = event.target.closest?.("a[data-details]");
  if (!link) return;
  event.preventDefault();
  ({GO_TO})("#details", link.getAttribute("href"));
}})"""

# What a screen reader is to read must lie in an element that said so before the text came.
READ_ALOUD = """() => {
  const region = document.querySelector("#announcement");
  region?.setAttribute("role", "status");
  region?.setAttribute("aria-live", "polite");
}"""


def launch_options(settings: Settings = DEFAULTS) -> dict:
    """What ``launch`` must be told so that the page looks and behaves as it was built, but for its address and port."""
    exposure = exposure_options(settings)
    photos = Mount(PACKAGED, StaticFiles(directory=EXAMPLES))
    own = [small_pictures(SMALL, EXAMPLES), photos, *api_routes(settings.root_path), *card_routes(settings)]
    exposure["app_kwargs"]["routes"] = own
    return {
        "root_path": settings.root_path,
        "theme": build_theme(),
        "css_paths": [HERE.parent / "rendering" / name for name in ("style.css", "layout.css")],
        "footer_links": [],
        "allowed_paths": [str(EXAMPLES)],
        "max_file_size": MAX_UPLOAD_BYTES,
        "mcp_server": mcp_wanted(settings.mcp),
        "ssr_mode": False,
        "i18n": gr.I18n(**translations()),
        "show_error": False,  # what our own callbacks say is shown; anything else stays in the log
        **exposure,
    }


def build_page(
    predictor: Predictor,
    examples_folder: Path = EXAMPLES,
    settings: Settings = DEFAULTS,
    captioner: Captioner | None = None,
    collection: Collection | None = None,
    more: MoreModels | None = None,
) -> gr.Blocks:
    """The page around one predictor, which all visitors share and which keeps nothing about them.

    ``captioner`` describes photos, where there is one. With a ``collection`` of photos there is a second page, Find,
    and with ``more`` models a page for their tasks, More; the one that reads also reads printed pages on the first.
    """
    fingerprint = predictor.facts.get("model_fingerprint")
    examples = read_examples(examples_folder, None if fingerprint is None else str(fingerprint))
    with StoppingBlocks(title=TITLE, delete_cache=(STATE_SECONDS, FILE_SECONDS)) as blocks:
        reader = more if more and more.can_read else None
        layout = build_layout(predictor, examples, STATE_SECONDS, settings, captioner)
        giving_way = partial(blocks.giving_way, ON_MODEL["concurrency_id"])
        page = Page(predictor, examples, layout, captioner, reader, giving_way)
        wire_giving_way(page)
        wire_questions(page)
        wire_photo(page)
        wire_map(page)
        wire_explanations(page)
        wire_browser(blocks, page)
        returning = Returning(page)
        wire_history(page, returning)
        wire_links(blocks, page, returning)
        wire_visit(page, returning)
        if collection or (more and more.tasks):
            gr.Navbar(main_page_name=ASK)
    if collection:
        with blocks.route(FIND, FIND_PATH):
            build_find_page(collection, STATE_SECONDS)
            wire_both_pages(blocks)
    if more and more.tasks:
        with blocks.route(MORE, MORE_PATH):
            build_more_page(more, STATE_SECONDS)
            wire_both_pages(blocks)
    blocks.current_page = ""  # the API is of both
    with blocks:
        build_api(blocks, predictor, examples, captioner, collection, more)
    # Nobody skips the queue by calling a function directly; past the limit a visitor is told that the page is busy.
    return blocks.queue(default_concurrency_limit=4, max_size=MAX_WAITING, api_open=False)


def wire_giving_way(page: Page) -> None:
    """What a panel searches for seconds ends where something else is asked; call it before that is wired.

    Gradio takes an event's listeners in their order, and waits for each.
    """
    ask, result = page.ask, page.result
    pressed = [ask.ask_button, *ask.suggestions, *ask.example_buttons, page.parts.forget]
    asked = [ask.question.submit, ask.photo.input, ask.photo.clear, *(button.click for button in pressed)]
    gr.on(asked, None, cancels=page.panels.searches)
    for picked in (result.asked_as, result.history, ask.strip):
        picked.pick(None, cancels=page.panels.searches)


def wire_questions(page: Page) -> None:
    """A question is typed, or comes with a button or an example: ask it and show the answer."""
    ask, memory, parts = page.ask, page.memory, page.parts
    # Gradio's own rule, "once", would drop a question that comes while the one before is being answered.
    asking: dict[str, Any] = {
        "fn": page.answer,
        "inputs": [ask.photo, memory.opened, ask.question, memory.kept, memory.asked, memory.visit_number],
        "outputs": [memory.asked, memory.opened],
        "show_progress_on": [page.result.empty, page.result.sentence],
        "trigger_mode": "multiple",
        **ON_MODEL,
    }
    answering = dict(asking)
    if "write" in page.predictor.offers:
        asking |= {"fn": page.write, "inputs": [*asking["inputs"], ask.prompt]}
        asking["outputs"] = [*asking["outputs"], page.result.writing]
    and_show(page, gr.on([ask.ask_button.click, ask.question.submit], **asking))
    for button in ask.suggestions:
        and_show(page, button.click(lambda text: text, button, ask.question, **AT_ONCE).then(**asking))
    chosen = [ask.photo, ask.question, *parts.answer_outputs, *ask.suggestions]
    for button, example in zip(ask.example_buttons, page.examples, strict=True):
        choose = partial(page.choose, example)
        and_show(page, button.click(choose, memory.kept, chosen, **AT_ONCE).then(**asking))
    exactly = [ask.photo, memory.opened, memory.reply, memory.kept, memory.asked, memory.visit_number]
    and_show(page, page.result.asked_as.pick(**answering | {"fn": page.answer_exactly, "inputs": exactly}))


def and_show(page: Page, asking) -> None:
    """After a question: its answer on the page."""
    inputs = [page.memory.asked, page.ask.photo, page.memory.visit_number, *page.parts.look_inputs]
    outputs = [*page.parts.answer_outputs, *page.ask.suggestions]
    and_follow(page, asking.then(page.show, inputs, outputs, trigger_mode="multiple", **AT_ONCE))


def and_follow(page: Page, showing) -> None:
    """After an answer came onto the page: remember it, bring it into view, empty the form for corrections."""
    and_remember(page, showing)
    showing.then(None, js=SHOW_RESULT)
    panels = page.panels
    if panels.correction_parts:
        showing.then(panels.empty_correction, panels.correction_inputs, panels.correction_parts, **AT_ONCE)
    and_weigh(page, showing)
    if page.reader is not None:
        and_read(page, showing)


def and_weigh(page: Page, event) -> None:
    """After an answer and its map: did it matter where the model looked?"""
    memory = page.memory
    weighing = event.then(
        page.weigh,
        [memory.reply, memory.weighed],
        memory.weighed,
        show_progress="hidden",
        trigger_mode="always_last",
        **BESIDE_MODEL,
    )
    and_show_found(page, weighing)


def and_read(page: Page, event) -> None:
    """After an answer: its photo may be a printed page; read it, and tell what it says.

    Beside the line of the model that answers, so that nobody waits for it.
    """
    memory = page.memory
    reading = event.then(
        page.read,
        [page.ask.photo, memory.reply, memory.kept],
        memory.read,
        show_progress="hidden",
        trigger_mode="always_last",
        **ON_MODELS,
    )
    and_show_found(page, reading).then(None, js=SHOW_READ)


def and_show_found(page: Page, finding):
    """After something was found out about an answer: it and all else that is known by then."""
    memory, result = page.memory, page.result
    inputs = [memory.weighed, memory.read, memory.reply, memory.kept, page.ask.photo]
    shown = [memory.reply, memory.kept, result.sentence, page.doubt.evidence, result.printed, result.announcement]
    shown += page.ask.suggestions
    # "once" would drop what is found about the next answer while this is shown
    return finding.then(page.show_found, inputs, shown, trigger_mode="always_last", **AT_ONCE)


def and_remember(page: Page, showing) -> None:
    """After an answer or another explanation: keep it among those of this visit."""
    memory = page.memory
    remembered = [memory.kept, page.result.history, page.ask.strip, memory.visit]
    inputs = [memory.kept, page.ask.photo, memory.reply, memory.asked, memory.visit_number]
    remembering = showing.then(page.remember, inputs, remembered, trigger_mode="multiple", **AT_ONCE)
    remembering.then(None, memory.visit, memory.visit, js=WRITE)


def wire_photo(page: Page) -> None:
    """Another photo comes, or this one goes.

    A question that is still being answered isn't cancelled: ``Page.show`` drops what belongs to another photo. Gradio
    cancels when this event comes back, which on a busy server is after the person has asked about the new photo.
    """
    ask, memory, parts = page.ask, page.memory, page.parts
    changed = [ask.photo.input, ask.photo.clear]
    # In the browser, at once: a reply that forgets the former photo may come after the one that refuses this file.
    ask.photo.clear(None, None, ask.notice, js="() => ''", show_progress="hidden")
    ask.photo.input(None, [ask.photo, ask.notice], ask.notice, js=UNLESS_REFUSED, show_progress="hidden")
    gr.on(
        changed,
        page.forget_photo,
        [ask.photo, memory.asked, memory.kept],
        [*parts.answer_outputs, *ask.suggestions],
        trigger_mode="always_last",  # "once" would drop a photo that comes right after another was taken away
        **AT_ONCE,
    ).then(
        page.encode,
        [ask.photo, memory.opened, memory.kept],
        [memory.refused, memory.opened, *ask.suggestions],
        show_progress="hidden",
        trigger_mode="always_last",
        **ON_MODEL,
    ).then(None, [ask.photo, ask.notice, memory.refused], [ask.photo, ask.notice], js=TAKE_OFF, show_progress="hidden")


def wire_map(page: Page) -> None:
    """What is selected, and how it is looked at: drawn again without the model."""
    memory, doubt, parts = page.memory, page.doubt, page.parts
    # One after the other with what selects: a map drawn for the former look would come last else.
    redrawing = {"trigger_mode": "always_last", "concurrency_id": "select", "concurrency_limit": 1}
    redrawing["show_progress"] = "hidden"
    drawn_from = [memory.reply, memory.selected, *parts.look_inputs]
    gr.on(
        [control.input for control in parts.look_inputs], page.on_map.draw, drawn_from, parts.map_outputs, **redrawing
    )
    # Every click counts, in its order: "always_last" would drop those that come while one is being drawn.
    selecting = {"trigger_mode": "multiple", "concurrency_id": "select", "concurrency_limit": 1}
    selecting["show_progress"] = "hidden"
    selected_from = [memory.reply, memory.selected, page.map.several, *parts.look_inputs]
    picking = page.map.words.pick(
        page.on_map.select_words, selected_from, [memory.selected, *parts.map_outputs], **selecting
    )
    and_judge(page, picking)
    page.map.overlay.pick(page.on_map.select_cells, selected_from, [memory.selected, *parts.map_outputs], **selecting)
    placed = [memory.selected, doubt.layer, doubt.head, *parts.map_outputs]
    doubt.heads.pick(page.on_map.select_head, drawn_from, placed, **selecting)
    cleared_from = [memory.reply, *parts.look_inputs]
    page.map.clear.click(page.on_map.clear_selection, cleared_from, [memory.selected, *parts.map_outputs], **selecting)


def and_judge(page: Page, event):
    """After a word was selected or explained anew: can its map be believed?"""
    memory = page.memory
    selected = [memory.reply, memory.selected]
    last = {"trigger_mode": "always_last"}  # a word that is selected while another is judged is judged next
    judging = event.then(
        page.on_map.judge_word, selected, memory.judged, show_progress="hidden", **last, **BESIDE_MODEL
    )
    judging.then(page.on_map.show_judged, [memory.judged, *selected], page.map.word_verdict, **last, **AT_ONCE)


def wire_explanations(page: Page) -> None:
    """Another answer or method is chosen: explain again."""
    memory, doubt, parts = page.memory, page.doubt, page.parts
    place, chosen = [doubt.layer, doubt.head], [doubt.refusal, doubt.explained, doubt.method, doubt.evidence]
    explaining = gr.on(
        [doubt.explained.input, doubt.method.input],
        page.on_map.explain_again,
        [memory.reply, memory.again, memory.asked, memory.kept, doubt.method, doubt.explained],
        memory.again,
        show_progress_on=[page.map.overlay, doubt.evidence],
        trigger_mode="always_last",
        **ON_MODEL,
    )
    showing = explaining.then(
        page.on_map.show_again,
        [memory.again, memory.reply, memory.selected, *parts.look_inputs],
        [memory.reply, page.result.sentence, *chosen, *place, *parts.map_outputs, *page.panels.compare_parts],
        trigger_mode="always_last",
        **AT_ONCE,
    )
    and_remember(page, showing)
    and_judge(page, showing)


def wire_history(page: Page, returning: Returning) -> None:
    """Back to an earlier question or photo."""
    ask, memory, parts = page.ask, page.memory, page.parts
    outputs = [memory.asked, *ask.asked, *parts.answer_outputs]
    going_back = {"outputs": outputs, "trigger_mode": "multiple", **AT_ONCE}
    inputs = [memory.kept, memory.reply, *parts.look_inputs]
    and_follow(page, page.result.history.pick(returning.back_to_question, inputs, **going_back))
    and_follow(page, ask.strip.pick(returning.back_to_photo, [memory.kept, *parts.look_inputs], **going_back))


def wire_browser(blocks: gr.Blocks, page: Page) -> None:
    """What happens in the browser alone."""
    page.ask.photo.upload(None, js=TO_QUESTION)
    page.map.next_question.click(None, js=TO_NEXT_QUESTION)
    for script in (LEAVE_LARGE, OPEN_DETAILS, TRANSLATE_TITLE):
        blocks.load(None, js=script)
    wire_both_pages(blocks)


def wire_both_pages(blocks: gr.Blocks) -> None:
    """What happens in the browser on this page, on Find and on More; call it for each."""
    for script in (IN_ORDER, LEAVE_MENUS, TRANSLATE_NAMES, MEND, READ_ALOUD):
        blocks.load(None, js=script)


def wire_links(blocks: gr.Blocks, page: Page, returning: Returning) -> None:
    """The page is opened, perhaps by a link that brings a question."""
    ask, memory, parts = page.ask, page.memory, page.parts
    opened = [memory.linked, memory.kept_by_tab, ask.notice, *ask.asked]
    # Through the queue: gradio tells of a changed State only there.
    blocks.load(returning.open_page, memory.visit, opened, js=READ, show_progress="hidden")
    following = memory.linked.change(
        page.answer_link,
        [memory.linked, ask.photo, memory.opened, memory.asked, memory.visit_number],
        [memory.asked, memory.opened],
        show_progress_on=[page.result.empty, page.result.sentence],
        **ON_MODEL,
    )
    inputs = [memory.asked, memory.linked, ask.photo, memory.visit_number, *parts.look_inputs]
    outputs = [page.doubt.direction, *parts.answer_outputs, *ask.suggestions]
    and_follow(page, following.then(page.show_link, inputs, outputs, **AT_ONCE))


def wire_visit(page: Page, returning: Returning) -> None:
    """The page was loaded again: bring back what its tab kept; or the visit is to be forgotten."""
    memory, parts = page.memory, page.parts
    coming = memory.kept_by_tab.change(
        returning.come_back,
        [memory.kept_by_tab, *parts.look_inputs],
        [memory.kept, memory.asked, *page.ask.asked, *parts.answer_outputs],
        show_progress_on=[page.result.empty, page.result.sentence],
        **ON_MODEL,
    )
    and_follow(page, coming)
    forgotten = [memory.visit_number, memory.kept, memory.asked, memory.visit, *page.ask.asked, *parts.answer_outputs]
    forgetting = parts.forget.click(returning.forget_visit, memory.visit_number, forgotten, **AT_ONCE)
    forgetting.then(None, memory.visit, memory.visit, js=WRITE)
