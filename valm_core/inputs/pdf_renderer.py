"""A page of a PDF as pixels: a program of its own that ``pdf`` starts, so that it can be stopped, memory and all.

A page of two kilobytes may draw itself for hours, and pdfium ends its whole process where memory gives out. Imports
nothing of VALM, for it is run as a file.
"""

import json
import sys


def main() -> None:
    """Settings in JSON as the argument, the document from stdin; a line of JSON to stdout, and the pixels after it."""
    settings = json.loads(sys.argv[1])
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (settings["bytes"],) * 2)
    except (ImportError, ValueError, OSError):  # Windows has none, and macOS refuses
        pass
    sys.path.pop(0)  # the folder of this file, whose modules are none of pypdfium2's
    import pypdfium2

    def tell(told: dict[str, object], pixels: bytes = b"") -> None:
        sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + pixels)

    try:
        document = pypdfium2.PdfDocument(sys.stdin.buffer.read())
    except pypdfium2.PdfiumError:
        tell({"fault": "damaged"})
        return
    pages = len(document)
    told: dict[str, object] = {"pages": pages}
    if not 1 <= pages <= settings["most_pages"]:
        tell(told | {"fault": "too many pages"})
        return
    if not 1 <= settings["page"] <= pages:
        tell(told | {"fault": "no such page"})
        return
    try:
        sheet = document[settings["page"] - 1]
        width, height = sheet.get_size()  # in points, turned as the page says
        told |= {"width": width, "height": height}
        if not (width > 0 and height > 0) or max(width, height) > settings["most_aspect"] * min(width, height):
            tell(told | {"fault": "shape"})
            return
        drawn = sheet.render(scale=settings["long_side"] / max(width, height), may_draw_forms=False)
        picture = drawn.to_pil().convert("RGB")
        tell(told | {"picture": picture.size}, picture.tobytes())
    except pypdfium2.PdfiumError:
        tell(told | {"fault": "damaged page"})


if __name__ == "__main__":
    main()
