"""Photos and questions as people send them: every mode, orientation and fault."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile.photos import png, saved
from PIL import Image
from turned_photos import STORED

from valm_core.inputs import photo
from valm_core.inputs.photo import open_photo, photo_to_pixels
from valm_core.inputs.question import QuestionTokenizer, clean_question
from valm_core.outputs import InputError, UnreachablePhoto


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation):
    upright = Image.new("RGB", (40, 20), "black")
    upright.paste("red", (0, 0, 20, 10))  # red in the upper left
    stored = upright.transpose(STORED[orientation]) if orientation in STORED else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_photo(saved(stored, "PNG", exif=exif))
    assert opened.size == (40, 20)
    assert opened.getpixel((2, 2)) == (255, 0, 0) and opened.getpixel((38, 18)) == (0, 0, 0)


def test_transparency_is_laid_on_white():
    image = Image.new("RGBA", (4, 4), (0, 0, 255, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    opened = open_photo(saved(image, "PNG"))
    assert opened.getpixel((0, 0)) == (255, 255, 255) and opened.getpixel((1, 1)) == (0, 0, 255)


def test_a_transparent_palette_colour_is_laid_on_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([9, 9, 9, 0, 200, 0])
    image.putpixel((1, 1), 1)
    opened = open_photo(saved(image, "GIF", transparency=0))
    assert opened.getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_grey_keeps_its_shades():
    values = np.linspace(0, 65535, 16, dtype=np.uint16).reshape(4, 4)
    opened = np.asarray(open_photo(saved(Image.fromarray(values), "PNG")))[..., 0]
    assert len(np.unique(opened)) == 16 and opened[0, 0] == 0 and opened[3, 3] == 255
    clear = np.asarray(open_photo(saved(Image.fromarray(values), "PNG", transparency=0)))[..., 0]
    assert clear[0, 0] == 255 and (clear[1:] == opened[1:]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 65535], [0, 255]),
        ([32767, 32768], [127, 128]),  # a grey wall
        ([28270, 33924], [110, 132]),  # fog
        ([0, 4883], [0, 19]),  # a dark room
        ([7, 7], [0, 0]),
        ([257 * 200, 257 * 100], [200, 100]),
    ],
)
def test_16_bits_are_read_by_their_range(values, expected, kind):
    image = Image.fromarray(np.tile(np.array(values, dtype=np.uint16), (4, 2)))
    opened = open_photo(saved(image, kind))
    assert np.asarray(opened)[0, :2, 0].tolist() == expected and open_photo(opened) == opened
    assert np.asarray(open_photo(image))[0, :2, 0].tolist() == expected


def test_16_bits_above_the_shown_size_are_read_by_their_range():
    wall = np.full((40, 7000), 30_000, dtype=np.uint16)
    assert open_photo(saved(Image.fromarray(wall), "PNG")).getextrema() == ((117, 117),) * 3


def test_a_big_endian_tiff_is_read_like_a_little_endian_one():
    values = np.linspace(0, 65535, 16, dtype=np.uint16).reshape(4, 4)
    big = Image.frombytes("I;16B", (4, 4), values.astype(">u2").tobytes())
    assert open_photo(saved(big, "TIFF")) == open_photo(saved(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_tiff_whose_zero_is_white_is_no_negative(kind):
    shades = np.linspace(0, 1, 64).reshape(8, 8) * (np.iinfo(kind).max if kind != np.float32 else 1)
    dark_first = saved(Image.fromarray(shades.astype(kind)), "TIFF")
    tag, black, white = struct.pack("<HHI", 262, 3, 1), struct.pack("<H", 1), struct.pack("<H", 0)  # whose zero that is
    assert dark_first.count(tag + black) == 1
    negative = np.asarray(open_photo(dark_first.replace(tag + black, tag + white)))[..., 0]
    assert negative[0, 0] == 255 and negative[-1, -1] == 0
    assert (negative == 255 - np.asarray(open_photo(dark_first))[..., 0]).all()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_without_a_range_are_spread_by_percentiles(kind):
    values = np.linspace(300, 400, 10_000).astype(kind).reshape(100, 100)  # kelvin
    values[0, 0] = 100_000  # one broken cell
    shades = np.asarray(open_photo(Image.fromarray(values)))[..., 0]
    assert shades[0, 0] == 255 and shades[0, 1] == 0 and shades[99, 99] == 255 and len(np.unique(shades)) > 90
    assert 100 < shades[50, 0] < 155


@pytest.mark.parametrize("values", [[1000, 1001], [0.5, 0.5001]])
def test_a_wall_of_two_values_without_a_range_stays_a_wall(values):
    kind = np.int32 if isinstance(values[0], int) else np.float32
    shades = np.asarray(open_photo(Image.fromarray(np.tile(np.array(values, dtype=kind), (8, 8)))))
    assert int(shades.max()) - int(shades.min()) <= 5 and 100 < shades.mean() < 155


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_spoil_no_others(odd):
    values = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    values[0, 0] = odd
    shades = np.asarray(open_photo(Image.fromarray(values)))[..., 0]
    assert shades[0, 0] == (255 if odd == np.inf else 0) and shades[19, 19] == 255 and len(np.unique(shades)) > 200
    assert open_photo(Image.fromarray(np.full((4, 4), odd, dtype=np.float32))).size == (4, 4)


def test_a_star_in_the_sky_is_seen():
    values = np.zeros((50, 50), dtype=np.float32)
    values[20, 20] = 3
    assert np.asarray(open_photo(Image.fromarray(values)))[..., 0].max() == 255


def test_the_photos_of_a_folder_are_all_that_can_be_opened_without_companions(tmp_path):
    (tmp_path / "__MACOSX" / "inner").mkdir(parents=True)
    (tmp_path / "inner").mkdir()
    photos = ["a.JFIF", "b.jpe", "c.mpo", "d.apng", "inner/e.tif", "caf\u00e9.webp", "f.GIF"]
    companions = ["._a.jpg", ".DS_Store", "inner/._e.tif", "inner/Thumbs.db", "__MACOSX/a.jpg", "__MACOSX/inner/b.jpg"]
    others = ["notes.txt", "inner/clip.MOV", "README"]
    for name in (*photos, *companions, *others):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "album.jpg").mkdir()
    found, left = photo.photos_in(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in found} == set(photos)
    assert {path.relative_to(tmp_path).as_posix() for path in left} == set(others)


def test_the_endings_are_those_of_the_formats():
    assert {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff"} <= set(photo.PHOTO_ENDINGS)
    assert (".avif" in photo.PHOTO_ENDINGS) == ("AVIF" in photo.PHOTO_FORMATS)
    assert not {".pdf", ".eps", ".psd", ".heic"} & set(photo.PHOTO_ENDINGS) or "HEIF" in photo.PHOTO_FORMATS


def test_cmyk_keeps_its_colour():
    red, green, blue = open_photo(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).getpixel((4, 4))
    assert red > 200 and green < 60 and blue < 60


def test_a_given_image_is_not_changed():
    image = Image.new("RGB", (3200, 10), "red")
    assert open_photo(image).size == (1600, 5) and image.size == (3200, 10)
    jpeg = saved(Image.new("RGB", (6400, 20), "red"), "JPEG")
    lazy = Image.open(io.BytesIO(jpeg))  # which JPEG would decode at a fraction of its size
    assert open_photo(lazy).size == (1600, 5) and lazy.size == (6400, 20)


def test_a_given_image_that_is_cut_is_refused_like_its_bytes():
    cut = saved(Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG")[:700]
    for given in (cut, Image.open(io.BytesIO(cut))):
        with pytest.raises(InputError, match="it is damaged"):
            open_photo(given)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "LAB", "I", "F"])
def test_every_mode_becomes_rgb(mode):
    image = Image.new("RGB", (6, 5), (200, 100, 50)).convert("L" if mode in ("I", "F", "1") else "RGB")
    image = image.convert("RGBA").convert(mode) if mode == "LA" else image.convert(mode) if mode != "LAB" else image
    opened = open_photo(image)
    assert opened.mode == "RGB" and opened.size == (6, 5)


def test_the_first_frame_of_an_animation_is_taken():
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    opened = open_photo(saved(red, "GIF", save_all=True, append_images=[blue]))
    assert opened.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
def test_extreme_shapes_are_opened(size):
    opened = open_photo(saved(Image.new("RGB", size, "red"), "PNG"))
    assert max(opened.size) <= photo.SHOWN_SIDE
    assert photo_to_pixels(opened, 32).shape == (3, 32, 32)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(30_000, 30_000), (9500, 9500), (8001, 8000)])  # Pillow refuses, warns, is silent
def test_a_decompression_bomb_is_refused_before_decoding(monkeypatch, size):
    def decode(*_):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    with pytest.raises(InputError, match="at most 32 million"):
        open_photo(png(*size))


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a", b"<svg onload=alert(1)>", saved(Image.new("RGB", (64, 64)), "JPEG")[:300], png(50, 50)],
    ids=["empty", "header only", "svg", "truncated", "missing data"],
)
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"holiday\.jpg can't be read as a photo\. Send JPEG"):
        open_photo(path)


@pytest.mark.parametrize("kind", photo.PHOTO_FORMATS)
def test_a_file_cut_in_half_is_refused_in_every_format(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8))
    whole = saved(noise, kind)
    assert open_photo(whole).size == (60, 60)
    with pytest.raises(InputError, match="damaged"):
        open_photo(whole[: len(whole) // 2])


def test_an_image_without_pixels_is_refused():
    with pytest.raises(InputError, match="0 x 5"):
        open_photo(Image.new("RGB", (0, 5)))


def test_a_file_of_many_bytes_is_refused(monkeypatch):
    monkeypatch.setattr(photo, "MAX_PHOTO_BYTES", 100)
    with pytest.raises(InputError, match="Shrink it"):
        open_photo(bytes(101))


def test_no_photo_and_a_missing_file_say_so(tmp_path):
    with pytest.raises(InputError, match="no photo yet"):
        open_photo(None)
    with pytest.raises(InputError, match=r"no file .*gone\.jpg"):
        open_photo(tmp_path / "gone.jpg")


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    Image.new("RGB", (8, 4)).save(tmp_path / "mine.png")

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(UnreachablePhoto, match=r"mine\.png can't be read now: Permission denied\. Check"):
        open_photo(tmp_path / "mine.png")


def test_broken_exif_shows_the_pixels_as_they_are():
    content = saved(Image.new("RGB", (8, 4), "red"), "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)
    assert open_photo(content).size == (8, 4)


def test_bytes_path_and_image_give_the_same(tmp_path):
    content = saved(Image.effect_mandelbrot((30, 20), (-2, -1, 1, 1), 50).convert("RGB"), "PNG")
    (tmp_path / "a.png").write_bytes(content)
    opened = [open_photo(content), open_photo(tmp_path / "a.png"), open_photo(Image.open(io.BytesIO(content)))]
    assert opened[0].tobytes() == opened[1].tobytes() == opened[2].tobytes()


def test_the_square_shows_all_of_a_wide_photo():
    image = Image.new("RGB", (40, 20), "black")
    image.paste("red", (0, 0, 10, 20))
    squashed = photo_to_pixels(image, 8)
    assert squashed.shape == (3, 8, 8) and squashed[0, :, 0].min() > 0.9 and squashed[0, :, 4:].max() < 0.1
    assert squashed.min() >= 0 and squashed.max() <= 1


def test_detail_finer_than_the_model_learned_from_is_left_out():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    stripes[:, 32:] = 255  # the right half is white
    image = Image.fromarray(stripes)
    sharp, soft = (photo_to_pixels(image, 64, detail)[0] for detail in (0, 16))
    assert sharp[:, :28].std() > 0.49 and soft[:, :28].std() < 0.05
    assert abs(float(soft[:, :28].mean()) - 0.5) < 0.02 and soft[:, 40:].min() > 0.95
    assert torch.equal(photo_to_pixels(image, 64, 64)[0], sharp)


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
        ("¿Qué color?", "¿Qué color?"),
        ("它是什么颜色?", "它是什么颜色?"),
    ],
)
def test_invisible_characters_are_removed_and_other_scripts_kept(question, cleaned):
    assert clean_question(question) == cleaned


def test_half_a_character_is_refused_by_name_and_place():
    with pytest.raises(InputError, match=r"^The question has half a character at place 6: \\ud800"):
        clean_question("what \ud800 color")


def test_a_file_name_that_is_no_utf_8_can_be_told(tmp_path):
    with pytest.raises(InputError, match=r"no file '.*caf\\xe9\.jpg'") as caught:
        open_photo(tmp_path / b"caf\xe9.jpg".decode("utf-8", "surrogateescape"))
    str(caught.value).encode()  # a terminal or a log can write it


@pytest.mark.parametrize("token", ["[SEP]", "[MASK]", "[PAD]", "[CLS]", "[UNK]"])
def test_a_typed_control_token_is_a_word(tiny_text_folder, token):
    from transformers import AutoTokenizer

    tokenizer = QuestionTokenizer(AutoTokenizer.from_pretrained(tiny_text_folder), 40)
    special = set(tokenizer.tokenizer.all_special_ids) - {tokenizer.tokenizer.unk_token_id}  # "[" is unknown here
    ids, mask = tokenizer([f"what {token} is"])
    assert special.isdisjoint(ids[0, 1:-1].tolist()) and mask.all()
    assert [ids[0, 0], ids[0, -1]] == [tokenizer.tokenizer.cls_token_id, tokenizer.tokenizer.sep_token_id]
    words, token_words = tokenizer.words(f"what {token} is")
    assert words == ("what", token, "is")
    assert token_words == (None, 0, *[1] * (len(token_words) - 4), 2, None) and 1 in token_words


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


def test_a_name_that_no_file_can_have_is_refused_in_one_short_line():
    with pytest.raises(InputError, match="There is no file") as refused:
        open_photo("x" * 5000 + ".jpg")
    assert len(str(refused.value)) < 400
