"""Serving the page until it is told to stop: answers under way are finished, nothing of the visitors stays on disk."""

import os
import shutil
import signal
import sys
import tempfile
import threading
import time

FINISH_SECONDS = 4.0  # for answers that are being computed when the signal comes; service managers wait 10 or more
SHOW_SECONDS = 1.5  # of them, for the browser to fetch what was just computed
CLOSE_SECONDS = 0.5


def own_upload_folder() -> str | None:
    """Give gradio a folder of its own for uploads, unless ``GRADIO_TEMP_DIR`` names one.

    In the folder that pages share by default, one that ends would empty it for the others.

    Returns:
        The folder, to be deleted at the end; None where the environment named one.
    """
    if os.environ.get("GRADIO_TEMP_DIR"):
        return None
    os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="valm-")
    return os.environ["GRADIO_TEMP_DIR"]


def serve_until_stopped(page, uploads: str | None = None, **options) -> None:
    """Launch a page and keep it up until SIGTERM or Ctrl+C, then end the process within 5 seconds.

    Args:
        page: a ``gr.Blocks`` with its queue.
        uploads: a folder to delete at the end.
        options: for ``launch``.
    """
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    page.launch(prevent_thread_lock=True, **options)
    try:
        while page.is_running and not stopping.wait(0.2):
            pass
    except KeyboardInterrupt:
        print("Stopping.")
    finish_answers(page._queue)
    closing = threading.Thread(target=page.close, kwargs={"verbose": False}, daemon=True)
    closing.start()
    closing.join(CLOSE_SECONDS)
    if uploads:
        shutil.rmtree(uploads, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # threads that still compute would hold an ordinary exit back


def finish_answers(queue) -> None:
    """Let no one join gradio's queue any more, and wait for those whose answer is being computed, and its showing."""
    queue.max_size = 0
    now = time.monotonic()
    deadline, last_busy = now + FINISH_SECONDS, now - SHOW_SECONDS
    while (now := time.monotonic()) < min(deadline, last_busy + SHOW_SECONDS) or any(queue.active_jobs):
        if now >= deadline:
            break
        if any(queue.active_jobs):
            last_busy = now
        time.sleep(0.05)
