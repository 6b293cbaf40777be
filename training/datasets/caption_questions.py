"""Questions that captions answer: what does this, what is done to, how many, where, which color.

Made by putting a question word where a caption has a noun, as the questions of COCO-QA were (Ren et al. 2015,
"Exploring models and data for image question answering", https://arxiv.org/abs/1505.02074), by simple patterns in place
of a parser, and in the same words, often ungrammatical.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from training.datasets.generated_questions import NUMBERS, PhotoTexts, color_pairs, is_thing, noun_ancestors
from training.datasets.word_forms import FUNCTION_WORDS, base_form, words_of

ARTICLES = frozenset({"a", "an", "the", "some", "his", "her", "its", "their", "another"})
PREPOSITIONS = frozenset(
    """
    on in at with by near under over behind beside above below inside next through along across against beneath
    around from into onto outside between down up
    """.split()
)
PLACE_PREPOSITIONS = frozenset({"in", "on", "at"})
PLACES = frozenset("area structure room location geological_formation body_of_water way land field building".split())
MAX_MODIFIERS = 3  # between an article and its noun

Made = tuple[str, str]  # question, answer


def caption_questions(
    texts: Mapping[str, PhotoTexts], answers: Collection[str], most_per_answer: int = 400, seed: int = 0
) -> list[tuple[str, str, str]]:
    """(photo, question, answer) out of captions, for answers of the list.

    Args:
        texts: by photo.
        answers: in their normal form.
        most_per_answer: of one answer at most, so that the usual ones don't crowd out the others.
        seed: of which are kept.
    """
    known, of_answer = set(answers), defaultdict(list)
    for photo, one in texts.items():
        made = {question: (question, answer) for text in one.captions for question, answer in questions_of(text)}
        for question, answer in made.values():
            answer = NUMBERS.get(answer, answer)
            if answer in known:
                of_answer[answer].append((photo, question, answer))
    chance = random.Random(seed)
    kept = [chance.sample(rows, min(len(rows), most_per_answer)) for _, rows in sorted(of_answer.items())]
    return [row for rows in kept for row in rows]


def questions_of(caption: str) -> list[Made]:
    """What can be asked of one caption, with the answers, in small letters."""
    words = words_of(caption)
    subject = _subject(words)
    if subject is None:
        return []
    head, after = subject
    patterns: tuple[Callable[[list[str], int, int], list[Made]], ...] = (_of_subject, _of_objects, _of_place)
    made = [one for pattern in patterns for one in pattern(words, head, after)]
    return made + _of_colors(words)


def _subject(words: list[str]) -> tuple[int, int] | None:
    """Where the first noun stands, and where what is said of it begins; None where no pattern fits."""
    if not words or (words[0] not in ARTICLES and words[0] not in NUMBERS):
        return None
    for place in range(2, min(len(words) - 1, MAX_MODIFIERS + 3)):
        if _is_verb(words[place]) or words[place] in PREPOSITIONS or words[place] in ("is", "are"):
            said = place + 1 if words[place] in ("is", "are") and words[place + 1].endswith("ing") else place
            return (place - 1, said) if is_thing(words[place - 1]) else None
    return None


def _of_subject(words: list[str], head: int, after: int) -> list[Made]:
    said = " ".join(words[after:])
    noun = words[head]
    if words[0] in NUMBERS and words[after] not in PREPOSITIONS:
        return [(f"how many {' '.join(words[1 : head + 1])} {_with_auxiliary(words, head, after, said)}?", words[0])]
    if "person" in noun_ancestors(base_form(noun)) or words[after] in PREPOSITIONS - {"next"}:
        return []
    return [(f"what {_with_auxiliary(words, head, after, said)}?", noun)]


def _of_objects(words: list[str], head: int, after: int) -> list[Made]:
    """What is done to something, or done with, on or in it: every noun with an article behind a verb."""
    if not words[after].endswith("ing"):
        return []
    made = []
    for article in range(after + 1, len(words) - 1):
        noun = _noun_behind(words, article)
        if noun is None or "person" in noun_ancestors(base_form(words[noun])):
            continue
        left, right = words[after:article], words[noun + 1 :]
        if article == after + 1 or left[-1] in PREPOSITIONS or left[-1] == "to":
            said = " ".join([*left, *right])
            made.append((f"what {_be(words[head])} the {words[head]} {said}?", words[noun]))
    return made


def _of_place(words: list[str], head: int, after: int) -> list[Made]:
    """Where it happens: the last noun, behind a preposition of place."""
    last = len(words) - 1
    for place in range(max(after, last - MAX_MODIFIERS - 2), last - 1):
        is_place = words[place] in PLACE_PREPOSITIONS and words[place + 1] in ARTICLES
        if is_place and _noun_behind(words, place + 1) == last and PLACES & noun_ancestors(base_form(words[last])):
            between = words[after:place]
            if any(word in PLACE_PREPOSITIONS for word in between):
                return []
            return [(" ".join(["where", _be(words[head]), "the", words[head], *between]) + "?", words[last])]
    return []


def _of_colors(words: list[str]) -> list[Made]:
    return [(f"what is the color of the {noun}?", color) for noun, color in dict(color_pairs(words)).items()]


def _noun_behind(words: list[str], article: int) -> int | None:
    """Where the noun of an article stands: the last word before the next function word or verb."""
    if words[article] not in ARTICLES:
        return None
    end = article + 1
    while end < len(words) and words[end] not in FUNCTION_WORDS | PREPOSITIONS and not _is_verb(words[end]):
        end += 1
    noun = end - 1
    return noun if article < noun <= article + MAX_MODIFIERS and is_thing(words[noun]) else None


def _with_auxiliary(words: list[str], head: int, after: int, said: str) -> str:
    return f"{_be(words[head])} {said}" if words[after].endswith("ing") or words[after] == "next" else said


def _be(noun: str) -> str:
    return "is" if base_form(noun) == noun else "are"


def _is_verb(word: str) -> bool:
    return (word.endswith("ing") and len(word) > 5 and not noun_ancestors(word)) or word in VERBS


VERBS = frozenset(
    """
    sits sit stands stand holds hold parked covered filled topped made mounted perched flies fly lies lay lays seated
    rides ride runs run walks walk hangs hang plays play wears wear looks look jumps jump eats eat grazes graze
    surrounded attached decorated stopped loaded grows swims carries pulls crosses sliding driving riding sitting
    standing eating flying swimming skiing surfing running walking jumping hanging crossing
    """.split()
)
