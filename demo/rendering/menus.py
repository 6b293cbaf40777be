"""Menus whose choices change with photo and question. (gradio writes a .pyi beside this file; git ignores it.)"""

import gradio as gr


class Menu(gr.Dropdown):
    """A menu that takes a choice which is no longer offered for the first one that is.

    An answer changes the choices on the server first, and a press may still tell of one that the page shows at that
    moment: gr.Dropdown then says that the value isn't in the list of choices.
    """

    is_template = True  # gradio then shows it with gr.Dropdown's own frontend

    def preprocess(self, payload):
        """As gr.Dropdown; of several choices those that are offered."""
        offered = [value for _, value in self.choices]
        if self.multiselect:
            payload = [value for value in payload or [] if value in offered]
        elif payload not in offered:
            payload = offered[0] if offered else None
        return super().preprocess(payload)


class Ticks(gr.CheckboxGroup):
    """Boxes to tick, of which those count that are offered; for the reason see ``Menu``."""

    is_template = True

    def preprocess(self, payload):
        """As gr.CheckboxGroup."""
        offered = [value for _, value in self.choices]
        return super().preprocess([value for value in payload or [] if value in offered])
