"""A server's collection: indexed while it is served, found by words and by a photo, through the page and the API."""

import jsonschema
import numpy as np
import pytest
from fake_predictor import FakePredictor
from gradio_client import Client
from PIL import Image
from served_page import served

from demo.finding.collection import Collection, Progress, Search, open_collection
from demo.finding.results import found_html, progress_html
from demo.page.find import FindPage
from demo.server.replies import replies_schema
from valm_core.outputs import InputError
from valm_core.retrieval.index import Found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Fifteen photos of noise, one with a name that is HTML, one in a folder below, and a file that is no photo."""
    generator = np.random.default_rng(0)
    photos = tmp_path_factory.mktemp("collection") / "photos"
    (photos / "more").mkdir(parents=True)
    names = [f"{place}.png" for place in range(13)] + ["more/<b>.png", "more/14.png"]
    for name in names:
        pixels = generator.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 24)).save(photos / name)
    (photos / "broken.jpg").write_bytes(b"no photo")
    return photos


@pytest.fixture(scope="module")
def collection(folder, tiny_finder):
    """All photos of the folder, indexed."""
    collection = Collection(folder, tiny_finder)
    assert collection.by_words("a cat").found == ()
    collection.update()
    return collection


@pytest.fixture(scope="module")
def page_url(collection):
    with served(FakePredictor(), collection=collection) as url:
        yield url


def test_progress_counts_what_can_be_found_and_what_could_not_be_read(collection):
    assert collection.progress == Progress(photos=15, unreadable=1)
    assert "15 photos can be found." in progress_html(collection.progress)
    assert "1 could not be read." in progress_html(collection.progress)
    assert "4 of 9 new ones" in progress_html(Progress(3, 4, 9))


def test_new_photos_are_found_while_others_are_still_indexed(tmp_path, tiny_finder, folder, monkeypatch):
    monkeypatch.setattr("valm_core.retrieval.index.ENCODED_AT_ONCE", 2)
    collection = Collection(folder, tiny_finder, tmp_path / "index")
    counts = []
    keeping = property(lambda _: counts[-1], lambda _, now: counts.append(now))
    monkeypatch.setattr(Collection, "progress", keeping, raising=False)
    collection.update()
    assert [now.total for now in counts[:-1]] == [16] * 9  # the broken one is new, too
    growing = [now.photos for now in counts]
    assert growing == sorted(growing) and 0 < growing[4] < 15 == growing[-1]


def test_a_fault_stops_indexing_and_names_itself_in_the_log_alone(collection, monkeypatch, caplog):
    def fail(tell):
        raise OSError("/secret/disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(collection.index, "update", fail)
        collection.update()
    assert "secret" not in progress_html(collection.progress) and "stopped" in progress_html(collection.progress)
    assert "/secret/disk is full" in caplog.text
    collection.update()
    assert collection.progress.photos == 15


def test_words_and_a_photo_find_photos_with_their_maps(collection, folder):
    page = FindPage(collection)
    shown, found, opened, _, words, overlay, progress, said = page.by_words("a red cat")
    assert said == f"{len(shown.search.found)} photos found, the best first."
    assert found.count("data-item=") == 12 and 'aria-current="true"' in found
    assert opened["visible"] and "15 photos" in progress
    assert [word in words for word in (">a<", ">red<", ">cat<", ">all words<")] == [True] * 4
    assert overlay.count('role="gridcell"') == len(shown.explanation.token_to_patch[0])
    shown, found, opened, _, words, overlay, *_ = page.by_photo(str(folder / "3.png"))
    assert shown.search.found[0].name == "3.png" and opened["visible"]
    assert words == "" and overlay.count("<img") == 1 and "like it" in found


def test_a_name_that_is_html_stays_text(collection):
    one = Found("more/<b>.png", 1.0, 0.5)
    html = found_html(Search((one,), collection.finder.encode_words("a")), [None], 0)
    assert "<b>" not in html and "&lt;b&gt;" in html
    assert "50 %" in html


def test_what_cannot_be_searched_by_is_said_on_the_page(collection, tmp_path):
    page = FindPage(collection)
    assert "notice" in page.by_words("")[1] and not page.by_words("")[2]["visible"]
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    assert "notice" in page.by_photo(str(tmp_path / "broken.jpg"))[1]
    assert page.by_photo(None)[1] == ""


@pytest.mark.parametrize("name", ["../outside.png", "/etc/passwd", "missing.png", "more/../../outside.png"])
def test_only_photos_under_the_folder_are_ever_opened(collection, folder, name):
    """An index could be forged."""
    Image.new("RGB", (8, 8)).save(folder.parent / "outside.png")
    with pytest.raises(InputError, match="no longer in the collection"):
        collection.picture(name)
    assert collection.small(name) is None


def test_the_api_finds_photos_as_documented(page_url):
    client = Client(page_url, verbose=False)
    parameters = client.view_api(return_format="dict")["named_endpoints"]["/find"]["parameters"]
    assert [(one["parameter_name"], one["example_input"]) for one in parameters] == [
        ("words", "a dog on grass"),
        ("top", 10),
    ]
    found = client.predict("a red cat", 3, api_name="/find")
    assert len(found) == 3 and found == sorted(found, key=lambda one: -one["score"])
    jsonschema.validate(found, {**replies_schema(), "$ref": "#/$defs/find"}, cls=jsonschema.Draft202012Validator)
    for words, top in (("", 3), ("a cat", 0), ("a cat", 101)):
        with pytest.raises(Exception, match=r"Type|question|allowed"):
            client.predict(words, top, api_name="/find")


def test_a_folder_or_model_that_is_missing_is_one_clear_error(tmp_path, tiny_finder):
    with pytest.raises(FileNotFoundError, match="VALM_COLLECTION"):
        Collection(tmp_path / "nowhere", tiny_finder)
    with pytest.raises(ValueError, match="VALM_FIND_CHECKPOINT"):
        open_collection(str(tmp_path), "", tmp_path / "nowhere")
