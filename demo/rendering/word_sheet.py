"""One picture of a photo and its maps: it plain, under the map of all words, and under that of each word."""

from pathlib import Path

from PIL import Image

from demo.rendering.overlay import Look, overlay
from valm_core.outputs import Explanation

MAX_STEM = 200  # bytes
TILE = 240  # pixels, height of a picture among others


def sheet_name(number: int, photo: str | Path) -> str:
    """The name of the file with the maps of a photo, ``NUMBER-NAME.png``; a name too long for a file is cut."""
    stem = Path(photo).stem.encode("utf-8", "ignore")[:MAX_STEM].decode("utf-8", "ignore")
    return f"{number}-{stem}.png"


def word_sheet(photo: Image.Image, explanation: Explanation) -> Image.Image:
    """The pictures side by side, each ``TILE`` pixels high."""
    chosen: list[tuple[int, ...]] = [(), *((word,) for word in range(len(explanation.tokens)))]
    pictures = [photo, *(overlay(photo, explanation, words, Look()) for words in chosen)]
    tiles = [picture.resize((round(picture.width * TILE / picture.height), TILE)) for picture in pictures]
    sheet = Image.new("RGB", (sum(tile.width for tile in tiles), TILE))
    left = 0
    for tile in tiles:
        sheet.paste(tile, (left, 0))
        left += tile.width
    return sheet
