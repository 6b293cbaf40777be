"""The heat lies where the map says, the numbers are the map's own, and no text becomes HTML."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from fake_predictor import GRID, FakePredictor, bump
from PIL import Image

from demo.downloads import files
from demo.rendering import figures
from demo.rendering.figures import Look
from demo.rendering.photo_input import steady_file
from valm_core.outputs import Answer, Explanation, Prediction, TrackRecord

HOSTILE = "<img src=x onerror=alert(1)>"


def explanation_with(maps: np.ndarray, words: tuple[str, ...], box=(0.0, 0.0, 1.0, 1.0)) -> Explanation:
    """An explanation whose words have these maps [W, rows, columns]; the whole question has the first one."""
    token_to_patch = maps.reshape(len(words), -1)
    return Explanation(
        method="planted",
        tokens=words,
        image_map=maps[0],
        token_scores=np.full(len(words), 1 / len(words)),
        token_to_patch=token_to_patch,
        patch_to_token=token_to_patch.T,
        text_to_image=token_to_patch[None, None],
        image_to_text=token_to_patch.T[None, None],
        grid=maps.shape[1:],
        box=box,
    )


@pytest.mark.parametrize("raw_cells", [True, False])
@pytest.mark.parametrize("size", [(320, 240), (240, 500)])
@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.25, 0.0, 0.75, 1.0), (0.1, 0.2, 0.9, 0.6)])
def test_the_hottest_pixel_lies_in_the_planted_cell_of_the_box(raw_cells, size, box):
    cell = (5, 7)
    explanation = explanation_with(bump(cell)[None], ("bus?",), box)
    picture = Image.new("RGB", size, (40, 40, 40))
    drawn = np.asarray(figures.overlay(picture, explanation, (0,), Look(opacity=0.8, raw_cells=raw_cells)), dtype=int)
    left, top, right, bottom = figures.pixel_box(box, size)
    inside = drawn[top + 1 : bottom - 1, left + 1 : right - 1].sum(axis=2)  # without the frame
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    assert int((row + 1.5) / (bottom - top) * GRID[0]) == cell[0]  # 1 for the frame, 0.5 for the pixel's centre
    assert int((column + 1.5) / (right - left) * GRID[1]) == cell[1]


def test_outside_the_box_the_photo_is_untouched():
    picture = Image.effect_noise((200, 100), 60).convert("RGB")
    explanation = explanation_with(bump((2, 2))[None], ("bus?",), (0.25, 0.0, 0.75, 1.0))
    drawn = np.asarray(figures.overlay(picture, explanation, (), Look()))
    original = np.asarray(picture)
    assert (drawn[:, :50] == original[:, :50]).all() and (drawn[:, 150:] == original[:, 150:]).all()
    assert (drawn[:, 50:150] != original[:, 50:150]).any()


def test_opacity_goes_from_the_photo_to_the_pure_map():
    picture = Image.effect_noise((160, 120), 60).convert("RGB")
    explanation = explanation_with(bump((2, 2))[None], ("bus?",))
    photo_only = figures.overlay(picture, explanation, (0,), Look(opacity=0.0))
    heat_only = np.asarray(figures.overlay(picture, explanation, (0,), Look(opacity=1.0, raw_cells=True)))
    assert np.array_equal(np.asarray(photo_only), np.asarray(picture))
    colours = np.unique(heat_only.reshape(-1, 3), axis=0)
    assert len(colours) <= GRID[0] * GRID[1]  # raw cells: one flat colour each
    assert colours.tolist()[-1] == figures.INFERNO[-1].tolist()


def test_the_overlay_keeps_the_aspect_ratio_and_a_bounded_size():
    explanation = explanation_with(bump((2, 2))[None], ("bus?",))
    picture = Image.new("RGB", (3000, 1000))
    assert figures.overlay(picture, explanation, (0,), Look()).size == (1024, 341)
    assert picture.size == (3000, 1000)
    assert figures.overlay(Image.new("L", (1, 1)), explanation, (0,), Look()).size == (1, 1)


def test_one_scale_makes_a_weak_word_look_weak():
    strong, flat = bump((2, 2), width=0.4), bump((2, 2), width=20.0)
    explanation = explanation_with(np.stack([strong, flat]), ("bus", "the"))
    picture = Image.new("RGB", (80, 64))
    own = np.asarray(figures.overlay(picture, explanation, (1,), Look(opacity=1.0)))
    shared = np.asarray(figures.overlay(picture, explanation, (1,), Look(opacity=1.0, same_scale=True)))
    assert own.mean() > 4 * shared.mean()
    assert figures.scale_top(explanation, 0, True) == figures.scale_top(explanation, 1, True)


def test_a_map_of_zeros_draws_without_a_division_by_zero():
    explanation = explanation_with(np.zeros((1, *GRID), dtype=np.float32), ("bus?",))
    with np.errstate(all="raise"):
        drawn = np.asarray(figures.overlay(Image.new("RGB", (80, 64)), explanation, (0,), Look(opacity=1.0)))
    assert (drawn == 0).all()  # the photo, which is black


def test_the_colours_are_matplotlibs_inferno():
    matplotlib = pytest.importorskip("matplotlib")
    values = np.linspace(0, 1, 256)
    theirs = matplotlib.colormaps["inferno"](values)[:, :3] * 255
    assert np.abs(figures.colour(values) - theirs).max() < 5


def test_percentages_are_readable():
    assert [figures.percent(share) for share in (0, 0.0004, 0.007, 0.099, 0.0996, 0.62, 1)] == [
        "0.0 %",
        "&lt; 0.1 %",
        "0.7 %",
        "9.9 %",
        "10 %",
        "62 %",
        "100 %",
    ]


def test_nothing_that_was_typed_or_answered_becomes_html():
    prediction = Prediction(HOSTILE, (Answer(HOSTILE, 0.6),), (Answer(HOSTILE, 0.5),), 0.5)
    explanation = explanation_with(bump((2, 2))[None], (HOSTILE,))
    for html in (
        figures.result_html(prediction, HOSTILE),
        figures.colour_bar_html(explanation, (0,), Look()),
        figures.words_html(explanation, (0,)),
        figures.served_html(explanation, (0,), "text_to_image"),
        figures.subject_html(HOSTILE, explanation, "text_to_image", None, None),
        figures.map_html(Image.new("RGB", (8, 8)), explanation, (0,), (), Look()).replace('<img src="data:', ""),
    ):
        assert "<img" not in html
        assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_the_result_says_what_the_question_alone_suggests():
    same = Prediction("?", (Answer("yes", 0.6),), (Answer("yes", 0.4),), 0.62)
    other = Prediction("?", (Answer("bus", 0.6),), (Answer("yes", 0.4),), 0.62)
    assert "the same answer" in figures.result_html(same)
    assert "changed the answer" in figures.result_html(other)
    assert "question 62 %" in figures.gate_html(0.62) and "photo 38 %" in figures.gate_html(0.62)
    assert "gets this one wrong" not in figures.result_html(same)
    assert "gets this one wrong" in figures.result_html(same, "no")


def test_the_colour_bar_names_grid_scale_and_numbers():
    explanation = FakePredictor().explain(FakePredictor().encode(Image.new("RGB", (20, 20))), "What color is the bus?")
    own = figures.colour_bar_html(explanation, (4,), Look())
    assert "8 × 10 cells" in own and "each map has its own scale" in own and "<strong>bus?</strong>" in own
    assert figures.percent(explanation.token_map(4).max()) in own
    assert "one scale for all words" in figures.colour_bar_html(explanation, (4,), Look(same_scale=True))


def test_the_description_says_where_the_heat_is_and_how_gathered():
    heat = np.full(GRID, 0.38 / 76)
    heat[6:8, 0:2] = 0.62 / 4
    text = figures.map_description(explanation_with(heat[None], ("bus?",)), (0,))
    assert text == "Map over the photo for “bus?”: strongest in the lower left; 62 % of the map in 4 of 80 cells."
    whole = figures.map_description(explanation_with(heat[None], ("bus?",)), ())
    assert "the whole question: strongest" in whole


@pytest.mark.parametrize("look", [Look(opacity=1.0), Look(same_scale=True), Look(raw_cells=True)])
def test_where_no_place_stands_out_the_photo_stays_and_the_colour_bar_agrees(look):
    nearly = np.full((2, *GRID), 1 / 80)
    nearly[0, 3, 3] *= 1.04
    flat = explanation_with(nearly, ("in", "the"))
    grey = Image.new("RGB", (80, 64), (200, 90, 10))
    assert (np.asarray(figures.overlay(grey, flat, (0,), look)) == np.asarray(grey)).all()
    assert (np.asarray(figures.overlay(grey, flat, (), look)) == np.asarray(grey)).all()
    bar = figures.colour_bar_html(flat, (0,), look)
    assert "No place stands out" in bar and "colour-bar-strip" not in bar and "colour-bar-numbers" not in bar
    assert figures.colour_bar_html(flat, (0, 1), look).count("no place stands out") == 2
    assert figures.map_description(flat, (0,)) == (
        "Map over the photo for “in”: no place stands out, every cell counted about the same."
    )
    assert f'data-shares="{",".join(["0"] * 80)}"' in figures.words_html(flat, ())
    told = figures.colour_bar_html(explanation_with(bump((2, 2))[None], ("bus?",)), (0,), look)
    assert "colour-bar-strip" in told and "No place" not in told


def test_a_flat_head_is_grey_in_the_gallery_and_said_so():
    even, sharp = np.full((1, *GRID), 1 / 80), bump((2, 2))[None]
    parts = [[explanation_with(even, ("a",)), explanation_with(sharp, ("a",))]]
    html = figures.heads_html(parts, (), (), Look(), (None, None), "evenness")
    assert 'head 1: 1.00, no place stands out"' in html and html.count("no place stands out") == 1
    pictures = [part.split('"')[0] for part in html.split("base64,")[1:]]
    first, second = (Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB") for picture in pictures)
    assert first.getcolors() == [(80, figures.FLAT_GREY)] and len(second.getcolors()) > 3


def test_a_flat_map_has_no_heat_in_the_figure_either():
    from demo.downloads.question_figure import question_figure

    prediction = Prediction("a", (Answer("yes", 0.6),), (Answer("no", 0.5),), 0.5)
    photo = Image.new("RGB", (80, 64), (200, 90, 10))
    for maps, heats in ((np.full((1, *GRID), 1 / 80), 0), (bump((2, 2))[None], 2)):
        figure = question_figure(photo, prediction, explanation_with(maps, ("a",)))
        assert sum(image.get_cmap().name == "inferno" for axis in figure.axes for image in axis.images) == heats
        told = " ".join(axis.get_xlabel().replace("\n", " ") for axis in figure.axes)
        assert told.count("no place stands out") == (2 if heats == 0 else 0)
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
    assert figures.place_name(bump(cell)).startswith(name)


def test_several_words_have_a_colour_each_where_they_are_hot():
    maps = np.zeros((2, *GRID), dtype=np.float32)
    maps[0, 1, 1] = maps[1, 6, 8] = 1
    explanation = explanation_with(maps, ("bus", "road"))
    picture = Image.new("RGB", (GRID[1] * 10, GRID[0] * 10), (90, 90, 90))
    drawn = figures.overlay(picture, explanation, (1, 0), Look(opacity=1.0, raw_cells=True))
    assert drawn.getpixel((85, 65)) == figures.word_colour(0)  # the first one picked
    assert drawn.getpixel((15, 15)) == figures.word_colour(1)
    assert len(set(drawn.getpixel((45, 45)))) == 1  # grey where no word looked
    legend = figures.colour_bar_html(explanation, (1, 0), Look())
    assert legend.index("road") < legend.index("bus")


def test_picked_cells_tell_the_words_they_served_and_how_strongly():
    maps = np.full((2, *GRID), 0.5 / 79, dtype=np.float32)
    maps[0, 2, 3] = 0.5
    maps[1] = 1 / 80
    explanation = explanation_with(maps, ("the", "bus"))
    served = figures.served_html(explanation, (23,), "text_to_image")
    assert served.index("the</span>") < served.index("bus</span>") and "50 %" in served and "1.2 %" in served
    assert "Click a place" in figures.served_html(explanation, (), "text_to_image")
    part = explanation_with(maps, ("the", "bus"))
    read = figures.served_html(part, (23, 24), "image_to_text")
    assert "these 2 cells" in read and "(evenly spread: 50 %)" in read


def test_one_cell_and_one_word_of_each_row_take_the_keyboard():
    explanation = explanation_with(np.stack([bump((2, 3)), bump((5, 5))]), ("a", "b"))
    html = figures.map_html(Image.new("RGB", (80, 64)), explanation, (0,), (), Look())
    assert html.count('tabindex="0"') == 1 and html.count('role="gridcell"') == 80
    hottest = html.index('tabindex="0"')
    assert 'data-item="23"' in html[hottest - 300 : hottest]
    chosen = figures.map_html(Image.new("RGB", (80, 64)), explanation, (0,), (7, 9), Look())
    assert chosen.count('aria-selected="true"') == 2
    words = figures.words_html(explanation, (1,))
    assert words.count('tabindex="0"') == 1 and words.count('aria-pressed="true"') == 1


def test_heads_show_their_evenness_and_what_lies_in_the_picked_cells():
    even, sharp = np.full((1, *GRID), 1 / 80), np.zeros((1, *GRID))
    sharp[0, 0, 0] = 1
    parts = [[explanation_with(even, ("a",)), explanation_with(sharp, ("a",))]]
    html = figures.heads_html(parts, (), (), Look(), (None, None), "evenness")
    assert "layer 1, head 1: 1.00" in html and "layer 1, head 2: 0.00" in html
    html = figures.heads_html(parts, (), (0,), Look(), (0, 1), "attention")
    assert "head 1: 1.2 %" in html and "head 2: 100 %" in html and html.count('aria-pressed="true"') == 1


def test_evidence_says_its_numbers_and_escapes_the_answer():
    predictor = FakePredictor()
    html = figures.evidence_html(predictor.evidence(None, "what?", answer=HOSTILE), 0.62)
    assert "faithful" in html and "verdict-faithful" in html
    assert "from 81% to 32%" in html and "(mean of 8 draws) moves it to 79%" in html
    assert "<img" not in html and "&lt;img" in html
    assert "question 62 %" in html and "not the explained answer" in html and "What attention can’t show" in html
    assert "verdict" not in figures.evidence_html(None, 0.62).replace("The verdict is", "")


def test_a_picture_that_comes_again_leaves_its_file_alone(tmp_path):
    picture = Image.new("RGB", (40, 30), (200, 30, 30))
    first = Path(steady_file(picture, str(tmp_path), "webp"))
    os.utime(first, (0, 0))
    reader = first.open("rb")
    assert steady_file(picture.copy(), str(tmp_path), "webp") == str(first)
    assert os.fstat(reader.fileno()).st_nlink == 1 and Image.open(reader).size == (40, 30)  # the same file, and whole
    assert first.stat().st_mtime > 0  # young again: gradio deletes what is old
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    pair = steady_file((picture, "there.png"), str(tmp_path), "jpeg")
    assert pair[0].endswith("image.jpeg") and pair[1] == "there.png"


def test_a_track_record_says_how_many_were_right_and_when_the_model_does_not_know():
    record = TrackRecord(0.2, 0.3, 812, 0.27, "other")
    html = figures.record_html(record)
    assert "812 validation questions answered with a word" in html and "(20 to 30 %), 27 % were right" in html
    assert "does not know" in html
    assert "does not know" not in figures.record_html(TrackRecord(0.6, 0.7, 300, 0.62, "other"))
    assert "answered with yes or no this surely" in figures.record_html(TrackRecord(0.6, 0.7, 300, 0.62, "yes/no"))
    assert figures.record_html(None) == ""


def prediction_of(question="Is it a bus?", with_photo=0.6, without=0.3, unfamiliar=()):
    answers, blind = (Answer("yes", with_photo), Answer("no", 0.1)), (Answer("yes", without),)
    return Prediction(question, answers, blind, 0.5, unfamiliar=unfamiliar)


@pytest.mark.parametrize(
    "prediction",
    [
        prediction_of("Was ist das für ein Tier?"),
        prediction_of(unfamiliar=("photo",)),
        prediction_of(unfamiliar=("question",)),
    ],
)
def test_under_a_warning_no_share_of_right_answers_is_told_and_no_answer_is_bold(prediction):
    record = TrackRecord(0.5, 0.6, 300, 0.62, "yes/no")
    html = figures.result_html(prediction, None, record)
    assert (
        "were right" not in html and html.startswith('<div class="doubted">') and 'class="known-mistake doubt"' in html
    )
    sheet = (Path(figures.__file__).parent / "style.css").read_text(encoding="utf-8")
    rule = ".doubted .answers li:first-child, .doubted .blind strong, .doubted dd strong { font-weight: inherit; }"
    assert rule in sheet and rule in files.STYLE
    assert 'class="evidence doubted"' in figures.evidence_html(None, 0.5, figures.is_doubted(prediction))
    assert "It may be meaningless" in figures.announcement_text(prediction)
    plain = figures.result_html(prediction_of(), None, record)
    assert "62 % were right" in plain and "doubt" not in plain


def test_a_guess_from_the_question_alone_leads():
    html = figures.result_html(prediction_of(with_photo=0.6, without=0.58))
    assert html.startswith('<p class="guess"><strong>A guess from the question alone.</strong>')
    assert "A guess from the question alone." in figures.announcement_text(prediction_of(without=0.58))
    assert "guess" not in figures.result_html(prediction_of(with_photo=0.6, without=0.3))
    assert figures.announcement_text(prediction_of()) == "Answer to “Is it a bus?”: yes, 60%."


@pytest.mark.parametrize(
    ("share", "told"), [(0.81, "81%"), (0.974, "97.4%"), (0.0023, "0.23%"), (0.9977, "99.77%"), (0.05, "5.0%")]
)
def test_what_hiding_does_has_enough_digits_to_be_seen(share, told):
    assert figures.exact_percent(share) == told
    odds = share / (1 - share) / 1.3
    assert figures.exact_percent(odds / (1 + odds)) != told
