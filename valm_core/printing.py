"""Printing to a terminal, whatever letters it knows."""

import sys


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
