"""Page: the words of a document with their places, in the order in which people read them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from valm_core.inputs.text import clean_text
from valm_core.outputs import InputError

# Letters hold together, and so do digits with their inner marks: what stands around an amount is no part of it.
WORDS = re.compile(r"[^\W\d_]+(?:['&.-][^\W\d_]+)*|\d+(?:[.,/:-]\d+)*|\S")
MAX_LINES, MAX_WORDS, MAX_LINE_CHARACTERS = 400, 1000, 300
SAME_ROW = 0.5  # of the lower line's height that two lines must share to stand in one row


@dataclass(frozen=True)
class Line:
    """A line of text and its box (x0, y0, x1, y1) on the page, in 0..1."""

    box: tuple[float, float, float, float]
    text: str


@dataclass(frozen=True)
class Page:
    """The W words of a page in reading order.

    ``boxes`` [W, 4] are their places (x0, y0, x1, y1) in 0..1; ``lines`` [W] the number of each word's line, from 0;
    ``spaced`` [W] says whether a space stands before a word.
    """

    words: tuple[str, ...]
    boxes: np.ndarray
    lines: np.ndarray
    spaced: tuple[bool, ...]

    @property
    def line_count(self) -> int:
        """How many lines."""
        return int(self.lines[-1]) + 1 if len(self.words) else 0

    def text(self, first: int, end: int) -> str:
        """The words ``first`` to before ``end`` as they stand on the page, its lines in one."""
        return "".join(" " * (space and place > 0) + word for place, (space, word) in enumerate(self._part(first, end)))

    def words_of_lines(self) -> list[tuple[str, ...]]:
        """The words of each line."""
        cuts = np.flatnonzero(np.diff(self.lines)) + 1
        return [tuple(self.words[place] for place in part) for part in np.split(np.arange(len(self.words)), cuts)]

    def _part(self, first: int, end: int) -> list[tuple[bool, str]]:
        return list(zip(self.spaced[first:end], self.words[first:end], strict=True))


def page_of_lines(lines: Sequence[Line]) -> Page:
    """Lines of text as a page; a word's place within its line is by its letters, as if all were of one width.

    Raises:
        InputError: there is no word, or there are too many lines or words, or a line is too long.
    """
    if len(lines) > MAX_LINES:
        raise InputError("The page has {count} lines, at most {allowed} lines.", count=len(lines), allowed=MAX_LINES)
    words: list[str] = []
    boxes: list[tuple[float, float, float, float]] = []
    numbers: list[int] = []
    spaced: list[bool] = []
    number = 0
    for line in reading_order(lines):
        text = clean_text(line.text[: 10 * MAX_LINE_CHARACTERS])
        if len(text) > MAX_LINE_CHARACTERS:
            raise InputError(
                "A line of the page has {length} characters, at most {allowed} characters.",
                length=len(text),
                allowed=MAX_LINE_CHARACTERS,
            )
        left, top, right, bottom = line.box
        for found in WORDS.finditer(text):
            start, end = (left + (right - left) * place / len(text) for place in found.span())
            words.append(found[0])
            boxes.append((start, top, end, bottom))
            numbers.append(number)
            spaced.append(found.start() == 0 or text[found.start() - 1] == " ")
        number += bool(words) and numbers[-1] == number
    if not words:
        raise InputError("No words were found on the page. Send a sharper picture, or one with text on it.")
    if len(words) > MAX_WORDS:
        raise InputError("The page has {count} words, at most {allowed} words.", count=len(words), allowed=MAX_WORDS)
    return Page(tuple(words), np.array(boxes, dtype=np.float32), np.array(numbers), tuple(spaced))


def reading_order(lines: Sequence[Line]) -> list[Line]:
    """Lines row by row from top to bottom, each row from left to right; what stands side by side is a row."""
    left = sorted(lines, key=lambda line: (line.box[1] + line.box[3], line.box[0]))
    ordered: list[Line] = []
    row: list[Line] = []
    for line in left:
        if row and not _side_by_side(row[0], line):
            ordered += sorted(row, key=lambda one: one.box[0])
            row = []
        row.append(line)
    return ordered + sorted(row, key=lambda one: one.box[0])


def _side_by_side(one: Line, other: Line) -> bool:
    shared = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    return shared > SAME_ROW * min(one.box[3] - one.box[1], other.box[3] - other.box[1])


def checked_line(values: object) -> Line:
    """A line from plain values [x0, y0, x1, y1, text]. Raises ValueError where they aren't that."""
    if isinstance(values, list | tuple) and len(values) == 5 and isinstance(values[4], str):
        edges = values[:4]
        if all(type(edge) in (int, float) and math.isfinite(edge) and -0.5 <= edge <= 1.5 for edge in edges):
            left, top, right, bottom = (min(max(float(edge), 0.0), 1.0) for edge in edges)
            if right >= left and bottom >= top:
                return Line((left, top, right, bottom), values[4])
    raise ValueError(f"a line is {values!r}; [x0, y0, x1, y1, text] is needed, places in 0..1 of the page")


def plain(text: str) -> str:
    """A text for comparing: small letters and digits alone."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def spans_with_text(page: Page, text: str) -> list[tuple[int, int]]:
    """Where on a page a text stands, as (first word, word after the last), whatever its spaces and marks."""
    wanted = plain(text)
    parts = [plain(word) for word in page.words]
    starts = np.cumsum([0, *map(len, parts)])[:-1]
    first_at = {int(start): place for place, start in enumerate(starts) if parts[place]}
    end_at = {int(start) + len(parts[place]): place + 1 for place, start in enumerate(starts) if parts[place]}
    whole, found, at = "".join(parts), [], -1
    while wanted and (at := whole.find(wanted, at + 1)) >= 0:
        if at in first_at and at + len(wanted) in end_at:
            found.append((first_at[at], end_at[at + len(wanted)]))
    return found
