"""Pages by OCR: what a reader that knows one upright page finds turned, small and empty; and the real one, if there."""

import importlib.util

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from valm_core.inputs import ocr
from valm_core.inputs.ocr import read_lines
from valm_core.inputs.page import page_of_lines
from valm_core.outputs import InputError

HAS_OCR = importlib.util.find_spec("rapidocr_onnxruntime") is not None
TEXTS = ("GOLDEN MARKET SDN BHD", "DATE 25/12/2018", "TOTAL 60.30", "THANK YOU")


@pytest.fixture(scope="module")
def receipt() -> Image.Image:
    """A printed page of four lines, higher than wide."""
    picture = Image.new("RGB", (560, 760), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=36)
    for number, text in enumerate(TEXTS):
        draw.text((40, 60 + 170 * number), text, fill="black", font=font)
    return picture


def reads_upright_alone(pixels: np.ndarray):
    """A stand-in for OCR: sure of a page with its mark at the top left, unsure of others, whose lines stand upright."""
    height, width = pixels.shape[:2]
    corner = pixels[: height // 10, : width // 10].mean(axis=(0, 1))
    upright = corner[0] > 150 and corner[1] < 120
    box = np.array([[0.1, 0.1], [0.6, 0.1], [0.6, 0.2], [0.1, 0.2]]) * (width, height)
    side = np.array([[0.1, 0.1], [0.15, 0.1], [0.15, 0.6], [0.1, 0.6]]) * (width, height)
    return [(box, "upright text", 0.97)] if upright else [(side, "sdrawkcab", 0.6), (side, "?", 0.2)]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_page_is_turned_back_until_it_reads_best(turn):
    page = Image.new("RGB", (400, 700), "white")
    page.paste((220, 30, 30), (0, 0, 60, 90))
    (line,), back = read_lines(page.rotate(turn, expand=True), reads_upright_alone)
    assert (turn + back) % 360 == 0
    assert line.text == "upright text" and line.box == pytest.approx((0.1, 0.1, 0.6, 0.2), abs=0.01)


def test_small_pages_are_enlarged_and_an_empty_one_has_no_lines_however_it_is_turned():
    seen = []

    def sees_nothing(pixels):
        seen.append(pixels.shape)
        return []

    assert read_lines(Image.new("RGB", (200, 300), "white"), sees_nothing) == ((), 0)
    assert seen == [(900, 600, 3), (600, 900, 3), (600, 900, 3), (900, 600, 3)]
    with pytest.raises(InputError, match="No words"):
        page_of_lines(())


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rapidocr_onnxruntime", None)
    ocr.rapid_ocr.cache_clear()
    with pytest.raises(ocr.OcrMissing, match=r"pip install -e '\.\[read\]'"):
        read_lines(Image.new("RGB", (20, 20)))
    ocr.rapid_ocr.cache_clear()


@pytest.mark.skipif(not HAS_OCR, reason="the extra `read` isn't installed")
@pytest.mark.parametrize("kind", ["turned", "tilted", "small"])
def test_the_real_one_reads_scans(receipt, kind):
    picture = {
        "turned": lambda: receipt.rotate(90, expand=True),
        "tilted": lambda: receipt.rotate(3, expand=True, fillcolor="white"),
        "small": lambda: receipt.resize((280, 380)),
    }[kind]()
    text = "".join(page_of_lines(read_lines(picture)[0]).words).replace(" ", "")
    assert "25/12/2018" in text and "60.30" in text and "GOLDENMARKET" in text.upper()
    assert text.index("25/12/2018") < text.index("60.30")


@pytest.mark.skipif(not HAS_OCR, reason="the extra `read` isn't installed")
def test_the_real_one_finds_nothing_on_an_empty_page():
    with pytest.raises(InputError, match="No words"):
        page_of_lines(read_lines(Image.new("RGB", (600, 800), "white"))[0])


@pytest.mark.parametrize("size", [(1, 3000), (3000, 5)])
def test_what_is_too_thin_for_letters_is_not_even_looked_at(size):
    assert read_lines(Image.new("RGB", size, "white"), lambda pixels: 1 / 0) == ((), 0)


@pytest.mark.parametrize("size", [(20, 1900), (1900, 20), (600, 800)])
def test_a_strip_is_widened_and_places_stay_those_of_the_photo(size):
    """The picture is black, so the line that covers all that is black covers the photo."""
    seen = []

    def frames_what_is_black(pixels):
        seen.append(pixels.shape)
        rows, columns = np.nonzero(pixels[:, :, 0] < 128)
        right, bottom = columns.max() + 1, rows.max() + 1
        return [(np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]]), "all", 0.99)]

    (line,), _ = read_lines(Image.new("RGB", size, "black"), frames_what_is_black)
    assert line.box == (0, 0, 1, 1)
    assert all(max(shape[:2]) <= 8 * min(shape[:2]) for shape in seen)
    assert (size == (600, 800)) == (seen[0] == (1200, 900, 3))  # what is no strip gets nothing
