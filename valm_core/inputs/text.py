"""What people write, in one normal form: questions, answers, candidates, corrections; and names fit for a message."""

import codecs
import json
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import Any

from valm_core.outputs import InputError

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# What keyboards and word processors put in the place of ASCII; Unicode's own normal forms keep these apart.
AS_ASCII = str.maketrans(
    dict.fromkeys("‘’‚‛′‵‹›ʼ´", "'")
    | dict.fromkeys("“”„‟″‶«»〝〞〟", '"')
    | dict.fromkeys("‐‑‒–—―−", "-")
    | {"⁄": "/"}  # a fraction slash
)
# Without a shape of their own, and yet in no category of Unicode that says so: the fillers of Hangul and Khmer, the
# selectors of a letter's or emoji's variant (Unicode 15, Default_Ignorable_Code_Point).
INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


UNREADABLE = "?"  # in place of a word that has nothing to read


class TwiceError(ValueError):
    """A file gives one name two values."""


def clean_text(text: str, name: str = "text") -> str:
    """What a person wrote in one line: Unicode NFKC, quotes and dashes of ASCII, nothing invisible, single spaces.

    Invisible letters (zero-width spaces, soft hyphens, marks of direction, variation selectors) go without a trace;
    control characters and letters that Unicode doesn't know become spaces. ASCII stays as it is but for its white
    space and control characters. Cleaning twice changes nothing more.

    Args:
        text: as written.
        name: what to call it in the error, e.g. ``question``.

    Raises:
        InputError: it holds a lone surrogate, half of a character that UTF-16 writes in two, which no file can store.
    """
    if half := LONE_SURROGATE.search(text):
        raise InputError(
            "The {text} has half a character at place {place}: {code}, as a cut emoji leaves it. Type it anew.",
            text=name,
            place=half.start() + 1,
            code=printable(half[0]),
        )
    if not text.isascii():
        text = "".join(letter for letter in INVISIBLE.sub("", text) if unicodedata.category(letter) != "Cf")
        text = unicodedata.normalize("NFKC", text.translate(AS_ASCII)).translate(AS_ASCII)
    text = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in text)
    return " ".join(text.split())


def lower_text(text: str, name: str = "answer") -> str:
    """An answer as answer lists have it: ``clean_text`` in lower case, which may come apart and is composed again."""
    return unicodedata.normalize("NFKC", clean_text(text, name).lower())


def clean_word(text: str, name: str = "word") -> str:
    """One word of a text that comes in words, as ``clean_text`` has it and without spaces; raises what that raises.

    Where nothing is left to read, as of a lone variation selector, ``UNREADABLE`` stands, so that as many words remain.
    """
    return "".join(clean_text(text, name).split()) or UNREADABLE


def printable(name: object) -> str:
    """A file's name, or any other text that wasn't cleaned, as every terminal, log and file can show it.

    What can't be seen is written as an escape: a byte that is no UTF-8 as \\xe9, an invisible letter as \\u200b. The
    rest is in NFC, as it is typed. For messages alone: a file must be opened by its own name.
    """
    return "".join(map(_shown, unicodedata.normalize("NFC", str(name))))


def writable(text: object) -> str:
    """A text or file name as it is, but for what UTF-8 can't write: a byte that is no UTF-8 becomes ``\\udce9``.

    For data that keep names; ``printable`` is for messages.
    """
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def original_name(text: str) -> str:
    """The file name of which ``writable`` made this text, where the name had bytes that are no UTF-8."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda byte: chr(0xDC00 + int(byte[1], 16)), text)


def _shown(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if letter.isprintable():
        return letter
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def as_utf8(content: bytes) -> bytes:
    """The content of a text file as UTF-8 without a byte order mark; UTF-16, as Windows may write it, has one."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace").encode()
    return content.removeprefix(codecs.BOM_UTF8)


def read_text(path: str | Path) -> str:
    """What a file holds that a person may have saved: UTF-8 or UTF-16, with a byte order mark (Notepad, PowerShell).

    Raises:
        OSError: it can't be read.
        ValueError: it is no UTF-8 text; the file is named.
    """
    try:
        return as_utf8(Path(path).read_bytes()).decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error}). Save it as UTF-8.") from error


def parse_json(text: str | bytes) -> Any:
    """``json.loads`` that takes a byte order mark, and no name twice in one object, which would lose the first value.

    Raises:
        ValueError: no JSON, or nested too deeply (both a JSONDecodeError), or a name is given twice (TwiceError).
    """
    try:
        return json.loads(text.removeprefix("\ufeff") if isinstance(text, str) else text, object_pairs_hook=_each_once)
    except RecursionError as error:
        raise json.JSONDecodeError("it is nested too deeply", "", 0) from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise TwiceError(f"`{printable(twice)}` is given twice; leave one")
    return values


def as_listed(answer: str, answers: Collection[str]) -> str:
    """A typed answer as an answer list writes it: itself where it stands there, else cleaned and in lower case.

    Raises:
        InputError: see ``clean_text``.
    """
    return answer if answer in answers else lower_text(answer)
