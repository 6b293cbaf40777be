"""What a pronoun may stand for: the things and places that a question and its answer speak of. Rules over text."""

import re
from dataclasses import dataclass

from demo.visit.mentions import ADJECTIVES, DETERMINERS, Mention, mentions_of, preposition_before, words_of
from demo.visit.nouns import is_noun, is_plural, singular_of

SURE = 0.5  # probability from which an answer is taken for true here
BE, DO = ("is", "are", "was", "were"), ("does", "do", "did")
YES_NO_STARTS = (*BE, *DO, "has", "have", "can", "could", "will", "would")
WHERE = ("on", "in", "under", "behind", "beside", "near", "at", "inside", "next to", "in front of", "on top of")
NONE = ("no", "0", "none", "zero", "nothing", "nobody", "no one")


@dataclass(frozen=True)
class Before:
    """The question before and its likeliest answer, with the answer's probability in 0..1."""

    question: str
    answer: str
    probability: float

    @property
    def said(self) -> str:
        """The answer in lower case where the model is sure of it, else nothing."""
        return self.answer.casefold() if self.probability >= SURE else ""


def known_from(before: Before) -> tuple[list[Mention], list[Mention]]:
    """What the question before and its answer speak of: things themselves, and places that they are at.

    None where the answer denies that there is such a thing.
    """
    question = before.question
    words = [word.casefold() for word in words_of(question)]
    found = [mention for mention in mentions_of(question) if not is_the_photo(mention)]
    asks_whether = bool(
        re.match(r"(?:is|are|was|were) (?:there|this|that|these|those)\b|(?:can|do) you see\b", " ".join(words))
    )
    counted = counted_noun(words)
    if asks_whether and before.said in ("", *NONE):
        return [], []
    if counted and before.answer.casefold() in NONE:  # unsure of how many, it still may see some
        return [], []
    if words[:1] and words[0] in YES_NO_STARTS and before.said != "yes":  # "Is she holding an umbrella?" "No."
        found = [mention for mention in found if mention.words[0].casefold() not in ("a", "an", "any", "some")]
    if asks_whether:  # "Is this a dog?": what it is, not "this"
        found = found or bare_plural(words)
    if counted:
        found = [counted if before.said != "1" else only_one(counted), *found]
    kind = kind_of(words)
    if kind:
        found = [kind, *(mention for mention in found if mention.preposition)]
    places = [mention for mention in found if mention.preposition]
    things = [mention for mention in found if not mention.preposition]
    if not kind and not counted and (new := answered_with(words, before)):
        things = [*things, new]
    return things, places


def is_the_photo(mention: Mention) -> bool:
    """Whether a phrase is the photo itself, of which nothing is asked."""
    return mention.noun in ("photo", "picture", "image", "photograph", "pic", "scene", "background", "foreground")


def counted_noun(words: list[str]) -> Mention | None:
    """The dogs of "How many dogs are there?"."""
    if words[:2] != ["how", "many"]:
        return None
    end = next((place for place in range(2, len(words)) if words[place] in (*BE, *DO, "can", "have")), len(words))
    noun = next((place for place in range(end - 1, 1, -1) if is_plural(words[place]) or is_noun(words[place])), 0)
    return Mention(2, noun + 1, tuple(words[2 : noun + 1])) if noun and "of" not in words[2:noun] else None


def only_one(mention: Mention) -> Mention:
    """The dogs, where there is one: the dog."""
    return Mention(mention.first, mention.end, (*mention.words[:-1], singular_of(mention.noun)))


def bare_plural(words: list[str]) -> list[Mention]:
    """The dogs of "Are there dogs?"."""
    if words[:2] == ["are", "there"] and len(words) > 2 and is_noun(words[2]) and is_plural(words[2]):
        return [Mention(2, 3, (words[2],))]
    return []


def kind_of(words: list[str]) -> Mention | None:
    """The animal of "What animal is this?" and "What kind of animal is this?"."""
    match = re.match(
        r"(?:what|which) (?:(?:kind|type|sort|breed) of )?(\w+) (?:is|are) (?:this|that|it|these|those|they)\b",
        " ".join(words),
    )
    if not match or not is_noun(match[1]):
        return None
    place = words.index(match[1])
    return Mention(place, place + 1, (match[1],))


def answered_with(words: list[str], before: Before) -> Mention | None:
    """The thing that the answer names where the question asked for one: "an umbrella" to "What is he holding?"."""
    text = " ".join(words)
    asks_for_thing = re.match(r"(?:what|who) (?:is|are|was|were)\b", text) and not text.endswith("doing")
    if not asks_for_thing or re.match(
        r"what (?:is|are) (?:the )?\w+ (?:made|of|from)\b|.*\b(?:color|colour|made of|name)\b", text
    ):
        return None
    answer = words_of(before.said)
    if not answer or not is_noun(answer[-1]) or any(word in ("and", "or") for word in answer):
        return None
    if answer[0] in DETERMINERS:
        answer = answer[1:]
    return Mention(-1, -1, tuple(answer)) if all(is_noun(word) or word in ADJECTIVES for word in answer) else None


def certain(pronoun: str, before: Before) -> Mention | None:
    """The one thing of the question before that a pronoun stands for, None where it isn't certain."""
    things, places = known_from(before)
    fitting = [mention for mention in things if mention.can_be(pronoun)]
    if pronoun == "they" and any(mention.plural for mention in fitting):
        fitting = [mention for mention in fitting if mention.plural]
    if len({mention.text for mention in fitting}) > 1:
        return None
    rivals = [mention for mention in places if mention.can_be(pronoun)]
    if fitting:
        # "Is the cat next to the dog?": either. "What color is the cat next to the dog?": the cat.
        if rivals and words_of(before.question)[0].casefold() in YES_NO_STARTS:
            return None
        return fitting[0]
    return rivals[0] if things and len(rivals) == 1 else None


def place_of(before: Before) -> str:
    """Where the question before looked: "on the table"; "" where that isn't certain."""
    if words_of(before.question)[0].casefold() == "where":
        answer = words_of(before.said)
        if len(answer) < 2 or not preposition_before(answer, 1) or not is_noun(answer[-1]):
            return ""
        rest = answer[1:] if answer[1] not in DETERMINERS else answer[2:]
        return f"{answer[0]} the {' '.join(rest)}"
    _, places = known_from(before)
    return f"{places[0].preposition} {places[0].text}" if len(places) == 1 and places[0].preposition in WHERE else ""
