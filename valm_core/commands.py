"""What all commands share: starting, printing what the terminal can show, short names for what lies in rooms."""

import argparse
import gc
import importlib.abc
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

from valm_core.checkpoints.atomic_files import check_place

BAR_WIDTH = 30


def print_what_can_be_shown() -> None:
    """Let ``print`` write ``\\u2588`` for a letter that the terminal doesn't know, instead of ending with a traceback.

    Called where ``demo`` and ``training`` begin, so that it holds for each of their commands and its -h.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not in a notebook, nor where there is no terminal at all
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def starting() -> Iterator[None]:
    """While a program imports and loads, its garbage collector rests; what is there at the end it passes over for good.

    It would walk through the same modules again and again: 1.7 seconds of the page's start, 0.9 of a command's.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def ending_in_a_line(
    parser: argparse.ArgumentParser, *kinds: type[Exception], writes: str | None = None
) -> Iterator[None]:
    """What a command refuses or can't read or write ends it with one line and exit code 2.

    Args:
        parser: of the command.
        kinds: errors beside OSError and ValueError that are meant for people.
        writes: a file that the command writes at its end; a place that can't be written is refused at once.
    """
    told: tuple[type[Exception], ...] = (OSError, ValueError, *kinds)
    try:
        if writes:
            check_place(writes)
        yield
    except told as error:
        parser.exit(2, f"{error}\n")


def bar(share: float) -> str:
    """A share, 0..1, as a bar of at most ``BAR_WIDTH`` characters, of blocks where the terminal can show them."""
    return ("█" if can_show("█") else "#") * round(share * BAR_WIDTH)


def can_show(text: str) -> bool:
    """Whether the terminal knows all letters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


class ShortNames(importlib.abc.MetaPathFinder):
    """Lets ``python -m training.pointing`` run ``training/measuring/pointing.py``: commands keep their names.

    Args:
        package: whose commands these are.
        rooms: the name of each command -> the module in the package that holds it, e.g. ``measuring.pointing``.
    """

    def __init__(self, package: str, rooms: dict[str, str]):
        self.modules = {f"{package}.{name}": f"{package}.{module}" for name, module in rooms.items()}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The import system's question where a module of this name lies; None where it is no short name."""
        if name not in self.modules:
            return None
        module = importlib.util.find_spec(self.modules[name])
        return module and importlib.util.spec_from_file_location(name, module.origin)


def give_short_names(package: str, rooms: dict[str, str]) -> None:
    """Make the commands of a package run by their short names too, see ``ShortNames``; for ``-m``, not for imports."""
    sys.meta_path.insert(0, ShortNames(package, rooms))
