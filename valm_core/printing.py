"""Text that comes from files and goes to a terminal or a file of ours, whatever letters either knows."""

import sys
from pathlib import Path


def printable(text: str | Path) -> str:
    """A text or file name that UTF-8 can write: bytes of a name that are no UTF-8 become ``\\udce9``, in letters."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def print_what_can_be_shown() -> None:
    """Let ``print`` write ``\\u2588`` for a letter that the terminal doesn't know, instead of ending with a traceback.

    Called where ``demo`` and ``training`` begin, so that it holds for each of their commands and its -h.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not in a notebook, nor where there is no terminal at all
            stream.reconfigure(errors="backslashreplace")


def can_show(text: str) -> bool:
    """Whether the terminal knows all letters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
