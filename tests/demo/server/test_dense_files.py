"""Gradio's first files come densely compressed to who takes that, and as gradio sends them to everyone else."""

import brotli
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from demo.server.dense_files import DenseFiles
from demo.server.preloads import FRONTEND, entry_files

SCRIPT = "const answer = 42; " * 100


@pytest.fixture
def client(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "index-a.js").write_text(SCRIPT)
    (tmp_path / "index.html").write_text('<script type="module" src="./assets/index-a.js"></script>')
    app = Starlette(routes=[Route("/{path:path}", lambda request: PlainTextResponse("gradio's own"))])
    files = DenseFiles(app, tmp_path)
    files.begun = True
    files.compress()
    return TestClient(Starlette(routes=app.routes, middleware=[Middleware(lambda app: files)]))


def test_who_takes_brotli_gets_the_file_dense(client):
    with client.stream("GET", "/under/assets/index-a.js", headers={"accept-encoding": "gzip, br"}) as reply:
        assert brotli.decompress(b"".join(reply.iter_raw())).decode() == SCRIPT
    assert reply.headers["content-type"].startswith("text/javascript") and reply.headers["vary"] == "Accept-Encoding"
    assert int(reply.headers["content-length"]) < len(SCRIPT) / 10


def test_all_else_is_gradios(client):
    assert client.get("/assets/index-a.js", headers={"accept-encoding": "gzip"}).text == "gradio's own"
    for path in ("/assets/other.js", "/index-a.js", "/assets/index-a.js/more"):
        assert client.get(path, headers={"accept-encoding": "br"}).text == "gradio's own"


def test_gradios_html_names_its_first_script_and_sheet():
    names = entry_files()
    assert {name.rpartition(".")[2] for name in names} == {"js", "css"}
    assert all((FRONTEND / "assets" / name).is_file() for name in names)
