"""How long tests wait: one generous limit for all of them, so that no test depends on how fast the machine is."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace

PATIENCE = 180  # seconds; whatever takes longer hangs


def wait_until(condition: Callable[[], object], message: Callable[[], str] = str, pause: float = 0.05) -> None:
    """Wait until ``condition()`` holds.

    Args:
        condition: what is waited for.
        message: what is said where it doesn't come.
        pause: seconds between two looks.

    Raises:
        TimeoutError: it didn't hold within ``PATIENCE`` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE} s for nothing. {message()}")
        time.sleep(pause)


def let_pass(seconds: float, monkeypatch) -> None:
    """Put gradio's clock forward, by which it deletes files and what it remembers of visitors."""
    from gradio import route_utils, state_holder

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + timedelta(seconds=seconds)

    monkeypatch.setattr(route_utils, "datetime", Later)
    monkeypatch.setattr(state_holder, "datetime", SimpleNamespace(datetime=Later))
