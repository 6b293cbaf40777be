"""The page's end: "About" has the text that never changes, and one button forgets the visit."""

import gradio as gr

from demo.languages.translate import label
from valm_core.outputs import Predictor

MODEL = (
    "<h3>The model</h3><p>VALM looks at the photo in small squares, called cells, reads the question word by word, and "
    "chooses among the answers it has learned. Its model card lies beside its weights, in {checkpoint}.</p>"
)
LIMITS = (
    "<h3>What a map can’t show</h3><p>A heat map shows what the model read for its answer. That is a clue and not a "
    "proof: it doesn’t show what was understood or why, and the answer may come from the question alone. A cell also "
    "knows a little of what lies around it.</p>"
)
SHARES = (
    "<h3>What the percentages mean</h3><p>They were set right on many test questions: of all answers given with 60 %, "
    "about 60 of 100 were right. That holds on average, not for each one, and less for other kinds of photos.</p>"
)
PRIVACY = "<h3>Your photos</h3><p>Photos stay on this server for a few hours at most."
EXCEPTION = "Those that their owners agree to keep with a correction stay longer."
VISIT = (
    "This tab keeps your questions and the names of your photos, so that a reload brings them back; closing it, or "
    "the button here, forgets them.</p>"
)
FOR_PROGRAMS = '<h3>For programs</h3><p><a href="api" target="_blank">API: over HTTP or from Python</a></p>'


def build_about(predictor: Predictor, corrections: bool) -> gr.Button:
    """Lay it out.

    Args:
        predictor: for the name of its checkpoint.
        corrections: whether photos may be kept with a correction.

    Returns:
        The button that forgets the visit.
    """
    texts = [MODEL, LIMITS, SHARES, PRIVACY, *([EXCEPTION] if corrections else []), VISIT, FOR_PROGRAMS]
    text = label(*texts, checkpoint=str(predictor.facts.get("checkpoint", "checkpoint")))
    with gr.Row(elem_id="page-end"):
        with gr.Accordion(label("About"), open=False, elem_id="about"):
            gr.HTML(f'<div class="page-footer">{text}</div>')
        return gr.Button(label("Forget this visit"), size="sm", min_width=150, scale=0, elem_id="forget")
