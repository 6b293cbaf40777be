"""Photos with an orientation give what the upright one gives: opened once or twice, in every format, by every door."""

import base64
import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from toy_data import ANSWERS
from turned_photos import LOSSLESS, LOSSY, ORIENTATIONS, scene, stored, write_turned

from demo.downloads.files import reply_json
from demo.server.api import Endpoints
from demo.terminal.ask import main as ask
from demo.terminal.batch import answer_batch
from demo.visit import asking
from demo.visit.uploads import photo_content
from training import batch_answer
from training.corrections.measure import correct
from training.datasets.feature_cache import FeatureCache, mean_image_token, read_pixels
from training.datasets.readers.jsonl import Row
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.corrections.database import add_correction, read_corrections
from valm_core.inputs.photo import PHOTO_FORMATS, PHOTO_PREPROCESSING, SHOWN_SIDE, open_photo
from valm_core.model.build import build_model

QUESTION = "what color is the square?"
SIZES = {"small": (90, 60), "made smaller": (3400, 40), "made coarser first": (6453, 70)}


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=float)


@pytest.mark.parametrize(
    ("orientation", "size"),
    # The same code turns all sizes; made smaller it is tried upside down, lying, and lying and mirrored.
    [(orientation, size) for size in SIZES for orientation in (ORIENTATIONS if size == "small" else (3, 6, 7))],
)
@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_every_orientation_is_turned_once_in_every_format(orientation, kind, size):
    if kind not in PHOTO_FORMATS:
        pytest.skip(f"this Pillow has no {kind}")
    upright = scene(*SIZES[size])
    content = stored(upright, orientation, kind)
    opened = open_photo(content)
    assert open_photo(opened) == opened and open_photo(open_photo(Image.open(io.BytesIO(content)))) == opened
    assert opened.info == {} and not opened.getexif()
    expected = open_photo(upright)
    assert opened.size == expected.size and max(opened.size) <= SHOWN_SIDE
    if kind in LOSSLESS:
        assert opened == expected
    else:
        assert np.abs(pixels(opened) - pixels(expected)).mean() < 4  # the file's own losses


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16"])
def test_a_turned_tiff_of_any_mode_is_turned_once(mode, compression):
    upright = scene(90, 60)
    if mode == "I;16":
        upright = Image.fromarray(np.asarray(upright.convert("L")).astype(np.uint16) * 257)
    elif mode != "RGB":
        upright = upright.convert(mode)
    opened = open_photo(stored(upright, 6, "TIFF", compression=compression))
    assert opened == open_photo(upright) and open_photo(opened) == opened


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_orientation_that_xmp_tells_is_applied_once(kind):
    packet = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    turned, content = scene(90, 60).transpose(Image.Transpose.ROTATE_90), io.BytesIO()
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet)
        turned.save(content, kind, pnginfo=text)
    elif kind == "TIFF":
        turned.save(content, kind, tiffinfo={700: packet.encode()})
    else:
        turned.save(content, kind, xmp=packet.encode(), quality=95)
    opened = open_photo(content.getvalue())
    assert opened.size == (90, 60) and open_photo(opened) == opened
    assert np.abs(pixels(opened) - pixels(scene(90, 60))).mean() < 4


def test_a_phones_pair_of_pictures_gives_its_first_upright():
    content, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    first, second = scene(90, 60).transpose(Image.Transpose.ROTATE_90), Image.new("RGB", (60, 90), "red")
    first.save(content, "MPO", save_all=True, append_images=[second], exif=exif, quality=95)
    assert Image.open(io.BytesIO(content.getvalue())).format == "MPO"
    opened = open_photo(content.getvalue())
    assert opened.size == (90, 60) and open_photo(opened) == opened
    assert np.abs(pixels(opened) - pixels(scene(90, 60))).mean() < 4


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_an_orientation_that_is_none_turns_nothing(orientation):
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    scene(90, 60).save(content, "PNG", exif=exif)
    assert open_photo(content.getvalue()) == open_photo(scene(90, 60))


def test_a_colour_profile_stays_and_where_the_photo_was_taken_does_not():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    opened = open_photo(stored(scene(90, 60), 6, "JPEG", icc_profile=profile))
    assert opened.info == {"icc_profile": profile} and open_photo(opened) == opened
    assert open_photo(stored(scene(90, 60).convert("L"), 6, "JPEG", icc_profile=profile)).info == {}  # for another mode


@pytest.fixture
def photos(tmp_path):
    """The upright photo and the turned ones, alone in a folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return write_turned(folder)


def test_the_page_and_the_api_answer_and_map_turned_photos_alike(tiny_predictor, photos):
    upright, turned = photos
    facts = {"model": "tiny"}
    first = asking.weigh(tiny_predictor, asking.ask(tiny_predictor, str(upright), None, QUESTION))
    wanted = reply_json(first.prediction, first.explanation, first.evidence, facts)
    endpoints = Endpoints(tiny_predictor, ())
    for path in turned[1::4]:  # 2 and 6 of each format
        reply = asking.weigh(tiny_predictor, asking.ask(tiny_predictor, str(path), None, QUESTION))
        assert reply_json(reply.prediction, reply.explanation, reply.evidence, facts) == wanted, path.name
        assert reply.photo.picture == first.photo.picture
        text = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        assert photo_content(text) == path.read_bytes()
        told = endpoints.explain(text, QUESTION)
        assert {name: told[name] for name in wanted if name != "model"} == {
            name: wanted[name] for name in wanted if name != "model"
        }


def test_every_way_into_the_predictor_gives_the_upright_photos_tokens(tiny_predictor, photos):
    upright, turned = photos
    wanted = tiny_predictor.encode(upright).tokens
    for path in turned:
        for photo in (path, str(path), path.read_bytes(), Image.open(path), tiny_predictor.open_photo(path)):
            assert torch.equal(tiny_predictor.encode(photo).tokens, wanted), path.name


def test_a_batch_answers_turned_photos_alike(tiny_predictor, photos, tmp_path):
    upright, turned = photos
    answer_batch(tiny_predictor, upright.parent, tmp_path / "out.jsonl", [QUESTION])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(turned) + 1 and all(row["error"] is None for row in rows)
    assert {row["predicted"] for row in rows} == {rows[0]["predicted"]}
    assert [row["probability"] for row in rows] == pytest.approx([rows[0]["probability"]] * len(rows), rel=1e-5)


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    torch.manual_seed(0)
    save_checkpoint(build_model(tiny_config, ANSWERS), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_the_terminal_and_the_shards_answer_turned_photos_alike(checkpoint, photos, tmp_path, capsys):
    upright, turned = photos
    told = []
    for path in (upright, turned[5], turned[-3]):  # 6.png and 6.tiff
        ask([str(path), QUESTION, "--checkpoint", str(checkpoint), "--json", "--device", "cpu"])
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1] == told[2]

    shards = tmp_path / "shards"
    shards.mkdir()
    with tarfile.open(shards / "a.tar", "w") as tar:
        for number, path in enumerate((upright, *turned)):
            for ending, content in ((path.suffix, path.read_bytes()), (".json", b'{"question": "what color?"}')):
                member = tarfile.TarInfo(f"{number:04}{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    arguments = ["--checkpoint", str(checkpoint), "--input", str(shards), "--output", str(tmp_path / "out")]
    batch_answer.main([*arguments, "--device", "cpu"])
    lines = [json.loads(line) for line in (tmp_path / "out" / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len(turned) + 1 and len({line["answer"] for line in lines}) == 1
    assert [line["probability"] for line in lines] == pytest.approx([lines[0]["probability"]] * len(lines), rel=1e-5)


def test_training_reads_and_caches_turned_photos_upright(tiny_model, photos, tmp_path):
    upright, turned = photos
    features = FeatureCache(tiny_model, [upright, *turned], [QUESTION], tmp_path / "cache")
    wanted = features.image_tokens([upright])[0]
    mean = mean_image_token(tiny_model, [upright])
    for path in turned:
        assert torch.equal(read_pixels(tiny_model, path), read_pixels(tiny_model, upright)), path.name
        torch.testing.assert_close(features.image_tokens([path])[0], wanted, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(mean_image_token(tiny_model, [path]), mean)


def test_a_cache_of_files_that_were_read_otherwise_is_not_taken(tiny_model, photos, tmp_path, monkeypatch):
    FeatureCache(tiny_model, [photos[0]], [], tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("image-*"))) == 1
    monkeypatch.setattr("training.datasets.feature_cache.PHOTO_PREPROCESSING", PHOTO_PREPROCESSING + 1)
    FeatureCache(tiny_model, [photos[0]], [], tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("image-*"))) == 2


def test_corrections_keep_turned_photos_upright(photos, tmp_path):
    upright, turned = photos
    database = tmp_path / "corrections.db"
    for number, path in enumerate(turned):
        with Image.open(path) as opened:
            add_correction(database, opened, QUESTION, "blue", f"red {number}", True)
    add_correction(database, Image.open(upright), QUESTION, "blue", "red", True)
    correct(tmp_path / "more.db", [Row(path, QUESTION, ("red",)) for path in turned], ["blue"] * len(turned))
    kept = {row.jpeg for file in (database, tmp_path / "more.db") for row in read_corrections(file)}
    assert len(kept) == 1  # all the same pixels
    picture = Image.open(io.BytesIO(kept.pop()))
    assert picture.size == (90, 60) and not picture.getexif()
