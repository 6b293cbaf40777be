"""A page served on this machine for as long as a test needs it."""

import random
import socket
from contextlib import contextmanager

PORTS = range(20_000, 32_000)  # below those that systems give to outgoing connections, which could take one first


def free_port() -> int:
    """A port that nothing listens on, hardly ever the one that another process of the tests is given at the time."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@contextmanager
def served(predictor, settings=None, collection=None, captioner=None, more=None):
    """The address of a page around ``predictor``, open for as long as the block runs; ``Settings`` by default.

    With a ``collection`` of photos it has the page "Find"; with a ``captioner`` it describes photos.
    """
    from demo.page.wiring import build_page, launch_options
    from demo.settings import Settings

    settings, port = settings or Settings(), free_port()
    page = build_page(predictor, settings=settings, collection=collection, captioner=captioner, more=more)
    options = {"server_name": "127.0.0.1", "server_port": port, "prevent_thread_lock": True, "quiet": True}
    page.launch(**options, **launch_options(settings), _frontend=False)  # as ``serve_until_stopped``
    page._queue.sleep_when_free = 0.01  # gradio looks for work a thousand times a second, for a tenth of a core
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        page.close(verbose=False)
