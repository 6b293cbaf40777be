"""The heat lies where the map says, in matplotlib's colours, and the photo stays what it is outside."""

import numpy as np
import pytest
from fake_predictor import GRID, bump
from PIL import Image
from planted_maps import explanation_with

from demo.rendering.map import colour_bar_html
from demo.rendering.overlay import INFERNO, Look, colour, overlay, pixel_box, scale_top, word_colour


@pytest.mark.parametrize("raw_cells", [True, False])
@pytest.mark.parametrize("size", [(320, 240), (240, 500)])
@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.25, 0.0, 0.75, 1.0), (0.1, 0.2, 0.9, 0.6)])
def test_the_hottest_pixel_lies_in_the_planted_cell_of_the_box(raw_cells, size, box):
    cell = (5, 7)
    explanation = explanation_with(bump(cell)[None], ("bus?",), box)
    picture = Image.new("RGB", size, (40, 40, 40))
    drawn = np.asarray(overlay(picture, explanation, (0,), Look(opacity=0.8, raw_cells=raw_cells)), dtype=int)
    left, top, right, bottom = pixel_box(box, size)
    inside = drawn[top + 1 : bottom - 1, left + 1 : right - 1].sum(axis=2)  # without the frame
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    assert int((row + 1.5) / (bottom - top) * GRID[0]) == cell[0]  # 1 for the frame, 0.5 for the pixel's centre
    assert int((column + 1.5) / (right - left) * GRID[1]) == cell[1]


def test_outside_the_box_the_photo_is_untouched():
    picture = Image.effect_noise((200, 100), 60).convert("RGB")
    explanation = explanation_with(bump((2, 2))[None], ("bus?",), (0.25, 0.0, 0.75, 1.0))
    drawn = np.asarray(overlay(picture, explanation, (), Look()))
    original = np.asarray(picture)
    assert (drawn[:, :50] == original[:, :50]).all() and (drawn[:, 150:] == original[:, 150:]).all()
    assert (drawn[:, 50:150] != original[:, 50:150]).any()


def test_opacity_goes_from_the_photo_to_the_pure_map():
    picture = Image.effect_noise((160, 120), 60).convert("RGB")
    explanation = explanation_with(bump((2, 2))[None], ("bus?",))
    photo_only = overlay(picture, explanation, (0,), Look(opacity=0.0))
    heat_only = np.asarray(overlay(picture, explanation, (0,), Look(opacity=1.0, raw_cells=True)))
    assert np.array_equal(np.asarray(photo_only), np.asarray(picture))
    colours = np.unique(heat_only.reshape(-1, 3), axis=0)
    assert len(colours) <= GRID[0] * GRID[1]  # raw cells: one flat colour each
    assert colours.tolist()[-1] == INFERNO[-1].tolist()


def test_the_overlay_keeps_the_aspect_ratio_and_a_bounded_size():
    explanation = explanation_with(bump((2, 2))[None], ("bus?",))
    picture = Image.new("RGB", (3000, 1000))
    assert overlay(picture, explanation, (0,), Look()).size == (1024, 341)
    assert picture.size == (3000, 1000)
    assert overlay(Image.new("L", (1, 1)), explanation, (0,), Look()).size == (1, 1)


def test_one_scale_makes_a_weak_word_look_weak():
    strong, flat = bump((2, 2), width=0.4), bump((2, 2), width=20.0)
    explanation = explanation_with(np.stack([strong, flat]), ("bus", "the"))
    picture = Image.new("RGB", (80, 64))
    own = np.asarray(overlay(picture, explanation, (1,), Look(opacity=1.0)))
    shared = np.asarray(overlay(picture, explanation, (1,), Look(opacity=1.0, same_scale=True)))
    assert own.mean() > 4 * shared.mean()
    assert scale_top(explanation, 0, True) == scale_top(explanation, 1, True)


def test_a_map_of_zeros_draws_without_a_division_by_zero():
    explanation = explanation_with(np.zeros((1, *GRID), dtype=np.float32), ("bus?",))
    with np.errstate(all="raise"):
        drawn = np.asarray(overlay(Image.new("RGB", (80, 64)), explanation, (0,), Look(opacity=1.0)))
    assert (drawn == 0).all()  # the photo, which is black


def test_the_colours_are_matplotlibs_inferno():
    matplotlib = pytest.importorskip("matplotlib")
    values = np.linspace(0, 1, 256)
    theirs = matplotlib.colormaps["inferno"](values)[:, :3] * 255
    assert np.abs(colour(values) - theirs).max() < 5


def test_several_words_have_a_colour_each_where_they_are_hot():
    maps = np.zeros((2, *GRID), dtype=np.float32)
    maps[0, 1, 1] = maps[1, 6, 8] = 1
    explanation = explanation_with(maps, ("bus", "road"))
    picture = Image.new("RGB", (GRID[1] * 10, GRID[0] * 10), (90, 90, 90))
    drawn = overlay(picture, explanation, (1, 0), Look(opacity=1.0, raw_cells=True))
    assert drawn.getpixel((85, 65)) == word_colour(0)  # the first one selected
    assert drawn.getpixel((15, 15)) == word_colour(1)
    assert len(set(drawn.getpixel((45, 45)))) == 1  # grey where no word looked
    legend = colour_bar_html(explanation, (1, 0), Look())
    assert legend.index("road") < legend.index("bus")
