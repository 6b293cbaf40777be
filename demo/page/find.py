"""The page "Find", beside the page that answers: its components, and what happens on them."""

from dataclasses import dataclass, replace

import gradio as gr
from PIL import Image

from demo.finding.collection import Collection, Search
from demo.finding.results import found_html, progress_html, refusal_html
from demo.languages.translate import label, say
from demo.page.into_view import into_view
from demo.page.layout import SELECTION_SCRIPT
from demo.rendering.map import map_html, picture_html
from demo.rendering.overlay import Look
from demo.rendering.photo_input import build_photo
from demo.rendering.words import words_html
from demo.visit import asking
from valm_core.inputs.question import MAX_QUESTION_CHARACTERS
from valm_core.outputs import Explanation, InputError

NAME, ASK = "Find", "Ask"  # this page and the one that answers
EXAMPLES = ("a dog on grass", "people at a table", "a street at night")
ON_FINDER = {"concurrency_id": "find", "concurrency_limit": 1}
CLAIM = (
    "<h1>Find photos</h1><p>Type what a photo shows, or give a photo. Of this collection the best fits come first; "
    "each shows where it fits.</p>"
)
SHOW_PHOTO = into_view(("#overlay", "#found-photo"))  # it lies below those found
WEAK = "It matches things and their looks. “No”, counts, and who does what to whom hardly change what is found."


@dataclass(frozen=True)
class Shown:
    """What a visitor sees: a search, small copies of the photos, the selected one with its map and words."""

    search: Search
    pictures: tuple[Image.Image | None, ...]
    place: int = 0
    picture: Image.Image | None = None
    explanation: Explanation | None = None
    words: tuple[int, ...] = ()


class FindPage:
    """What happens on the page; every function returns the values of ``build_find_page``'s ``shown``, in order."""

    def __init__(self, collection: Collection):
        self.collection = collection

    def progress(self) -> str:
        """How far indexing is, when the page is opened."""
        return progress_html(self.collection.progress)

    def by_words(self, text: str) -> list:
        """Find what fits words."""
        return self._show(lambda: self.collection.by_words(text))

    def by_photo(self, path: str | None) -> list:
        """Find what is like a photo; nothing where it was taken away."""
        return self._show(lambda: self.collection.by_photo(path)) if path else self._parts(None)

    def select_photo(self, shown: Shown | None, event: gr.EventData) -> list:
        """Show another one of the photos found."""
        items = asking.select((), event.items, False, len(shown.search.found)) if shown else ()
        return self._parts(self._opened(replace(shown, place=items[0], words=())) if shown and items else shown)

    def select_word(self, shown: Shown | None, event: gr.EventData) -> list:
        """Show where one word was matched."""
        if shown and shown.explanation:
            count = len(shown.explanation.tokens)
            shown = replace(shown, words=asking.select(shown.words, event.items, event.add, count))
        return self._parts(shown)

    def _show(self, search) -> list:
        try:
            found = search()
        except InputError as error:
            return self._parts(None, refusal_html(error))
        pictures = tuple(self.collection.small(one.name) for one in found.found)
        return self._parts(self._opened(Shown(found, pictures)))

    def _opened(self, shown: Shown) -> Shown:
        """The selected photo with its map; without, where the photo is gone."""
        if not shown.search.found:
            return shown
        try:
            picture = self.collection.picture(shown.search.found[shown.place].name)
        except InputError:
            return replace(shown, picture=None, explanation=None)
        query = shown.search.query
        explanation = self.collection.explain(query, picture) if query else None
        return replace(shown, picture=picture, explanation=explanation)

    def _parts(self, shown: Shown | None, notice: str = "") -> list:
        found = found_html(shown.search, list(shown.pictures), shown.place) if shown else ""
        words = overlay = subject = ""
        if shown and shown.picture:
            subject = (
                f"<h2>{say('Photo {place} of {count}', place=shown.place + 1, count=len(shown.search.found))}</h2>"
            )
            if shown.explanation:
                words = words_html(shown.explanation, shown.words, say("all words"))
                overlay = map_html(shown.picture, shown.explanation, shown.words, (), Look())
            else:
                overlay = picture_html(shown.picture)  # no words whose map could lie over it
        progress = progress_html(self.collection.progress)
        said = say("{count} photos found, the best first.", count=len(shown.search.found)) if shown else ""
        return [shown, notice or found, gr.update(visible=bool(overlay)), subject, words, overlay, progress, said]


def build_find_page(collection: Collection, seconds: float) -> None:
    """Lay the page out and wire it; call it within the block of its route.

    Args:
        collection: what is looked through.
        seconds: how long what a visitor found stays in memory.
    """
    page = FindPage(collection)
    state = gr.State(time_to_live=seconds)
    gr.Navbar(main_page_name=ASK)
    gr.HTML(f'<header class="page-header">{label(CLAIM)}</header>')
    with gr.Row(elem_id="columns"):
        with gr.Column(scale=4, min_width=320, elem_id="ask-column"):
            with gr.Row(elem_id="question-row"):
                words = gr.Textbox(
                    label=label("What the photo shows"),
                    placeholder=EXAMPLES[0],
                    max_length=MAX_QUESTION_CHARACTERS,
                    lines=1,
                    max_lines=1,
                    scale=5,
                    min_width=200,
                    elem_id="find-words",
                )
                find = gr.Button(label("Find"), variant="primary", scale=1, min_width=88, elem_id="find-button")
            with gr.Row(elem_id="suggestions"):
                examples = [gr.Button(text, size="sm", min_width=0) for text in EXAMPLES]
            with gr.Accordion(label("Find photos like one of yours"), open=False):
                photo = build_photo("find-photo", 220)
            progress = gr.HTML(page.progress)
            gr.HTML(f'<p class="fine-print">{label(WEAK)}</p>')
        with gr.Column(scale=8, min_width=320, elem_id="result-column"):
            announcement = gr.HTML(elem_id="announcement")
            found = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="found")
            with gr.Column(visible=False, elem_id="found-photo") as opened:
                subject = gr.HTML(elem_id="subject")
                chips = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="words")
                overlay = gr.HTML(js_on_load=SELECTION_SCRIPT, apply_default_css=False, elem_id="overlay")
    shown = [state, found, opened, subject, chips, overlay, progress, announcement]
    running = {"outputs": shown, "show_progress_on": [found], "trigger_mode": "always_last", **ON_FINDER}
    gr.on([find.click, words.submit], page.by_words, words, **running)
    for button in examples:
        filling = button.click(lambda text: text, button, words, queue=False, show_progress="hidden")
        filling.then(page.by_words, words, **running)
    gr.on([photo.input, photo.clear], page.by_photo, photo, **running)
    selecting = {"outputs": shown, "trigger_mode": "multiple", "show_progress": "hidden", **ON_FINDER}
    found.pick(page.select_photo, state, **selecting).then(None, js=SHOW_PHOTO)
    chips.pick(page.select_word, state, **selecting)
