"""What an English question names: its noun phrases, by small rules and a list of nouns. Pure functions over text."""

import re
from dataclasses import dataclass

from demo.visit.nouns import MEN, NOUNS, PEOPLE, WOMEN, is_noun, is_plural, singular_of

DETERMINERS = frozenset("the a an this that these those any some his her its their my your".split())
PREPOSITIONS = frozenset(
    "on in under behind beside near at with of over above below by inside outside between against from to around "
    "through across along for into onto off next front top".split()
)
# A noun phrase ends before these; words in -ing and -ed end it too, unless the list has them as nouns.
STOPS = PREPOSITIONS | frozenset(
    "is are was were be been am do does did has have had can could will would should may might what which who whose "
    "where when why how and or but not there here it they them he she him than as if that a an the look looks see "
    "show shows sit sits stand stands eat eats wear wears hold holds open closed made currently both all too".split()
)
COLORS = "black white red blue green yellow orange brown gray grey pink purple tan beige gold silver"
ADJECTIVES = frozenset(
    f"{COLORS} big small large little tiny huge tall short long old young new clean dirty wet dry hot cold full empty "
    "happy sad angry asleep awake alone real fake round square plain striped wooden metal plastic left right same "
    "other first second last only main whole biggest smallest tallest visible ripe safe hungry tired busy dark "
    "bright colorful heavy good cute beautiful male female ready fresh".split()
)


ATTRIBUTES = frozenset(
    "color colour colors shape size name kind type sort breed number age brand pattern purpose weather time top middle "
    "side end edge rest".split()
)


@dataclass(frozen=True)
class Mention:
    """A noun phrase of a question.

    ``first`` and ``end`` are its place among the question's words, ``words`` what stands there; ``noun`` is its last
    word. ``preposition`` are the words before it that make a place of it, "" for none.
    """

    first: int
    end: int
    words: tuple[str, ...]
    preposition: str = ""

    @property
    def noun(self) -> str:
        """The noun in lower case."""
        return self.words[-1].casefold()

    @property
    def text(self) -> str:
        """The phrase as something known: "a big dog" becomes "the big dog"."""
        words = self.words[1:] if self.words[0].casefold() in DETERMINERS else self.words
        return " ".join(("the", *words))

    @property
    def plural(self) -> bool:
        """Whether it is more than one."""
        return is_plural(self.noun)

    @property
    def person(self) -> bool:
        """Whether it is a person, or several."""
        return singular_of(self.noun) in PEOPLE

    def can_be(self, pronoun: str) -> bool:
        """Whether one of "it", "they", "he", "she" can stand for it."""
        noun = singular_of(self.noun)
        if pronoun == "it":
            return not self.plural and not self.person
        if pronoun == "they":
            return self.plural or self.person
        other = WOMEN if pronoun == "he" else MEN
        return self.person and not self.plural and noun not in other.split() and noun not in GROUPS


GROUPS = ("couple", "crowd", "family", "team")


def words_of(text: str) -> list[str]:
    """The words of a question without its punctuation; apostrophes stay."""
    return re.findall(r"[^\W_]+(?:['’\-][^\W_]+)*['’]?", text)


def mentions_of(question: str) -> list[Mention]:
    """The noun phrases of a question that begin with a determiner, in their order.

    A phrase whose noun can't be told from what follows is left out.
    """
    words = words_of(question)
    found = []
    place = 0
    while place < len(words):
        if words[place].casefold() in DETERMINERS:
            end = end_of_phrase(words, place + 1)
            if end and words[end - 1].casefold() not in ATTRIBUTES:
                before = preposition_before(words, place)
                attribute = before == "of" and words[place - 2].casefold() in ATTRIBUTES  # "the color of the dog"
                found.append(Mention(place, end, tuple(words[place:end]), "" if attribute else before))
                place = end
                continue
        place += 1
    return found


def end_of_phrase(words: list[str], start: int) -> int:
    """Where the noun phrase that goes on at ``start``, after its determiner, ends; 0 where that isn't certain."""
    plain = [word.casefold() for word in words]
    end = start
    while end < len(words) and plain[end] not in STOPS and not _is_verb(plain, start, end):
        end += 1
    while end > start and plain[end - 1] in ADJECTIVES and not _noun_here(plain, start, end):
        end -= 1
    for last in range(end, start, -1):
        if is_noun(plain[last - 1]) and (plain[last - 1] not in ADJECTIVES or _noun_here(plain, start, last)):
            return last
    unknown = [word for word in plain[start:end] if word not in ADJECTIVES]
    if len(unknown) != 1 or plain[end - 1] != unknown[0] or not unknown[0].isascii():
        return 0
    follows = plain[end + 1] if end + 1 < len(plain) and plain[end] not in STOPS else ""
    return 0 if is_noun(follows) else end  # "the quaint painted house"


def _noun_here(plain: list[str], start: int, end: int) -> bool:
    """Whether a word that is an adjective too ("orange") is the noun: nothing but adjectives stands before it."""
    return plain[end - 1] in NOUNS and all(word in ADJECTIVES for word in plain[start : end - 1])


def _is_verb(plain: list[str], start: int, place: int) -> bool:
    """Whether a word in -ing or -ed says what the thing before it does; as the first word it belongs to the noun."""
    word = plain[place]
    if place == start or is_noun(word) or word in ADJECTIVES:
        return False
    return word.endswith(("ing", "ed")) or (word.endswith("ly") and is_noun(plain[place - 1]))


def preposition_before(words: list[str], place: int) -> str:
    """The preposition right before a place among words, with "next" of "next to" and "in front" of "in front of"."""
    first = place
    while first > 0 and words[first - 1].casefold() in PREPOSITIONS:
        first -= 1
    return " ".join(words[first:place]).casefold()
