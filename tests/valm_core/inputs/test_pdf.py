"""PDF files: the page asked for, and clear refusals of what is damaged, locked, too large or no page at all."""

import io

import pytest
from PIL import Image

from valm_core.inputs import pdf
from valm_core.inputs.pdf import is_pdf, open_pdf_page
from valm_core.outputs import InputError

COLORS = ((220, 30, 30), (30, 180, 30), (40, 60, 220))


@pytest.fixture(scope="module")
def document() -> bytes:
    pages = [Image.new("RGB", (300, 400), color) for color in COLORS]
    buffer = io.BytesIO()
    pages[0].save(buffer, "PDF", save_all=True, append_images=pages[1:])
    return buffer.getvalue()


def test_pdf_files_are_known_by_their_content(document, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(document)  # whatever the name says
    Image.new("RGB", (4, 4)).save(tmp_path / "real.png")
    assert is_pdf(document) and is_pdf(tmp_path / "photo.jpg")
    assert not is_pdf(tmp_path / "real.png") and not is_pdf(tmp_path / "none") and not is_pdf(Image.new("RGB", (4, 4)))


def test_pages_are_opened_by_their_number(document):
    pytest.importorskip("pypdfium2", reason="the extra `read` isn't installed")
    for number, color in enumerate(COLORS, 1):
        picture, count = open_pdf_page(document, number)
        assert count == 3 and max(picture.size) == pdf.LONG_SIDE and picture.mode == "RGB"
        assert all(abs(one - other) < 12 for one, other in zip(picture.getpixel((600, 800)), color, strict=True))


@pytest.mark.parametrize("page", [0, 4, -1, "1"])
def test_a_page_that_is_not_there_is_named(document, page):
    pytest.importorskip("pypdfium2", reason="the extra `read` isn't installed")
    with pytest.raises(InputError, match=r"no page .* it has 3"):
        open_pdf_page(document, page)


def test_hostile_files_are_refused(document, monkeypatch):
    pytest.importorskip("pypdfium2", reason="the extra `read` isn't installed")
    for content in (b"%PDF-1.4 nothing more", document[: len(document) // 3], b"%PDF-1.7\n" + bytes(2000)):
        with pytest.raises(InputError, match="damaged or locked"):
            open_pdf_page(content)
    line = document.replace(b"/MediaBox [ 0 0 300.0 400.0 ]", b"/MediaBox [ 0 0 9000.00 4.0 ]"[:29].ljust(29))
    assert line != document
    with pytest.raises(InputError, match="which no page has"):
        open_pdf_page(line)
    monkeypatch.setattr(pdf, "MAX_PAGES", 2)
    with pytest.raises(InputError, match="has 3 pages; 1 to 2"):
        open_pdf_page(document)


def test_a_page_that_draws_itself_without_end_is_stopped(monkeypatch):
    pytest.importorskip("pypdfium2", reason="the extra `read` isn't installed")
    picture, _ = open_pdf_page(nested(2))
    assert max(picture.size) == pdf.LONG_SIDE  # a hundred squares are no bomb
    with monkeypatch.context() as within:
        within.setattr(pdf, "MAX_SECONDS", 1.5)
        with pytest.raises(InputError, match="too complex to be drawn"):
            open_pdf_page(nested(9))
    monkeypatch.setattr(pdf, "MAX_BYTES", 2**28)
    open_pdf_page(nested(2))
    with pytest.raises(InputError, match="too complex to be drawn"):
        open_pdf_page(nested(9))


def nested(depth: int) -> bytes:
    """A PDF whose forms draw each other, ten times each: 10 ** ``depth`` squares."""
    first = b"/F1 Do "
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</XObject<</F1 5 0 R>>>>>>",
        b"<</Length %d>>\nstream\n%s\nendstream" % (len(first), first),
    ]
    for level in range(1, depth + 1):
        drawn = b"0 0 100 100 re f " if level == depth else b"/F%d Do " % (level + 1) * 10
        names = b"" if level == depth else b"/Resources<</XObject<</F%d %d 0 R>>>>" % (level + 1, 5 + level)
        form = b"<</Type/XObject/Subtype/Form/BBox[0 0 600 800]%s/Length %d>>\nstream\n%s\nendstream"
        parts.append(form % (names, len(drawn), drawn))
    content, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
    return content + end % (len(parts) + 1, table, len(parts) + 1, len(content))


def test_what_is_too_large_is_refused_before_it_is_read(monkeypatch, document):
    monkeypatch.setattr("valm_core.inputs.photo.MAX_PHOTO_BYTES", 100)
    with pytest.raises(InputError, match="at most 0 MB"):
        open_pdf_page(document)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch, document):
    monkeypatch.setitem(__import__("sys").modules, "pypdfium2", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[read\]'"):
        open_pdf_page(document)
