"""Pages of PDF files as pictures, rendered by pypdfium2 (extra ``read``), within limits of time and memory."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

from valm_core.inputs.photo import check_size
from valm_core.inputs.text import printable
from valm_core.outputs import InputError

SIGNATURE, SIGNATURE_WITHIN = b"%PDF-", 1024  # bytes; what stands before it is passed over, as readers do
LONG_SIDE = 1600  # pixels of a rendered page
MAX_PAGES = 500
MAX_ASPECT = 20  # of a page's long side to its short one: a till roll, but no line
MAX_SECONDS, MAX_BYTES = 20, 2**30  # of time and address space to render a page


def is_pdf(document: object) -> bool:
    """Whether a file or its content is a PDF."""
    if isinstance(document, bytes):
        return SIGNATURE in document[:SIGNATURE_WITHIN]
    if not isinstance(document, str | Path):
        return False
    try:
        with Path(document).open("rb") as file:
            return SIGNATURE in file.read(SIGNATURE_WITHIN)
    except (OSError, ValueError):  # none, one that can't be read, or a name that no file can have
        return False


def open_pdf_page(document: str | Path | bytes, page: int = 1) -> tuple[Image.Image, int]:
    """A page of a PDF as an RGB picture, and how many pages there are. Scripts and links in it do nothing.

    Args:
        document: the file or its content.
        page: its number, from 1.

    Raises:
        InputError: the file is too large, damaged, locked or has too many pages, there is no such page, it is empty, of
            a shape that no page has or takes too long or too much memory to draw, or pypdfium2 isn't installed.
    """
    name = "The document" if isinstance(document, bytes) else printable(Path(document).name)
    size = len(document) if isinstance(document, bytes) else Path(document).stat().st_size
    check_size(name, size)
    if find_spec("pypdfium2") is None:
        raise InputError("Reading PDF files needs pypdfium2. Install it with: .venv/bin/pip install -e '.[read]'")
    content = document if isinstance(document, bytes) else Path(document).read_bytes()
    told, pixels = _rendered(content, name, page)
    if fault := told.get("fault"):
        _refuse(fault, told, name, page)
    return Image.frombytes("RGB", tuple(told["picture"]), pixels), told["pages"]


def _rendered(content: bytes, name: str, page: int) -> tuple[dict[str, Any], bytes]:
    """What ``pdf_renderer`` tells of a page, and its pixels. Raises InputError where it had to be stopped."""
    settings = {"page": page if type(page) is int else 0, "long_side": LONG_SIDE, "bytes": MAX_BYTES}
    settings |= {"most_pages": MAX_PAGES, "most_aspect": MAX_ASPECT}
    # Itself from a path of ours, with nothing of a visitor's on its command line.
    command = [sys.executable, str(Path(__file__).with_name("pdf_renderer.py")), json.dumps(settings)]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=MAX_SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode:
        raise InputError(
            "Page {page} of {name} is too complex to be drawn. Send a picture of it.", page=page, name=name
        )
    line, _, pixels = done.stdout.partition(b"\n")
    return json.loads(line), pixels


def _refuse(fault: str, told: dict[str, Any], name: str, page: int) -> NoReturn:
    """Raise InputError for what ``pdf_renderer`` found wrong."""
    if fault == "damaged":
        raise InputError(
            "{name} can't be read as a PDF: it is damaged or locked by a password. Save it anew without one.", name=name
        )
    if fault == "too many pages":
        raise InputError(
            "{name} has {count} pages; 1 to {most} are allowed. Send a part of it.",
            name=name,
            count=told["pages"],
            most=MAX_PAGES,
        )
    if fault == "no such page":
        raise InputError(
            "There is no page {page} in {name}; it has {count}.", page=page, name=name, count=told["pages"]
        )
    if fault == "shape":
        raise InputError(
            "Page {page} of {name} has a size of {width} x {height} points, which no page has.",
            page=page,
            name=name,
            width=round(told["width"]),
            height=round(told["height"]),
        )
    raise InputError("Page {page} of {name} is damaged.", page=page, name=name)
