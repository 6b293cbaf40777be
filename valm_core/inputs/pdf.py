"""Pages of PDF files as pictures, rendered by pypdfium2 (extra ``read``), within limits."""

import threading
from pathlib import Path
from typing import Any

from PIL import Image

from valm_core.inputs.photo import check_size
from valm_core.inputs.text import printable
from valm_core.outputs import InputError

SIGNATURE, SIGNATURE_WITHIN = b"%PDF-", 1024  # bytes; what stands before it is passed over, as readers do
LONG_SIDE = 1600  # pixels of a rendered page
MAX_PAGES = 500
MAX_ASPECT = 20  # of a page's long side to its short one: a till roll, but no line
_PDFIUM_LOCK = threading.Lock()  # the library isn't made for threads


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
        InputError: the file is too large, damaged, locked or has too many pages, there is no such page, it is empty or
            of a shape that no page has, or pypdfium2 isn't installed.
    """
    name = "The document" if isinstance(document, bytes) else printable(Path(document).name)
    size = len(document) if isinstance(document, bytes) else Path(document).stat().st_size
    check_size(name, size)
    try:
        import pypdfium2
    except ImportError as error:
        raise InputError(
            "Reading PDF files needs pypdfium2. Install it with: .venv/bin/pip install -e '.[read]'"
        ) from error
    content = document if isinstance(document, bytes) else Path(document).read_bytes()
    with _PDFIUM_LOCK:
        try:
            opened = pypdfium2.PdfDocument(content)
        except pypdfium2.PdfiumError as error:
            raise InputError(
                "{name} can't be read as a PDF: it is damaged or locked by a password. Save it anew without one.",
                name=name,
            ) from error
        try:
            return _render(opened, name, page), len(opened)
        except pypdfium2.PdfiumError as error:
            raise InputError("Page {page} of {name} is damaged.", page=page, name=name) from error
        finally:
            opened.close()


def _render(opened: Any, name: str, page: int) -> Image.Image:
    count = len(opened)
    if not 1 <= count <= MAX_PAGES:
        raise InputError(
            "{name} has {count} pages; 1 to {most} are allowed. Send a part of it.",
            name=name,
            count=count,
            most=MAX_PAGES,
        )
    if type(page) is not int or not 1 <= page <= count:
        raise InputError("There is no page {page} in {name}; it has {count}.", page=page, name=name, count=count)
    sheet = opened[page - 1]
    width, height = sheet.get_size()  # in points, turned as the page says
    if not (width > 0 and height > 0) or max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            "Page {page} of {name} has a size of {width} x {height} points, which no page has.",
            page=page,
            name=name,
            width=round(width),
            height=round(height),
        )
    return sheet.render(scale=LONG_SIDE / max(width, height), may_draw_forms=False).to_pil().convert("RGB")
