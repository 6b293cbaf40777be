"""The numbers and words beside a map are the map's own, and the keyboard reaches its buttons."""

import base64
import io

import numpy as np
import pytest
from fake_predictor import GRID, FakePredictor, bump
from PIL import Image
from planted_maps import explanation_with

from demo.rendering.map import (
    colour_bar_html,
    heads_html,
    map_description,
    map_html,
    place_name,
    served_html,
)
from demo.rendering.overlay import FLAT_GREY, Look, overlay
from demo.rendering.wording import percent
from demo.rendering.words import words_html
from valm_core.outputs import Answer, Prediction


def test_the_colour_bar_names_grid_scale_and_numbers():
    explanation = FakePredictor().explain(FakePredictor().encode(Image.new("RGB", (20, 20))), "What color is the bus?")
    own = colour_bar_html(explanation, (4,), Look())
    assert "8 × 10 cells" in own and "each map has its own scale" in own and "<strong>bus?</strong>" in own
    assert percent(explanation.token_map(4).max()) in own
    assert "one scale for all words" in colour_bar_html(explanation, (4,), Look(same_scale=True))


def test_the_description_says_where_the_heat_is_and_how_gathered():
    heat = np.full(GRID, 0.38 / 76)
    heat[6:8, 0:2] = 0.62 / 4
    text = map_description(explanation_with(heat[None], ("bus?",)), (0,))
    assert text == "Map over the photo for “bus?”: strongest in the lower left; 62 % of the map in 4 of 80 cells."
    whole = map_description(explanation_with(heat[None], ("bus?",)), ())
    assert "the whole question: strongest" in whole


@pytest.mark.parametrize("look", [Look(opacity=1.0), Look(same_scale=True), Look(raw_cells=True)])
def test_where_no_place_stands_out_the_photo_stays_and_the_colour_bar_agrees(look):
    nearly = np.full((2, *GRID), 1 / 80)
    nearly[0, 3, 3] *= 1.04
    flat = explanation_with(nearly, ("in", "the"))
    grey = Image.new("RGB", (80, 64), (200, 90, 10))
    assert (np.asarray(overlay(grey, flat, (0,), look)) == np.asarray(grey)).all()
    assert (np.asarray(overlay(grey, flat, (), look)) == np.asarray(grey)).all()
    bar = colour_bar_html(flat, (0,), look)
    assert "No place stands out" in bar and "colour-bar-strip" not in bar and "colour-bar-numbers" not in bar
    assert colour_bar_html(flat, (0, 1), look).count("no place stands out") == 2
    assert map_description(flat, (0,)) == (
        "Map over the photo for “in”: no place stands out, every cell counted about the same."
    )
    assert f'data-shares="{",".join(["0"] * 80)}"' in words_html(flat, ())
    text = colour_bar_html(explanation_with(bump((2, 2))[None], ("bus?",)), (0,), look)
    assert "colour-bar-strip" in text and "No place" not in text


def test_a_flat_head_is_grey_in_the_gallery_and_said_so():
    even, sharp = np.full((1, *GRID), 1 / 80), bump((2, 2))[None]
    parts = [[explanation_with(even, ("a",)), explanation_with(sharp, ("a",))]]
    html = heads_html(parts, (), (), Look(), (None, None), "evenness")
    assert 'head 1: 1.00, no place stands out"' in html and html.count("no place stands out") == 1
    pictures = [part.split('"')[0] for part in html.split("base64,")[1:]]
    first, second = (Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB") for picture in pictures)
    assert first.getcolors() == [(80, FLAT_GREY)] and len(second.getcolors()) > 3


def test_a_flat_map_has_no_heat_in_the_figure_either():
    from demo.downloads.question_figure import question_figure

    prediction = Prediction("a", (Answer("yes", 0.6),), (Answer("no", 0.5),), 0.5)
    photo = Image.new("RGB", (80, 64), (200, 90, 10))
    for maps, heats in ((np.full((1, *GRID), 1 / 80), 0), (bump((2, 2))[None], 2)):
        figure = question_figure(photo, prediction, explanation_with(maps, ("a",)))
        assert sum(image.get_cmap().name == "inferno" for axis in figure.axes for image in axis.images) == heats
        text = " ".join(axis.get_xlabel().replace("\n", " ") for axis in figure.axes)
        assert text.count("no place stands out") == (2 if heats == 0 else 0)
        assert len(figure.axes) == (4 if heats == 0 else 5)  # a colour bar where there is a colour


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ((0, 0), "in the upper left"),
        ((4, 5), "in the middle"),
        ((7, 5), "in the lower middle"),
        ((4, 9), "at the right"),
    ],
)
def test_places_have_names(cell, name):
    assert place_name(bump(cell)).startswith(name)


def test_picked_cells_tell_the_words_they_served_and_how_strongly():
    maps = np.full((2, *GRID), 0.5 / 79, dtype=np.float32)
    maps[0, 2, 3] = 0.5
    maps[1] = 1 / 80
    explanation = explanation_with(maps, ("the", "bus"))
    served = served_html(explanation, (23,), "text_to_image")
    assert served.index("the</span>") < served.index("bus</span>") and "50 %" in served and "1.2 %" in served
    assert "Tap a place" in served_html(explanation, (), "text_to_image")
    part = explanation_with(maps, ("the", "bus"))
    read = served_html(part, (23, 24), "image_to_text")
    assert "these 2 cells" in read and "(evenly spread: 50 %)" in read


def test_one_cell_and_one_word_of_each_row_take_the_keyboard():
    explanation = explanation_with(np.stack([bump((2, 3)), bump((5, 5))]), ("a", "b"))
    html = map_html(Image.new("RGB", (80, 64)), explanation, (0,), (), Look())
    assert html.count('tabindex="0"') == 1 and html.count('role="gridcell"') == 80
    hottest = html.index('tabindex="0"')
    assert 'data-item="23"' in html[hottest - 300 : hottest]
    chosen = map_html(Image.new("RGB", (80, 64)), explanation, (0,), (7, 9), Look())
    assert chosen.count('aria-selected="true"') == 2
    words = words_html(explanation, (1,))
    assert words.count('tabindex="0"') == 1 and words.count('aria-pressed="true"') == 1


def test_heads_show_their_evenness_and_what_lies_in_the_picked_cells():
    even, sharp = np.full((1, *GRID), 1 / 80), np.zeros((1, *GRID))
    sharp[0, 0, 0] = 1
    parts = [[explanation_with(even, ("a",)), explanation_with(sharp, ("a",))]]
    html = heads_html(parts, (), (), Look(), (None, None), "evenness")
    assert "layer 1, head 1: 1.00" in html and "layer 1, head 2: 0.00" in html
    html = heads_html(parts, (), (0,), Look(), (0, 1), "attention")
    assert "head 1: 1.2 %" in html and "head 2: 100 %" in html and html.count('aria-pressed="true"') == 1
