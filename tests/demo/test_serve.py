"""Serving: starts that fail, proxies, addresses, and what lives as long as the page."""

import html
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fake_predictor import FakePredictor
from patience import PATIENCE, let_pass, wait_until
from served_page import free_port, served

from demo.settings import Settings

pytest.importorskip("gradio")

ROOT = Path(__file__).parents[2]
PHOTO = (ROOT / "assets" / "examples" / "cat.jpg").read_bytes()
# Signals as a terminal gives them, also where the tests themselves run under nohup or in the background.
DEFAULT_SIGNALS = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
# `python app.py` with a model that needs no loading.
FAKE_APP = """
import sys
sys.path[:0] = [{root!r}, {helpers!r}]
from fake_predictor import FakePredictor
from valm_core.predictor import VqaPredictor

def load(*_):
    print("loading", flush=True)
    {loading}
    return FakePredictor()

VqaPredictor.from_checkpoint = load
from demo.serve import main
main([])
"""


def fake_app(loading: str = "") -> str:
    """The code of ``FAKE_APP``, with what happens while it loads."""
    return FAKE_APP.format(root=str(ROOT), helpers=str(ROOT / "tests" / "helpers"), loading=loading)


@contextmanager
def started(forks, folder: Path, code: str, **environment):
    """A process of its own, its temporary files in ``folder / "tmp"``: (process, file of what it printed)."""
    temporary, log = folder / "tmp", folder / "log.txt"
    temporary.mkdir()
    log.touch()
    variables = clean_environment() | {"TMPDIR": str(temporary)} | environment
    process = forks.start(["-c", DEFAULT_SIGNALS + code], env=variables, stdout=log)
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()


def clean_environment() -> dict[str, str]:
    """This process's environment without settings and proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VALM_", "GRADIO_")) and not name.lower().endswith("_proxy")
    }


def wait_for(text: str, process, log: Path) -> None:
    """Until a process has printed something."""
    wait_until(lambda: text in log.read_text() or process.poll() is not None, log.read_text)
    assert text in log.read_text(), log.read_text()


def folders_left(folder: Path) -> list[str]:
    """What of the page's lies among its temporary files."""
    return [path.name for path in (folder / "tmp").glob("valm-*")]


def listens(host: str, port: int) -> bool:
    """Whether someone takes connections there."""
    try:
        socket.create_connection((host, port), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def fetched(address: str) -> int:
    """The status of a page, asked for without a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(address, timeout=PATIENCE).status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_page_knows_the_path_that_a_proxy_shows_it_under():
    with served(FakePredictor(), Settings(root_path="/valm")) as url:
        request = urllib.request.Request(
            url + "/", headers={"X-Forwarded-Host": "example.org", "X-Forwarded-Proto": "https"}
        )
        page = urllib.request.urlopen(request, timeout=PATIENCE).read().decode()
    config = config_of(page)
    assert config["root"] == "https://example.org/valm"
    assert icons(config)[0].startswith("https://example.org/valm/small-examples/")


def config_of(page: str) -> dict:
    """What a page tells its frontend."""
    return json.loads(re.search(r"window\.gradio_config = (\{.*?\});</script>", page)[1])


def icons(config: dict) -> list[str]:
    """The addresses of the example photos on the page."""
    return [part["props"]["icon"]["url"] for part in config["components"] if part["props"].get("icon")]


# Starts that fail


@pytest.mark.parametrize("command", [["app.py"], ["-m", "demo.serve"]])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("VALM_COMPARE", "nonsense"),
        ("GRADIO_SERVER_PORT", "seven"),
        ("GRADIO_SERVER_NAME", "192.0.2.1"),
        ("VALM_FEEDBACK", str(ROOT / "app.py" / "x.db")),
        ("VALM_AUTH", "ann"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line_and_exit_code_2(command, name, text, tmp_path):
    environment = clean_environment() | {"TMPDIR": str(tmp_path), name: text}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and name in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_while_the_model_loads_is_one_line_and_nothing_is_left(forks, tmp_path):
    port = free_port()
    loading = f"import socket; taken = socket.create_server(('127.0.0.1', {port})); globals()['taken'] = taken"
    with started(forks, tmp_path, fake_app(loading), GRADIO_SERVER_PORT=str(port)) as (process, log):
        process.wait(PATIENCE)
        lines = log.read_text().splitlines()
        assert process.returncode == 2 and lines[0] == "loading" and len(lines) == 2
        assert lines[1].startswith("The page can't start: ") and str(port) in lines[1]
        assert folders_left(tmp_path) == []


# `python app.py` as it is while the model loads.
LOADING_APP = """
import sys, time
sys.path.insert(0, {root!r})
import demo.serve

def load(*_):
    print("loading", flush=True)
    time.sleep(1000)

demo.serve.serve = load
demo.serve.main([])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_the_model_loads_leaves_nothing(forks, tmp_path, number):
    with started(forks, tmp_path, LOADING_APP.format(root=str(ROOT))) as (process, log):
        wait_for("loading", process, log)
        assert len(folders_left(tmp_path)) == 1
        process.send_signal(number)
        process.wait(PATIENCE)
        assert process.returncode == (130 if number == signal.SIGINT else 0)
        assert "Traceback" not in log.read_text() and folders_left(tmp_path) == []


# Proxies and addresses


def test_it_starts_behind_proxies_and_on_ipv6(forks, tmp_path):
    port = free_port()
    proxies = dict.fromkeys(("http_proxy", "HTTPS_PROXY", "all_proxy"), "http://127.0.0.1:9")
    place = {"GRADIO_SERVER_NAME": "::1", "GRADIO_SERVER_PORT": str(port)}
    with started(forks, tmp_path, fake_app(), **place, **proxies) as (process, log):
        wait_for("public link", process, log)  # gradio has reached its own page
        wait_until(lambda: listens("::1", port) or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        assert fetched(f"http://[::1]:{port}/") == 200
        assert len(folders_left(tmp_path)) == 1
        process.send_signal(signal.SIGHUP)
        process.wait(PATIENCE)
        assert process.returncode == 0 and folders_left(tmp_path) == []


class Proxy(BaseHTTPRequestHandler):
    """Passes POSTs on, with what the documentation's nginx writes into X-Forwarded-For."""

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        written = self.headers.get("X-Forwarded-For")
        through = f"{written}, {self.client_address[0]}" if written else self.client_address[0]
        connection = HTTPConnection("127.0.0.1", self.server.behind, timeout=PATIENCE)
        connection.request("POST", self.path, content, {"Content-Type": "application/json", "X-Forwarded-For": through})
        self.send_response(connection.getresponse().status)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def proxy(behind: int):
    """The port of a proxy in front of the page at another port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.behind = behind
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def call(port: int, visitor: str, written: str = "") -> int:
    """The status of a call from one of this machine's addresses, with what the visitor wrote as X-Forwarded-For."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=(visitor, 0))
    headers = {"Content-Type": "application/json"} | ({"X-Forwarded-For": written} if written else {})
    connection.request("POST", "/gradio_api/queue/join", json.dumps({"fn_index": 10**6, "data": []}), headers)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture
def environment():
    """The process's environment, put back afterwards."""
    before = dict(os.environ)
    yield os.environ
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of the machine")
@pytest.mark.parametrize("proxies", [0, 1, 2])
def test_each_visitor_has_a_count_and_nobody_can_invent_another(proxies, environment, tmp_path):
    from demo.server.start_up import prepare_environment

    environment.pop("FORWARDED_ALLOW_IPS", None)
    environment["GRADIO_TEMP_DIR"] = str(tmp_path)
    settings = Settings(requests_per_minute=2, trusted_proxies=proxies)
    prepare_environment(settings)
    with served(FakePredictor(), settings) as url:
        port = int(url.rpartition(":")[2])
        with proxy(port) as first, proxy(first) as second:
            asked = [port, first, second][proxies]
            # uvicorn itself believes what comes from 127.0.0.1
            invented = ("", "203.0.113.1", "203.0.113.2, 203.0.113.3")
            statuses = [call(asked, "127.0.0.1", written) for written in invented]
            assert 429 not in statuses[:2] and statuses[2] == 429
            assert call(asked, "127.0.0.3") != 429, "another visitor is not refused"
            assert call(asked, "127.0.0.1", "203.0.113.4") == 429


def test_the_documented_proxy_tells_who_asked():
    page = (ROOT / "docs" / "hosting.md").read_text(encoding="utf-8")
    block = re.search(r"(?s)```nginx\n(.*?)```", page)[1]
    assert "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;" in block
    assert "GRADIO_ROOT_PATH=/valm VALM_TRUSTED_PROXIES=1 .venv/bin/python app.py" in page


# What lives as long as the page


def test_examples_outlive_the_age_at_which_uploads_are_deleted(monkeypatch, tmp_path):
    import httpx

    from demo.page import wiring

    monkeypatch.setattr(wiring, "STATE_SECONDS", 1)  # how often old files are looked for
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with served(FakePredictor()) as url:
        assert list(tmp_path.rglob("*.jpg")) == [], "what gradio copies at the start it deletes by age"
        page = config_of(httpx.get(url, timeout=PATIENCE).text)
        pictures = [html.unescape(address) for address in icons(page)]
        assert len(pictures) == 8 and all(fetched(address) == 200 for address in pictures)
        upload = httpx.post(
            f"{url}/gradio_api/upload", files={"files": ("mine.jpg", PHOTO + b"mine")}, timeout=PATIENCE
        ).json()[0]
        uploaded = f"{url}/gradio_api/file={upload}"
        assert fetched(uploaded) == 200
        let_pass(wiring.FILE_SECONDS + 1, monkeypatch)
        wait_until(lambda: not Path(upload).exists())
        assert fetched(uploaded) == 403, "a visitor's upload is deleted"
        assert all(fetched(address) == 200 for address in pictures)
        assert icons(config_of(httpx.get(url, timeout=PATIENCE).text)) == icons(page)


def test_the_example_photos_folder_gives_nothing_else():
    with served(FakePredictor()) as url:
        assert fetched(f"{url}/examples/cat.jpg") == 200
        for name in ("nothing.jpg", "../checkpoints/everyday/config.json", "..%2fcheckpoints%2feveryday%2fconfig.json"):
            assert fetched(f"{url}/examples/{name}") in (403, 404)
