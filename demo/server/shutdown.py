"""Serving the page until it is told to stop: answers under way are finished, nothing of the visitors stays on disk."""

import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valm_core.commands import starting

FINISH_SECONDS = 4.0  # for answers that are being computed when the signal comes; service managers wait 10 or more
SHOW_SECONDS = 3.0  # of them, for the browser to fetch what was just computed
CLOSE_SECONDS = 0.5
UPLOAD_SECONDS = 3.0  # for corrections that wait for their next upload to a dataset
OWN_FOLDER = "valm-uploads-"  # and the number of its process
FILE_SECONDS = 4 * 60 * 60  # how long an uploaded file stays on disk


SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP


@contextmanager
def own_upload_folder(named: str = "") -> Iterator[str | None]:
    """Give gradio a folder of its own for uploads within the block, unless one is ``named``.

    In the folder that pages share by default, one that ends would empty it for the others. What pages left there that
    were killed, and was last changed more than ``FILE_SECONDS`` ago, is deleted.

    Yields:
        The folder, which is deleted when the block ends; None where one was named.
    """
    if named:
        yield None
        return
    delete_left(Path(tempfile.gettempdir()))
    folder = tempfile.mkdtemp(prefix=f"{OWN_FOLDER}{os.getpid()}-")
    os.environ["GRADIO_TEMP_DIR"] = folder
    try:
        yield folder
    finally:
        del os.environ["GRADIO_TEMP_DIR"]
        shutil.rmtree(folder, ignore_errors=True)


def delete_left(parent: Path) -> None:
    """Delete the folders of uploads in ``parent`` whose pages were killed long ago."""
    for folder in parent.glob(f"{OWN_FOLDER}*-*"):
        number = folder.name.removeprefix(OWN_FOLDER).partition("-")[0]
        try:
            old = time.time() - folder.stat().st_mtime > FILE_SECONDS
            if number.isdecimal() and folder.is_dir() and not folder.is_symlink() and old and not _runs(int(number)):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # gone meanwhile, or somebody else's
            continue


def _runs(process: int) -> bool:
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def end_on_signals() -> None:
    """From now on SIGTERM, and a terminal that closes, end the process as ``sys.exit`` does: what is open is closed."""
    on_signals(lambda *_: sys.exit(0))


def on_signals(call) -> None:
    """Call ``call`` at SIGTERM and SIGHUP, but for one that whoever started us ignores (nohup)."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, call)


def serve_until_stopped(page, uploads: str | None = None, **options) -> None:
    """Launch a page and keep it up until SIGTERM, SIGHUP or Ctrl+C, then end the process within 5 seconds, or 8 where
    corrections are still to be uploaded.

    Args:
        page: a ``gr.Blocks`` with its queue.
        uploads: a folder to delete at the end.
        options: for ``launch``.
    """
    stopping = threading.Event()
    # Without `_frontend` gradio doesn't look at its own page first, and end where a busy machine takes three seconds.
    with starting():
        page.launch(prevent_thread_lock=True, _frontend=False, **options)
    on_signals(lambda *_: stopping.set())
    last_busy = -math.inf
    try:
        while page.is_running and not stopping.wait(0.2):
            if any(page._queue.active_jobs):
                last_busy = time.monotonic()
    except KeyboardInterrupt:
        print("Stopping.")
    finish_answers(page._queue, last_busy)
    closing = threading.Thread(target=page.close, kwargs={"verbose": False}, daemon=True)
    closing.start()
    closing.join(CLOSE_SECONDS)
    if uploads:
        shutil.rmtree(uploads, ignore_errors=True)
    if hub := sys.modules.get("valm_core.corrections.hub_dataset"):  # only where it is in use
        hub.upload_the_rest(UPLOAD_SECONDS)
    sys.stdout.flush()
    os._exit(0)  # threads that still compute would hold an ordinary exit back


def finish_answers(queue, last_busy: float = -math.inf) -> None:
    """Let no one join gradio's queue any more, and wait for those whose answer is being computed, and its showing.

    Args:
        queue: of a ``gr.Blocks``.
        last_busy: when an answer was last seen being computed, by ``time.monotonic``; it may not be shown yet.
    """
    queue.max_size = 0
    deadline = time.monotonic() + FINISH_SECONDS
    while (now := time.monotonic()) < deadline:
        if any(queue.active_jobs):
            last_busy = now
        elif now >= last_busy + SHOW_SECONDS:
            break
        time.sleep(0.05)
