"""A page served on this machine for as long as a test needs it."""

import socket
from contextlib import contextmanager


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def served(predictor):
    """The address of a page around ``predictor``, open for as long as the block runs."""
    from demo.interface import build_page, launch_options

    port = free_port()
    page = build_page(predictor)
    page.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        page.close(verbose=False)
