"""Stopping and failing: SIGTERM finishes the answer under way, and what is missing is said before anything starts."""

import asyncio
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from load.drive import photo_of
from load.visitor import Visitor, connect, read_layout, run
from patience import PATIENCE, wait_until
from served_page import free_port

from demo.server import shutdown
from valm_core.model.encoders import packages
from valm_core.predictor import VqaPredictor

ROOT = Path(__file__).parents[3]
SERVER = """
import os, sys
sys.path[:0] = [{root!r}, {helpers!r}]
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import tempfile, threading
from demo.server import shutdown
from demo.server.shutdown import serve_until_stopped
shutdown.FINISH_SECONDS, shutdown.SHOW_SECONDS = 200.0, 10.0  # a busy machine computes and fetches slowly
uploads = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp()
print(uploads, flush=True)
stopping, finish_answers = threading.Event(), shutdown.finish_answers
shutdown.finish_answers = lambda *arguments: (stopping.set(), finish_answers(*arguments))
from fake_predictor import FakePredictor
from demo.page.wiring import build_page, launch_options

class Telling(FakePredictor):
    def ask(self, *arguments, **named):
        print("answering", flush=True)
        stopping.wait(250)  # the answer is under way when the signal comes, however late that is
        return super().ask(*arguments, **named)

class Hub:
    @staticmethod
    def upload_the_rest(seconds):
        print("uploading", flush=True)

sys.modules["valm_core.corrections.hub_dataset"] = Hub
page = build_page(Telling(delay=0.3))
serve_until_stopped(page, uploads, server_name="127.0.0.1", server_port={port}, **launch_options())
"""


@pytest.fixture
def server(forks, tmp_path):
    """A page in a process of its own whose answers take their time: (process, address, folder of uploads, its log)."""
    port, log = free_port(), tmp_path / "log.txt"
    code = SERVER.format(root=str(ROOT), helpers=str(ROOT / "tests" / "helpers"), port=port)
    environment = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    environment["TMPDIR"] = str(tmp_path)
    log.touch()
    process = forks.start(["-c", code], env=environment, stdout=log)
    try:
        wait_until(lambda: "Running on" in log.read_text() or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        yield process, f"http://127.0.0.1:{port}", Path(log.read_text().splitlines()[0]), log
    finally:
        process.kill()
        process.wait()


def test_sigterm_finishes_the_answer_under_way_and_leaves_nothing_behind(server):
    process, url, uploads, log = server

    async def story():
        async with connect(url) as client:
            visitor = Visitor(client, await read_layout(client))
            await visitor.upload(photo_of(1))
            assert any(path.is_file() for path in uploads.rglob("*"))
            asking = asyncio.create_task(visitor.ask("what color is it?"))
            await asyncio.to_thread(wait_until, lambda: "answering" in log.read_text(), log.read_text, 0.01)
            await asyncio.wait_for(visitor.listening.wait(), PATIENCE)  # a stopping server takes no new connections
            process.send_signal(signal.SIGTERM)
            shown = await asking
            await asyncio.to_thread(process.wait, PATIENCE)
            return shown

    assert "answer-text" in run(story()).text
    assert process.returncode == 0
    assert not uploads.exists()
    assert log.read_text().rstrip().endswith("uploading")  # of corrections that wait


class StoppedClock:
    """Stands for ``time``: it is as late as was slept, however fast the machine is."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("busy_until", "last_busy", "waited"),
    [
        (0.0, -math.inf, 0.0),
        (0.0, 99.0, shutdown.SHOW_SECONDS - 1.0),
        (1.0, -math.inf, 1.0 + shutdown.SHOW_SECONDS),
        (1e9, -math.inf, shutdown.FINISH_SECONDS),
    ],
    ids=["idle", "an answer on its way to the browser", "one answer", "an endless answer"],
)
def test_a_stopping_page_waits_for_answers_but_not_for_ever(monkeypatch, busy_until, last_busy, waited):
    """Together with closing, it ends within the 5 seconds that `serve_until_stopped` promises."""
    clock = StoppedClock()
    monkeypatch.setattr(shutdown, "time", clock)

    class Queue:
        max_size = None

        @property
        def active_jobs(self):
            return [clock.now < 100 + busy_until]

    queue = Queue()
    shutdown.finish_answers(queue, last_busy)
    assert clock.now - 100 == pytest.approx(waited, abs=0.11)  # two looks
    assert queue.max_size == 0
    assert shutdown.FINISH_SECONDS + shutdown.CLOSE_SECONDS < 5


def test_only_what_a_page_left_that_was_killed_long_ago_is_deleted(tmp_path):
    over = subprocess.Popen([sys.executable, "-c", ""])
    over.wait()
    names = [f"valm-uploads-{number}-abc" for number in (over.pid, os.getpid())]
    others = ["valm-uploads-x-abc", f"valm-{over.pid}-abc", f"uploads-{over.pid}-abc"]
    for name in (*names, *others, f"valm-uploads-{over.pid}-new"):
        (tmp_path / name).mkdir()
        if not name.endswith("new"):
            os.utime(tmp_path / name, (1, 1))
    shutdown.delete_left(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {names[1], *others, f"valm-uploads-{over.pid}-new"}


def test_a_missing_checkpoint_is_one_line_and_exit_code_2(forks, tmp_path):
    environment = os.environ | {"VALM_CHECKPOINT": str(tmp_path / "nowhere")}
    done = forks.run([ROOT / "app.py"], env=environment, timeout=PATIENCE)
    output = done.stderr
    assert done.returncode == 2 and "Traceback" not in output
    assert output.count("\n") == 1
    assert "is no VALM checkpoint" in output and "VALM_CHECKPOINT" in output


def test_a_corrupted_packaged_backbone_says_what_to_install(tmp_path, monkeypatch):
    spoilt = tmp_path / "spoilt_package"
    (spoilt / "models").mkdir(parents=True)
    (spoilt / "__init__.py").write_text("")
    (spoilt / "models" / "weights.pth").write_bytes(b"not the weights")
    shipped = packages.PACKAGES["all-minilm-l6-v2"]
    package = packages.Package("a-distribution", "spoilt_package", "models/weights.pth", shipped.sha256)
    monkeypatch.setitem(packages.PACKAGES, "all-minilm-l6-v2", package)
    monkeypatch.syspath_prepend(tmp_path)
    packages.packaged_file.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"sha256 .* expected .*--force-reinstall a-distribution"):
            VqaPredictor.from_checkpoint(ROOT / "assets" / "checkpoints" / "everyday", "cpu")
    finally:
        packages.packaged_file.cache_clear()


def test_the_shipped_checkpoint_needs_no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    predictor = VqaPredictor.from_checkpoint(ROOT / "assets" / "checkpoints" / "everyday", "cpu")
    image = predictor.encode(ROOT / "assets" / "examples" / "cat.jpg")
    assert predictor.answer(image, "What animal is this?").answers[0].text == "cat"
