"""Photos and questions as people send them: every mode, orientation and fault."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from valm_core import processor
from valm_core.outputs import InputError
from valm_core.processor import QuestionTokenizer, clean_question, open_photo, photo_to_pixels


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has almost no data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation):
    upright = Image.new("RGB", (40, 20), "black")
    upright.paste("red", (0, 0, 20, 10))  # red in the upper left
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_photo(encoded(stored, "PNG", exif=exif))
    assert opened.size == (40, 20)
    assert opened.getpixel((2, 2)) == (255, 0, 0) and opened.getpixel((38, 18)) == (0, 0, 0)


def test_transparency_is_laid_on_white():
    image = Image.new("RGBA", (4, 4), (0, 0, 255, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    opened = open_photo(encoded(image, "PNG"))
    assert opened.getpixel((0, 0)) == (255, 255, 255) and opened.getpixel((1, 1)) == (0, 0, 255)


def test_a_transparent_palette_colour_is_laid_on_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([9, 9, 9, 0, 200, 0])
    image.putpixel((1, 1), 1)
    opened = open_photo(encoded(image, "GIF", transparency=0))
    assert opened.getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_grey_keeps_its_shades():
    values = np.linspace(0, 65535, 16, dtype=np.uint16).reshape(4, 4)
    opened = np.asarray(open_photo(encoded(Image.fromarray(values), "PNG")))[..., 0]
    assert len(np.unique(opened)) == 16 and opened[0, 0] == 0 and opened[3, 3] == 255


def test_flat_16_bit_grey_does_not_divide_by_zero():
    assert open_photo(encoded(Image.fromarray(np.full((2, 2), 7, dtype=np.uint16)), "PNG")).size == (2, 2)


def test_cmyk_keeps_its_colour():
    red, green, blue = open_photo(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).getpixel((4, 4))
    assert red > 200 and green < 60 and blue < 60


def test_a_given_image_is_not_changed():
    image = Image.new("RGB", (3200, 10), "red")
    assert open_photo(image).size == (1600, 5) and image.size == (3200, 10)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "LAB", "I", "F"])
def test_every_mode_becomes_rgb(mode):
    image = Image.new("RGB", (6, 5), (200, 100, 50)).convert("L" if mode in ("I", "F", "1") else "RGB")
    image = image.convert("RGBA").convert(mode) if mode == "LA" else image.convert(mode) if mode != "LAB" else image
    opened = open_photo(image)
    assert opened.mode == "RGB" and opened.size == (6, 5)


def test_the_first_frame_of_an_animation_is_taken():
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    opened = open_photo(encoded(red, "GIF", save_all=True, append_images=[blue]))
    assert opened.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
def test_extreme_shapes_are_opened(size):
    opened = open_photo(encoded(Image.new("RGB", size, "red"), "PNG"))
    assert max(opened.size) <= processor.SHOWN_SIDE
    assert photo_to_pixels(opened, 32, "squash")[0].shape == (3, 32, 32)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(30_000, 30_000), (9500, 9500), (8001, 8000)])  # Pillow refuses, warns, is silent
def test_a_decompression_bomb_is_refused_before_decoding(monkeypatch, size):
    def decode(*_):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    with pytest.raises(InputError, match="at most 32 million"):
        open_photo(png_header(*size))


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a", b"<svg onload=alert(1)>", encoded(Image.new("RGB", (64, 64)), "JPEG")[:300], png_header(50, 50)],
    ids=["empty", "header only", "svg", "truncated", "missing data"],
)
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"holiday\.jpg can't be read as a photo\. Send JPEG"):
        open_photo(path)


@pytest.mark.parametrize("kind", processor.PHOTO_FORMATS)
def test_a_file_cut_in_half_is_refused_in_every_format(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8))
    whole = encoded(noise, kind)
    assert open_photo(whole).size == (60, 60)
    with pytest.raises(InputError, match="damaged"):
        open_photo(whole[: len(whole) // 2])


def test_an_image_without_pixels_is_refused():
    with pytest.raises(InputError, match="0 x 5"):
        open_photo(Image.new("RGB", (0, 5)))


def test_a_file_of_many_bytes_is_refused(monkeypatch):
    monkeypatch.setattr(processor, "MAX_PHOTO_BYTES", 100)
    with pytest.raises(InputError, match="Shrink it"):
        open_photo(bytes(101))


def test_no_photo_and_a_missing_file_say_so(tmp_path):
    with pytest.raises(InputError, match="no photo yet"):
        open_photo(None)
    with pytest.raises(InputError, match=r"no file .*gone\.jpg"):
        open_photo(tmp_path / "gone.jpg")


def test_broken_exif_shows_the_pixels_as_they_are():
    content = encoded(Image.new("RGB", (8, 4), "red"), "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)
    assert open_photo(content).size == (8, 4)


def test_bytes_path_and_image_give_the_same(tmp_path):
    content = encoded(Image.effect_mandelbrot((30, 20), (-2, -1, 1, 1), 50).convert("RGB"), "PNG")
    (tmp_path / "a.png").write_bytes(content)
    opened = [open_photo(content), open_photo(tmp_path / "a.png"), open_photo(Image.open(io.BytesIO(content)))]
    assert opened[0].tobytes() == opened[1].tobytes() == opened[2].tobytes()


def test_squash_shows_everything_and_crop_the_central_square():
    image = Image.new("RGB", (40, 20), "black")
    image.paste("red", (0, 0, 10, 20))
    squashed, box = photo_to_pixels(image, 8, "squash")
    assert box == (0.0, 0.0, 1.0, 1.0) and squashed[0, :, 0].min() > 0.9
    cropped, box = photo_to_pixels(image, 8, "crop")
    assert box == (0.25, 0.0, 0.75, 1.0) and cropped[0, :, 1:].max() < 0.2
    assert squashed.min() >= 0 and squashed.max() <= 1


@pytest.mark.parametrize("question", ["", "   ", None, "\0\n\t", "???", "…"])
def test_an_empty_question_asks_for_one(question):
    with pytest.raises(InputError, match="empty"):
        clean_question(question)


@pytest.mark.parametrize("length", [301, 5000])
def test_a_long_question_says_how_long(length):
    with pytest.raises(InputError, match=f"{length} characters, at most 300"):
        clean_question("x" * length)


def test_control_characters_and_extra_space_are_removed():
    assert clean_question("  What\0 is\n\n this\u2028?  ") == "What is this ?"
    assert clean_question("ｗｈａｔ?") == "what?"


@pytest.mark.parametrize(
    ("question", "cleaned"),
    [
        ("co\u00adlor\u200b ?", "color ?"),  # invisible: a word of its own would have no token, so no map
        ("what \ud800 color", "what color"),  # half a character, which tokenizers can't take
        ("¿Qué color?", "¿Qué color?"),
        ("它是什么颜色?", "它是什么颜色?"),
    ],
)
def test_invisible_characters_are_removed_and_other_scripts_kept(question, cleaned):
    assert clean_question(question) == cleaned


def test_words_collect_their_pieces(tiny_text_folder):
    from transformers import AutoTokenizer

    tokenizer = QuestionTokenizer(AutoTokenizer.from_pretrained(tiny_text_folder), 16)
    words, token_words = tokenizer.words("What color's the  square?")
    assert words == ("What", "color's", "the", "square?")
    # [CLS] what | color ' s | the | square ? [SEP]
    assert token_words == (None, 0, 1, 1, 1, 2, 3, 3, None)


def test_padding_and_truncation(tiny_text_folder):
    from transformers import AutoTokenizer

    tokenizer = QuestionTokenizer(AutoTokenizer.from_pretrained(tiny_text_folder), 5)
    ids, mask = tokenizer(["what", "what color is"])
    assert ids.shape == (2, 5) and mask.sum(dim=1).tolist() == [3, 5] and (ids[0, 3:] == 0).all()
    with pytest.raises(InputError, match=r"6 word pieces \(a word has one or more\), at most 5"):
        tokenizer(["what color is the"])
    truncated, _ = tokenizer(["what color is the"], truncate=True)
    assert truncated[0].tolist() == [*ids[1, :4].tolist(), ids[1, 4].item()]  # keeps [SEP]
