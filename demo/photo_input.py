"""The photo upload. (gradio writes a photo_input.pyi beside this file when it is imported; git ignores that.)"""

import gradio as gr


class PhotoInput(gr.Image):
    """An image upload that hands over the file as it came.

    gr.Image opens the file itself, before any callback runs, and shows its own "Error" for one that it can't read.
    """

    is_template = True  # gradio then shows it with gr.Image's own frontend

    def preprocess(self, payload) -> str | None:
        """The path of the uploaded file, unopened; None where there is none."""
        return payload.path if payload is not None else None
