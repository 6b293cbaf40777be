"""The index against exact scores; what is new, changed, gone, broken or somebody else's."""

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from valm_core.model.tasks.retrieval import pair_scores
from valm_core.outputs import InputError
from valm_core.retrieval import index as index_module
from valm_core.retrieval.finder import PhotoFinder
from valm_core.retrieval.index import IndexFault, PhotoIndex


@pytest.fixture
def finder(tiny_finder) -> PhotoFinder:
    return tiny_finder


@pytest.fixture
def folder(tmp_path):
    """Seventy photos of noise, some of them in a folder below."""
    generator = np.random.default_rng(0)
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for place in range(70):
        pixels = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        name = f"more/{place}.png" if place % 7 == 0 else f"{place}.png"
        Image.fromarray(pixels).resize((32, 32)).save(photos / name)
    return photos


@pytest.fixture
def index(folder, finder, tmp_path):
    index = PhotoIndex(tmp_path / "index", folder, finder)
    index.update()
    return index


@torch.no_grad()
def test_the_first_photos_are_those_of_the_exact_scores(index, folder, finder):
    query = finder.encode_words("is the square red?")
    names = index._known.names
    pixels = torch.stack([finder.model.pixels(Image.open(folder / name).convert("RGB")) for name in names])
    texts = finder.model.encode_texts(*finder.model.tokenizer([query.text]))
    photos = finder.model.encode_photos(pixels)
    exact = pair_scores(finder.model, texts, photos)[0].numpy()
    among = np.argsort(-(photos.vector @ texts.vector[0]).numpy())[:50]  # whose vectors are nearest
    found = index.search(query)
    # Kept numbers are rounded, so photos of nearly one score may change places.
    assert [one.score for one in found] == pytest.approx(np.sort(exact[among])[::-1][:10], abs=0.1)
    assert [one.score for one in found] == pytest.approx([exact[names.index(one.name)] for one in found], abs=0.1)
    assert np.ptp(exact) > 1.0  # or any order would do


def test_a_photo_is_most_like_itself(index, folder, finder):
    found = index.similar(finder.encode_photos([folder / "3.png"]), 2)
    assert found[0].name == "3.png"
    assert found[0].score == pytest.approx(1.0, abs=1e-2)
    assert found[1].score <= found[0].score


def test_only_what_is_new_is_encoded_and_what_is_gone_goes(index, folder, finder, tmp_path):
    changes = index.update()
    assert (changes.added, changes.removed, changes.kept) == (0, 0, 70)
    (folder / "1.png").unlink()
    Image.new("RGB", (32, 32), "red").save(folder / "2.png")
    os.utime(folder / "2.png", ns=(1, 1))
    (folder / "broken.jpg").write_bytes(b"no photo")
    again = PhotoIndex(tmp_path / "index", folder, finder)
    changes = again.update()
    assert (changes.added, changes.removed, changes.kept) == (1, 1, 68)
    assert list(changes.faults) == ["broken.jpg"]
    assert len(again) == 69
    assert again.update().kept == 70  # the broken one is not tried again
    assert "1.png" not in [one.name for one in again.search(finder.encode_words("red"), 100)]


def test_interrupted_it_goes_on(folder, finder, tmp_path):
    index = PhotoIndex(tmp_path / "index", folder, finder)

    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.update(interrupt)
    again = PhotoIndex(tmp_path / "index", folder, finder)
    assert len(again) == 32
    assert again.update().added == 38


def test_the_index_of_another_folder_or_model_is_refused(index, tmp_path, finder, tiny_config):
    (tmp_path / "others").mkdir()
    with pytest.raises(IndexFault, match="index of another folder"):
        PhotoIndex(tmp_path / "index", tmp_path / "others", finder)
    other = PhotoFinder(finder.model, torch.device("cpu"))
    other.fingerprint = "another"
    with pytest.raises(IndexFault, match="index of another model"):
        PhotoIndex(tmp_path / "index", index.folder, other)


def test_an_index_of_photos_that_were_read_otherwise_is_refused(index, tmp_path, finder, monkeypatch):
    monkeypatch.setattr(index_module, "PHOTO_PREPROCESSING", 99)
    with pytest.raises(IndexFault, match="index of another photo preprocessing"):
        PhotoIndex(tmp_path / "index", index.folder, finder)


def test_an_index_inside_the_folder_is_refused(folder, finder):
    with pytest.raises(IndexFault, match="lies inside"):
        PhotoIndex(folder / "index", folder, finder)
    assert not (folder / "index").exists()


@pytest.mark.parametrize("content", [b"x" * 200, b"SQLite format 3\x00" + b"\xff" * 500])
def test_a_file_that_is_no_index_is_refused_and_stays(folder, finder, tmp_path, content):
    path = tmp_path / "precious.txt"
    path.write_bytes(content)
    with pytest.raises(IndexFault, match="can't be used as an index"):
        PhotoIndex(path, folder, finder)
    assert path.read_bytes() == content


def test_a_database_of_something_else_is_refused_and_stays(folder, finder, tmp_path):
    path = tmp_path / "corrections.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE photos (sha256 TEXT PRIMARY KEY, jpeg BLOB NOT NULL)")
    before = path.read_bytes()
    with pytest.raises(IndexFault, match="is no index"):
        PhotoIndex(path, folder, finder)
    assert path.read_bytes() == before


def damage(path, column, value):
    with sqlite3.connect(path) as database:
        changed = database.execute(f"UPDATE photos SET {column} = ? WHERE name = '1.png'", (value,)).rowcount
    assert changed == 1


@pytest.mark.parametrize(
    ("column", "forged"),
    [
        ("vector", lambda width: b""),
        ("vector", lambda width: np.full(width, 1 / width**0.5, np.float16).tobytes()[:-1]),
        ("vector", lambda width: np.full(2 * width, (2 * width) ** -0.5, np.float16).tobytes()),
        ("vector", lambda width: np.full(width, np.nan, np.float16).tobytes()),
        ("vector", lambda width: np.full(width, 1000, np.float16).tobytes()),  # would be the best of all searches
        ("vector", lambda width: "a text"),
        ("vector", lambda width: None),
        ("name", lambda width: b"../../1.png"),
        ("name", lambda width: None),
    ],
)
def test_a_forged_index_is_refused_and_the_remedy_is_named(index, folder, finder, column, forged):
    damage(index.path, column, forged(finder.width))
    with pytest.raises(IndexFault, match=r"is damaged.*Delete it to index anew"):
        PhotoIndex(index.path, folder, finder)


@pytest.mark.parametrize("forged", [b"", b"\x7f" * 10, None, 7])
def test_forged_cells_are_refused_when_they_are_compared(index, folder, finder, forged):
    damage(index.path, "cells", forged)
    opened = PhotoIndex(index.path, folder, finder)
    with pytest.raises(IndexFault, match=r"'1\.png' is no vector of this model"):
        opened.search(finder.encode_words("red"), top=70)


def test_a_forged_name_outside_the_folder_goes_with_the_next_update(index, folder, finder):
    damage(index.path, "name", "../secret.png")
    opened = PhotoIndex(index.path, folder, finder)
    changes = opened.update()
    assert (changes.added, changes.removed) == (1, 1) and "../secret.png" not in opened._known.names


def test_a_link_to_nothing_is_a_fault_of_its_own_and_stops_nothing(folder, finder, tmp_path):
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    index = PhotoIndex(tmp_path / "index", folder, finder)
    for _ in range(2):
        assert list(index.update().faults) == ["gone.jpg"] and len(index) == 70


def test_what_cannot_be_read_now_is_tried_again_and_a_missing_folder_costs_nothing(folder, finder, tmp_path):
    index, away = PhotoIndex(tmp_path / "index", folder, finder), tmp_path / "away"

    def unmount(done, total):
        if done == 32:
            folder.rename(away)

    assert len(index.update(unmount).faults) == 38 and len(index) == 32
    with pytest.raises(IndexFault, match=r"no folder .*photos now\. What was indexed"):
        index.update()
    assert len(index) == 32
    away.rename(folder)
    changes = index.update()
    assert (changes.added, changes.removed, changes.kept, changes.faults) == (38, 0, 32, {})
    assert len(index) == 70


def test_a_name_that_is_no_utf_8_leads_back_to_its_photo(finder, tmp_path):
    photos = tmp_path / "few"
    photos.mkdir()
    path = Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png"))
    Image.new("RGB", (32, 32), (220, 30, 30)).save(path)
    index = PhotoIndex(tmp_path / "index", photos, finder)
    index.update()
    (found,) = index.search(finder.encode_words("red"))
    found.name.encode()  # a page and a file can write it
    assert index.file_of(found.name) == path


def test_an_empty_folder_finds_nothing(finder, tmp_path):
    (tmp_path / "empty").mkdir()
    index = PhotoIndex(tmp_path / "index", tmp_path / "empty", finder)
    index.update()
    assert index.search(finder.encode_words("red")) == []


def test_maps_of_words_are_shares_of_cells(finder, folder):
    query = finder.encode_words("any red squares?")
    explanation = finder.explain(query, folder / "3.png")
    assert explanation.tokens == ("any", "red", "squares?")
    assert explanation.token_to_patch.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert explanation.image_map.shape == explanation.grid == (4, 4)
    pieces = [place for place, word in enumerate(query.piece_words) if word == 2]  # square, ##s and ?
    assert len(pieces) == 3
    cells = finder.model.image_cells(finder._pixels([folder / "3.png"]))[0].detach().numpy()
    similar = np.maximum(query.pieces[pieces] @ cells.T, 0)
    expected = (query.shares[pieces, None] * similar).sum(axis=0)
    assert explanation.token_to_patch[2] == pytest.approx(expected / expected.sum(), abs=1e-5)


def test_words_must_be_some(finder):
    with pytest.raises(InputError, match="empty"):
        finder.encode_words("  ")
