"""Yes/no questions made from open ones: the same photo asked for what is there and for what isn't.

A model that has few examples answers yes/no questions from what is usual. The questions made here come in pairs of one
"yes" and one "no" about the same photo, so that only the photo can tell them apart (in the spirit of the balanced
pairs of Goyal et al. 2017, https://arxiv.org/abs/1612.00837).
"""

import random
import re
from collections import Counter
from pathlib import Path

from training.datasets.jsonl import Row
from training.metrics.vqa_accuracy import normalize_answer

SOURCE = "generated"
COLORS = ("red", "blue", "green", "yellow", "white", "black", "brown", "orange", "pink", "purple", "gray")
# "What color is the bus?" and COCO-QA's "what is the color of the bus ?"
_COLOR_QUESTION = re.compile(r"what colou?r (?:is|are) (?P<thing>the [\w' -]+?)\s*\?*", re.IGNORECASE)
_COLOR_OF_QUESTION = re.compile(r"what (?:is|are) the colou?rs? of (?P<thing>the [\w' -]+?)\s*\?*", re.IGNORECASE)
_PRESENCE = {  # by number: one thing, several things
    False: ("Is there {} in the photo?", "Is there {}?", "Is this {}?", "Do you see {}?", "Can you see {} here?"),
    True: ("Are there {} in the photo?", "Are there {}?", "Are these {}?", "Do you see {}?", "Can you see {} here?"),
}
# So common or so vague that their absence from a photo's questions says nothing about the photo.
_TOO_COMMON = {
    "man",
    "woman",
    "person",
    "people",
    "child",
    "boy",
    "girl",
    "table",
    "street",
    "room",
    "field",
    "building",
    "grass",
    "water",
    "food",
    "picture",
    "hill",
}
MIN_NOUN_COUNT = 10


def generate_yes_no_questions(rows: list[Row], seed: int) -> list[Row]:
    """Pairs of yes/no rows about colors and objects that other rows name.

    "What color is the bus?" red -> "Is the bus red?" yes, "Is the bus white?" no. A cat in an answer or in a question
    made from a caption -> "Do you see a cat?" yes, "Do you see a train?" no, where nothing asked or answered about the
    photo mentions a train. Wrong colors and objects are drawn as often as right ones occur, so that a word alone tells
    nothing.
    A "no" about an object can be wrong where nobody asked about it; common objects are left out for that reason.

    Args:
        rows: questions with photos.
        seed: of wording and of the wrong colors and objects.

    Returns:
        New rows with source "generated": every "yes" is followed by its "no".
    """
    chance = random.Random(seed)
    nouns = object_nouns(rows)
    rows_of_photo: dict[Path, list[Row]] = {}
    for row in rows:
        rows_of_photo.setdefault(row.image, []).append(row)
    generated = _color_pairs(rows, chance)
    for photo, about in rows_of_photo.items():
        generated += _object_pairs(photo, about, nouns, chance)
    return generated


def object_nouns(rows: list[Row]) -> Counter:
    """What COCO-QA's "what" questions are answered with, and how often: one word, no color, not too common."""
    counts = Counter(
        normalize_answer(row.answers[0])
        for row in rows
        if row.source == "coco_qa" and row.question.lower().startswith("what")
    )
    usable = {
        noun: count
        for noun, count in counts.items()
        if count >= MIN_NOUN_COUNT and noun.isalpha() and noun not in COLORS and noun not in _TOO_COMMON
    }
    return Counter(usable)


def _color_pairs(rows: list[Row], chance: random.Random) -> list[Row]:
    asked = []
    for row in rows:
        question, color = row.question.strip(), normalize_answer(row.answers[0])
        match = _COLOR_QUESTION.fullmatch(question) or _COLOR_OF_QUESTION.fullmatch(question)
        if match and color in COLORS:
            thing = match["thing"].lower()
            asked.append((row.image, f"{'Are' if _is_plural(thing) else 'Is'} {thing}", color))
    colors = [color for _, _, color in asked]
    pairs = []
    for photo, start, color in asked:
        other = chance.choice([other for other in colors if other != color] or [c for c in COLORS if c != color])
        pairs += [_row(photo, f"{start} {color}?", "yes"), _row(photo, f"{start} {other}?", "no")]
    return pairs


def _object_pairs(photo: Path, about: list[Row], nouns: Counter, chance: random.Random) -> list[Row]:
    mentioned = {_singular(word) for row in about for word in _words(row.question, *row.answers)}
    present = {normalize_answer(row.answers[0]) for row in about if row.question.lower().startswith("what")}
    present |= {word for row in about if row.source == "coco_qa" for word in _words(row.question)}
    pairs = []
    for noun in sorted(present & nouns.keys()):
        candidates = chance.choices(list(nouns), weights=list(nouns.values()), k=20)
        absent = [other for other in candidates if _singular(other) not in mentioned]
        if absent:
            wording = chance.randrange(5)
            pairs += [_presence(photo, noun, wording, "yes"), _presence(photo, absent[0], wording, "no")]
    return pairs


def _presence(photo: Path, noun: str, wording: int, answer: str) -> Row:
    plural = _is_plural(noun)
    thing = f"any {noun}" if plural else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
    return _row(photo, _PRESENCE[plural][wording].format(thing).replace("Are these any", "Are these"), answer)


def _words(*texts: str) -> list[str]:
    return re.findall(r"[a-z]+", " ".join(texts).lower())


def _is_plural(noun: str) -> bool:
    return noun.endswith("s") and not noun.endswith(("ss", "us"))


def _singular(word: str) -> str:
    return word[:-1] if _is_plural(word) else word


def _row(photo: Path, question: str, answer: str) -> Row:
    return Row(photo, question, (answer,), source=SOURCE)
