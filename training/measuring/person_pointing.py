"""Do the maps of words for persons point at persons? What ``training.pointing --boxes`` measures, on person boxes."""

import random
import re
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from tqdm import tqdm

from training.datasets.readers.jsonl import DataError, Row
from training.datasets.readers.judging import Box, PersonPhoto
from training.measuring.common import COMPARED, as_page, explain, markdown_table, words_of
from training.measuring.faithfulness import interval
from valm_core.inputs.word_pieces import merge_word_pieces
from valm_core.method_names import DEFAULT_METHOD
from valm_core.model.model import ValmModel

PERSON_WORDS = frozenset(
    ["man", "men", "woman", "women", "person", "persons", "people", "boy", "boys", "girl", "girls"]
)
QUESTIONS = tuple(
    [f"What is the {word} doing?" for word in ("man", "woman", "person", "boy", "girl")]
    + ["What are the people doing?"]
)
CONTROLS = ("random_cell", "center")


def drawn_questions(photos: list[PersonPhoto]) -> list[tuple[PersonPhoto, str]]:
    """A question about a person for every photo, drawn among ``QUESTIONS``, the same ones every time."""
    generator = random.Random(0)
    return [(photo, generator.choice(QUESTIONS)) for photo in photos]


def asked_questions(photos: list[PersonPhoto], rows: list[Row]) -> list[tuple[PersonPhoto, str]]:
    """The questions of ``rows`` on these photos that name a person.

    Raises:
        DataError: there are none.
    """
    with_boxes = {photo.image.resolve(): photo for photo in photos}
    found = [(with_boxes.get(row.photo.resolve()), row.question) for row in rows]
    asked = [(photo, question) for photo, question in found if photo and person_words(question.split())]
    if not asked:
        raise DataError(f"No question on the {len(photos)} photos has one of: {', '.join(sorted(PERSON_WORDS))}.")
    return asked


def person_words(words: Iterable[str]) -> list[int]:
    """The places of the words that name a person ("Man's" does), among words as they are written."""
    return [
        place for place, word in enumerate(words) if PERSON_WORDS.intersection(re.findall(r"[a-z]+", word.lower())[:1])
    ]


def inside(grid: tuple[int, int], boxes: tuple[Box, ...], seen: Box = (0.0, 0.0, 1.0, 1.0)) -> np.ndarray:
    """Which cells' centres lie in one of the boxes: [rows, columns] of booleans.

    Args:
        grid: rows and columns of the map.
        boxes: (x0, y0, x1, y1) in 0..1 of the photo.
        seen: the part of the photo that the map is of.
    """
    left, top, right, bottom = seen
    y = top + (bottom - top) * (np.arange(grid[0]) + 0.5)[:, None] / grid[0]
    x = left + (right - left) * (np.arange(grid[1]) + 0.5)[None, :] / grid[1]
    return np.any([(x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1) for x0, y0, x1, y1 in boxes], axis=0)


def hottest(image_map: np.ndarray) -> np.ndarray:
    """Which cells are hottest: booleans of the map's shape; several where they tie."""
    return image_map == image_map.max()


def middle(grid: tuple[int, int]) -> np.ndarray:
    """The cells nearest to the middle, as ``hottest`` marks them: one, two or four."""
    rows, columns = (np.abs(np.arange(count) + 0.5 - count / 2) < 0.75 for count in grid)
    return rows[:, None] & columns[None, :]


def measure_persons(model: ValmModel, asked: list[tuple[PersonPhoto, str]]) -> dict:
    """How often the hottest cell of a word for a person has its centre in a person's box, ties sharing.

    Several such words of one question are averaged. The controls are a random cell, which is the share of the cells
    that lie in a box, and the cell in the middle. The answer that a map explains is the model's own.

    Args:
        model: in evaluation mode.
        asked: photos, each with a question that names a person.

    Returns:
        ``questions``, ``photos``; ``methods`` and ``controls``: {mean, low, high} (95 % bootstrap interval over the
        questions), of methods with ``difference_to_center``, paired; ``by_word``: the default method's mean for each
        word with its number of ``questions``.
    """
    values, by_word = defaultdict(list), defaultdict(list)
    for photo, question in tqdm(asked, desc="pointing", unit="question"):
        words, token_words = words_of(model, question)
        named = person_words(words)
        for name, explanation in explain(model, photo.image, question).items():
            explanation = merge_word_pieces(explanation, words, token_words)
            cells = inside(explanation.grid, photo.boxes, explanation.box)
            hits = [float(cells[hottest(explanation.token_map(place))].mean()) for place in named]
            values[name].append(np.mean(hits))
            if name == DEFAULT_METHOD:
                for place, hit in zip(named, hits, strict=True):
                    by_word[re.findall(r"[a-z]+", words[place].lower())[0]].append(hit)
        values["random_cell"].append(cells.mean())
        values["center"].append(cells[middle(explanation.grid)].mean())
    return {
        "questions": len(asked),
        "photos": len({photo.image for photo, _ in asked}),
        "methods": {
            name: interval(values[name])
            | {"difference_to_center": interval(np.subtract(values[name], values["center"]))}
            for name in COMPARED
        },
        "controls": {name: interval(values[name]) for name in CONTROLS},
        "by_word": {
            word: {"questions": len(hits), "mean": round(float(np.mean(hits)), 4)}
            for word, hits in sorted(by_word.items())
        },
    }


def format_persons(report: dict) -> str:
    """The report as Markdown."""
    rows = []
    for name, value in (report["methods"] | report["controls"]).items():
        label = name.replace("_cell", " cell") + (" (default)" if name == DEFAULT_METHOD else "")
        rows.append((label, f"{100 * value['mean']:.1f} % ({100 * value['low']:.1f}–{100 * value['high']:.1f})"))
    words = ", ".join(
        f"{word} {100 * value['mean']:.0f} % ({value['questions']})" for word, value in report["by_word"].items()
    )
    return as_page(
        "# Do the maps of words for persons point at persons?",
        f"    {report.get('command', '')}",
        f"{report['questions']} questions on {report['photos']} photos name a person. Counted is how often the "
        "centre of the hottest cell of that word's map lies in a person's box; 95 % bootstrap intervals. Not every "
        "person has a box, so a map that points at another one counts as wrong.",
        markdown_table(("map", "hottest cell in a person's box"), rows),
        f"By word with the default method (number of words): {words}.",
    )
