"""The heat lies where the map says, in matplotlib's colours, and the photo stays what it is outside."""

import numpy as np
import pytest
from fake_predictor import GRID, bump
from PIL import Image
from planted_maps import explanation_with

from demo.downloads.question_figure import COLOUR_MAP
from demo.rendering.map import colour_bar_html
from demo.rendering.overlay import INFERNO, Look, colour, overlay, pixel_box, scale_top, word_colour


def figure_colours(values: np.ndarray) -> np.ndarray:
    """The colours of the figure to download, as matplotlib has them."""
    matplotlib = pytest.importorskip("matplotlib")
    return matplotlib.colormaps[COLOUR_MAP](values)[:, :3] * 255


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
    explained = np.asarray(explanation.token_map(0))
    cell = np.unravel_index(explained.argmax(), GRID)
    hottest = heat_only[cell[0] * 120 // GRID[0] + 3, cell[1] * 160 // GRID[1] + 3]
    assert hottest.tolist() == INFERNO[-1].tolist()  # nothing of the photo is left in it


@pytest.mark.parametrize("opacity", [0.3, 0.55, 1.0])
def test_the_photo_stays_visible_where_the_map_is_low(opacity):
    heat = np.linspace(0, 1, GRID[0] * GRID[1], dtype=np.float32).reshape(1, *GRID)
    explanation = explanation_with(heat, ("bus?",))
    size = (GRID[1] * 10, GRID[0] * 10)
    dark, light = (
        np.asarray(overlay(Image.new("RGB", size, (grey,) * 3), explanation, (0,), Look(opacity, raw_cells=True)))
        for grey in (50, 200)
    )
    kept = (light.astype(float) - dark).mean(axis=2)[5::10, 5::10] / 150  # share of the photo in each cell
    np.testing.assert_allclose(kept, 1 - min(1.5 * opacity, 1) * heat[0], atol=0.02)


def test_smooth_maps_ring_nowhere_and_keep_their_heat_at_the_edge():
    cells = np.zeros((1, *GRID), dtype=np.float32)
    cells[0, 0, 0] = cells[0, 4, 5] = 1.0
    explanation = explanation_with(cells, ("bus?",))
    size = (GRID[1] * 20, GRID[0] * 20)
    drawn = np.asarray(overlay(Image.new("RGB", size, (90, 90, 90)), explanation, (0,), Look(opacity=1.0)))
    assert drawn[0, 0].tolist() == INFERNO[-1].tolist()  # the corner is as hot as its cell
    assert (drawn[:, 41:59] == 90).all()  # a column of cells that no hot cell touches
    changed = np.argwhere((drawn != 90).any(axis=2))
    near = [(abs(changed + 0.5 - centre) < 20).all(axis=1) for centre in ((10, 10), (90, 110))]
    assert (near[0] | near[1]).all() and near[1].sum() > 400  # one cell's width around a centre, no further


def test_a_small_photo_is_enlarged_for_a_file():
    explanation = explanation_with(bump((2, 2))[None], ("bus?",))
    picture = Image.new("RGB", (300, 200))
    assert overlay(picture, explanation, (0,), Look(), min_side=1200).size == (1200, 800)
    assert overlay(Image.new("RGB", (3000, 1000)), explanation, (0,), Look(), min_side=1200).size == (1200, 400)


# Machado et al. 2009, full strength, on linear RGB: https://doi.org/10.1109/TVCG.2009.113
VISION = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "grey": [[0.2126, 0.7152, 0.0722]] * 3,
}


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("colours", [colour, figure_colours], ids=["page", "figure"])
def test_hotter_is_lighter_for_every_kind_of_vision(vision, colours):
    stored = colours(np.linspace(0, 1, 256)).astype(float) / 255
    linear = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    luminance = np.clip(linear @ np.transpose(VISION[vision]), 0, 1) @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)  # CIE L*
    assert np.diff(lightness[::4]).min() > 0.1 and np.ptp(lightness) > 90


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
