"""A choice that the page still shows though it is no longer offered does no harm."""

import gradio as gr
import pytest

from demo.rendering.menus import Menu, Ticks

CHOICES = [("all", -1), ("1", 0), ("2", 1)]


@pytest.mark.parametrize(
    ("menu", "sent", "taken"),
    [
        (Menu(CHOICES), 1, 1),
        (Menu(CHOICES), 7, -1),
        (Menu(CHOICES), None, -1),
        (Menu([]), 7, None),
        (Menu(CHOICES, multiselect=True), [1, 7, 0], [1, 0]),
        (Menu(CHOICES, multiselect=True), None, []),
        (Ticks(CHOICES), [7, 1], [1]),
        (Ticks([]), [7], []),
    ],
)
def test_what_is_no_longer_offered_is_left_out(menu, sent, taken):
    assert menu.preprocess(sent) == taken


def test_gradio_itself_refuses_it_which_is_why():
    with pytest.raises(gr.Error, match="not in the list of choices"):
        gr.Dropdown(CHOICES).preprocess(7)
