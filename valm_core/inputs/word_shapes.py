"""How words are written, which an encoder that knows no capitals can't see: capitals, digits, marks, letters."""

from collections.abc import Sequence

import numpy as np

LETTERS = 20  # of a word that are read one by one: its first and its last
# Ids of letters: 0 is none, 1 any that isn't ASCII, the rest follow ASCII from the space on.
LETTER_IDS = 2 + 0x7F - 0x20
MOSTLY = 0.8  # the share of letters from which on a sentence counts as written in capitals
SHAPES = (
    "first letter is a capital",
    "all capitals",
    "small letters alone",
    "a capital after the first letter",
    "one capital letter",
    "a capital letter and a full stop",
    "capitals with full stops",
    "has a digit",
    "digits alone",
    "digits with marks",
    "four digits",
    "has a hyphen",
    "has an apostrophe",
    "marks alone",
    "begins with @",
    "begins with #",
    "is an address",
    "has letters beyond ASCII",
    "first of the sentence",
    "first but for marks",
    "sentence in capitals",
    "sentence with a capital at each word",
)


def word_shapes(words: Sequence[str]) -> np.ndarray:
    """What holds of each of a sentence's W words: [W, len(SHAPES)], 0 or 1 in float32."""
    letters = [letter for word in words for letter in word if letter.isalpha()]
    shouted = bool(letters) and sum(letter.isupper() for letter in letters) >= MOSTLY * len(letters)
    spelled = [word for word in words if any(letter.isalpha() for letter in word)]
    titled = len(spelled) > 1 and sum(word[:1].isupper() for word in spelled) >= MOSTLY * len(spelled)
    begun = next((place for place, word in enumerate(words) if any(letter.isalnum() for letter in word)), 0)
    shapes = [
        (*_shapes_of(word), place == 0, place == begun, shouted, titled and not shouted)
        for place, word in enumerate(words)
    ]
    return np.array(shapes, dtype=np.float32).reshape(len(words), len(SHAPES))


def _shapes_of(word: str) -> tuple[bool, ...]:
    spelled = [letter for letter in word if letter.isalpha()]
    digits = any(letter.isdigit() for letter in word)
    return (
        word[:1].isupper(),
        len(spelled) > 1 and all(letter.isupper() for letter in spelled),
        bool(spelled) and all(letter.islower() for letter in spelled),
        any(letter.isupper() for letter in word[1:]) and any(letter.islower() for letter in word),
        len(word) == 1 and word.isupper(),
        len(word) == 2 and word[0].isupper() and word[1] == ".",
        len(word) > 2 and "." in word and any(letter.isupper() for letter in word),
        digits,
        word.isdigit(),
        digits and not word.isalnum() and not spelled,
        len(word) == 4 and word.isdigit(),
        "-" in word and len(word) > 1,
        "'" in word,
        not any(letter.isalnum() for letter in word),
        word[:1] == "@",
        word[:1] == "#",
        word.lower().startswith(("http", "www.")),
        not word.isascii(),
    )


def word_letters(words: Sequence[str]) -> np.ndarray:
    """The letters of each of W words as ids [W, LETTERS]; of a longer word the first and the last ones."""
    ids = np.zeros((len(words), LETTERS), dtype=np.int64)
    for place, word in enumerate(words):
        half = LETTERS // 2
        kept = word if len(word) <= LETTERS else word[:half] + word[-half:]
        ids[place, : len(kept)] = [2 + ord(letter) - 0x20 if " " <= letter <= "~" else 1 for letter in kept]
    return ids
