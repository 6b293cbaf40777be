"""Start the page as a user does, from a folder alone, and wait until it answers."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STARTS_WITHIN = 300  # seconds
ASKING = ("-m", "demo.ask", "assets/examples/cat.jpg", "What animal is this?")  # what Python is to run for an answer


def clean_variables() -> dict[str, str]:
    """The environment without PYTHONPATH, and without settings of VALM or gradio: nothing but the folder counts."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VALM_", "GRADIO_"))}


@contextmanager
def page_of(command: Sequence[str | Path], folder: Path, log: Path, within: float = STARTS_WITHIN) -> Iterator[float]:
    """The page that ``command`` serves, stopped afterwards with all that it started; gives the seconds it took.

    Args:
        command: serves the page on the port of ``GRADIO_SERVER_PORT``.
        folder: where it runs.
        log: file for its output.
        within: seconds after which it is given up.

    Raises:
        RuntimeError: it ended, or didn't answer in time; the message has its output.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        page = subprocess.Popen(
            command,
            cwd=folder,
            env=clean_variables() | {"GRADIO_SERVER_PORT": str(port)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        while not _answers(f"http://127.0.0.1:{port}/"):
            if page.poll() is not None or time.monotonic() > start + within:
                raise RuntimeError(f"The page did not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.2)
        yield time.monotonic() - start
    finally:
        if page.poll() is None:
            os.killpg(page.pid, signal.SIGTERM)
            page.wait(60)


def _answers(address: str) -> bool:
    """Whether a page is there."""
    try:
        with urllib.request.urlopen(address, timeout=10) as reply:
            return reply.status == 200
    except OSError:
        return False
