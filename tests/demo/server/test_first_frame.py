"""The first frame stands before gradio's bundle, in the browser's language, and nothing of the page is lost."""

import gzip
import io
import json

import brotli
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from demo.page.wiring import EXAMPLES
from demo.server.first_frame import THUMBNAIL_SIDE, FirstFrame, small_pictures
from demo.server.preloads import FRONTEND, first_files

PAGE = (
    '<html><head><script>window.gradio_config = {"a": 1, "i18n_translations":{"en":{"hot {": "hot {"},"zh-CN":'
    '{"hot {": "热"},"zh-TW":{"hot {": "熱"}},"b": 2};</script><link rel="stylesheet" href="x.css"></head><body>'
    "<gradio-app></gradio-app></body></html>"
)


@pytest.fixture
def client():
    routes = [
        Route("/", lambda request: HTMLResponse(PAGE)),
        Route("/login", lambda request: HTMLResponse(PAGE.replace('"a": 1', '"auth_required":true'))),
        Route("/plain", lambda request: HTMLResponse("<p>hello</p>")),
        Route("/data", lambda request: JSONResponse({"a": "<gradio-app"})),
        small_pictures("/small", EXAMPLES),
    ]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(FirstFrame)]))


def test_the_frame_comes_first_and_what_is_long_after_it(client):
    text = client.get("/", headers={"accept-language": "zh-CN"}).text
    places = [text.index(part) for part in ("<body>", "first-frame", "<p>向照片", "gradio_config", "<gradio-app")]
    assert places == sorted(places)
    assert "<title>VALM – 向照片提问，看清缘由</title>" in text
    assert text.count("gradio_config") == text.count("</gradio-app>") == 1
    assert text.index('rel="stylesheet" href="x.css"') < text.index("<body>") and 'media="print"' in text


@pytest.mark.parametrize(
    ("accepted", "texts"),
    [("de,en", {"en": {}}), ("zh-TW,en;q=0.5", {"zh-TW": {"hot {": "熱"}}), ("zh-CN", {"zh-CN": {"hot {": "热"}})],
)
def test_the_page_carries_the_texts_of_one_language(client, accepted, texts):
    config = client.get("/", headers={"accept-language": accepted}).text.partition("gradio_config = ")[2]
    assert json.loads(config.partition(";</script>")[0]) == {"a": 1, "i18n_translations": texts, "b": 2}


def test_the_files_that_come_next_are_told_and_all_there(client, tmp_path):
    names = first_files()
    kinds = ("core-", "runtime-", "Blocks-", "HTML-", "Index-", "statustracker-")
    assert all(any(name.startswith(kind) for name in names) for kind in kinds) and len(set(names)) == len(names) > 30
    assert all((FRONTEND / "assets" / name).is_file() for name in names)
    text = client.get("/").text
    assert all(f"./assets/{name}" in text for name in names)
    (tmp_path / "index.html").write_text("<script>built another way</script>")
    assert first_files(tmp_path) == first_files(tmp_path / "missing") == ()


def test_the_login_page_is_not_covered(client):
    assert "first-frame" not in client.get("/login").text


def test_what_is_no_page_of_gradio_passes_unchanged(client):
    assert client.get("/plain").text == "<p>hello</p>"
    assert client.get("/data").json() == {"a": "<gradio-app"}


def test_it_is_compressed_only_for_who_understands_that(client):
    packed = client.get("/", headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip" and "first-frame" in packed.text
    assert int(packed.headers["content-length"]) == len(gzip.compress(packed.content, 6))
    dense = client.get("/", headers={"accept-encoding": "gzip, br"})
    assert dense.headers["content-encoding"] == "br"
    assert int(dense.headers["content-length"]) == len(brotli.compress(packed.content, quality=6))
    plain = client.get("/", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.text == packed.text


def test_cards_get_small_photos_and_only_those_that_are_there(client):
    answer = client.get("/small/raccoon.jpg")
    assert max(Image.open(io.BytesIO(answer.content)).size) == THUMBNAIL_SIDE and len(answer.content) < 20_000
    assert client.get("/small/examples.json").status_code == client.get("/small/..%2Fscreenshot.png").status_code == 404
