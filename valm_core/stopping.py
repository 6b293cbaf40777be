"""Stopping early what takes long: whoever asks says when nobody wants it any more, loops look between their steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from valm_core.outputs import InputError


class Stopped(InputError):
    """A computation was given up, since nobody waits for it any more."""


# One for each thread and each task of asyncio, so that visitors can't stop one another's.
_unwanted: ContextVar[Callable[[], bool] | None] = ContextVar("unwanted", default=None)


@contextmanager
def stopping_when(unwanted: Callable[[], bool]) -> Iterator[None]:
    """Within the block ``stop_if_unwanted`` raises once ``unwanted`` returns True.

    Args:
        unwanted: is called between the steps of what is computed, in its thread; it should be quick.
    """
    former = _unwanted.set(unwanted)
    try:
        yield
    finally:
        _unwanted.reset(former)


@contextmanager
def also_stopping_when(unwanted: Callable[[], bool]) -> Iterator[None]:
    """As ``stopping_when``, beside what the block around it says, which would count no more else."""
    around = _unwanted.get()
    with stopping_when(lambda: unwanted() or (around is not None and around())):
        yield


def stop_if_unwanted() -> None:
    """Call this before each step of what may take seconds. Raises Stopped where nobody waits for it any more."""
    unwanted = _unwanted.get()
    if unwanted is not None and unwanted():
        raise Stopped("This was stopped, since nobody waited for it any more.")
