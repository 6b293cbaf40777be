"""One picture of a photo and its maps: it plain, under the map of all words, and under that of each word."""

from PIL import Image

from demo.rendering.overlay import Look, overlay
from valm_core.outputs import Explanation

TILE = 240  # pixels, height of a picture among others


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
