"""The page's end: "About" has the text that never changes, and one button forgets the visit."""

from pathlib import Path

import gradio as gr
from markupsafe import escape
from starlette.responses import FileResponse
from starlette.routing import Route

from demo.languages.translate import label
from demo.settings import Settings
from valm_core.checkpoints.contents import CARD_FILE
from valm_core.checkpoints.hub import is_hub_name
from valm_core.outputs import Predictor

CARD_PAGE = "model-card"  # its address on this server
MODEL = (
    "<h3>The model</h3><p>VALM looks at the photo in small squares, called cells, reads the question word by word, and "
    "chooses among the answers it has learned. Its model card lies beside its weights, in {checkpoint}.</p>"
)
CARD = '<p><a href="{address}" target="_blank" rel="noopener">Model card: what it learned from, and how well</a></p>'
LIMITS = (
    "<h3>What a map can’t show</h3><p>A heat map shows what the model read for its answer. That is a clue and not a "
    "proof: it doesn’t show what was understood or why, and the answer may come from the question alone. A cell also "
    "knows a little of what lies around it.</p>"
)
SHARES = (
    "<h3>What the percentages mean</h3><p>They were set right on many test questions: of all answers given with 60 %, "
    "about 60 of 100 were right. That holds on average, not for each one, and less for other kinds of photos.</p>"
)
OPEN_MODEL = (
    "<h3>The model</h3><p>This page asks {checkpoint}, an open vision-language model, which VALM didn’t make. It looks "
    "at the photo in small squares, called cells, reads the question word by word, and answers. Models of its kind "
    "were tested with VALM as tiny copies with random weights, none with its real ones.</p>"
)
OWN_SHARES = (
    "<h3>What the percentages mean</h3><p>They are the model’s own probabilities of each answer as a text, and were "
    "not set right on test questions: read them as an order, not as chances of being right.</p>"
)
PRIVACY = "<h3>Your photos</h3><p>Photos stay on this server for a few hours at most."
EXCEPTION = "Those that their owners agree to keep with a correction stay longer."
VISIT = (
    "This tab keeps your questions and the names of your photos, so that a reload brings them back; closing it, or "
    "the button here, forgets them.</p>"
)
SOURCE = '<p><a href="{source}" target="_blank" rel="noopener">Source code</a></p>'
FOR_PROGRAMS = '<h3>For programs</h3><p><a href="api" target="_blank">API: over HTTP or from Python</a></p>'


def card_address(settings: Settings) -> str:
    """Where the model card can be read: on this page's own server, on the hub, or nowhere ("").

    The server's own routes are open to all, so a page with a login doesn't show its card.
    """
    checkpoint = settings.checkpoint
    if (Path(checkpoint) / CARD_FILE).is_file():
        return "" if settings.auth else CARD_PAGE
    on_hub = is_hub_name(checkpoint)
    return f"https://huggingface.co/{str(checkpoint).partition('@')[0]}" if on_hub else ""


def card_routes(settings: Settings) -> list[Route]:
    """The model card of a checkpoint folder, as the text that it is."""
    if card_address(settings) != CARD_PAGE:
        return []
    card = Path(settings.checkpoint) / CARD_FILE
    return [Route(f"/{CARD_PAGE}", lambda request: FileResponse(card, media_type="text/plain; charset=utf-8"))]


def source_address(settings: Settings) -> str:
    """Where the page's source can be read: as whoever runs it says, or the files of its Space; "" for unknown."""
    on_space = f"https://huggingface.co/spaces/{settings.space}/tree/main" if settings.space else ""
    return settings.source_url or on_space


def build_about(predictor: Predictor, corrections: bool, settings: Settings) -> gr.Button:
    """Lay it out.

    Args:
        predictor: for the name of its checkpoint.
        corrections: whether photos may be kept with a correction.
        settings: for the addresses of the model card and of the source.

    Returns:
        The button that forgets the visit.
    """
    card, source = card_address(settings), source_address(settings)
    ours = "family" not in predictor.facts  # of open models, see ``vision_language.loading.facts_of``
    calibrated = predictor.facts.get("probabilities") != "not calibrated"
    texts = [MODEL if ours else OPEN_MODEL, *([CARD] if card else []), LIMITS, SHARES if calibrated else OWN_SHARES]
    texts += [PRIVACY, *([EXCEPTION] if corrections else []), VISIT]
    texts += [FOR_PROGRAMS, *([SOURCE] if source else [])]
    checkpoint = str(predictor.facts.get("checkpoint", "checkpoint"))
    text = label(*texts, checkpoint=checkpoint, address=escape(card), source=escape(source))
    with gr.Row(elem_id="page-end"):
        with gr.Accordion(label("About"), open=False, elem_id="about"):
            gr.HTML(f'<div class="page-footer">{text}</div>')
        return gr.Button(label("Forget this visit"), size="sm", min_width=150, scale=0, elem_id="forget")
