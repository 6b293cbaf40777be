"""Questions that follow another: "What is it doing?" after one about the dog. Rules over text, no model, no gradio.

A pronoun gives way to the noun of the question before only where one noun alone fits; everything else is asked as it
was typed. What is rewritten is always shown, see ``Understood``.
"""

import re
from dataclasses import dataclass

from demo.visit.antecedents import (
    BE,
    YES_NO_STARTS,
    Before,
    certain,
    counted_noun,
    is_the_photo,
    known_from,
    place_of,
)
from demo.visit.mentions import DETERMINERS, Mention, mentions_of, preposition_before, words_of
from demo.visit.nouns import BODY, PEOPLE, is_noun, is_plural, plural_of, singular_of


@dataclass(frozen=True)
class Understood:
    """What is asked for a typed text.

    ``asked`` differs from ``typed`` where a follow-up was completed. ``unclear`` is the word or phrase that seems to
    refer to the question before and that nothing certain stands for; the text is asked as typed then.
    """

    typed: str
    asked: str
    unclear: str = ""

    @property
    def rewritten(self) -> bool:
        """Whether something else is asked than was typed."""
        return self.asked != self.typed


PRONOUNS = {
    "it": "it",
    "its": "it",
    "they": "they",
    "them": "they",
    "their": "they",
    "he": "he",
    "him": "he",
    "his": "he",
    "she": "she",
    "her": "she",
}
POSSESSIVES = frozenset({"its", "their", "his", "her"})
FOR_ONE = {"are": "is", "were": "was", "do": "does", "have": "has", "aren't": "isn't", "don't": "doesn't"}

# "it" that stands for nothing: weather, time, light, and what a photo as a whole is.
STATES = (
    "rain raining rainy snow snowing snowy sunny cloudy foggy windy stormy overcast day daytime night nighttime "
    "daylight dark light bright sunset sunrise morning noon afternoon evening late early winter summer spring autumn "
    "fall cold warm hot freezing humid wet icy christmas halloween outdoors indoors outside inside crowded possible "
    "true safe legal"
)
DUMMY_IT = re.compile(
    rf"\b(?:is|was|does|did|has|will)\s+it\s+(?:(?:likely|probably|currently|really|look|looks|seem|feel|appear|going|"
    rf"been|to|be|like|a|an|the|very|about|near|too|almost|getting|have)\s+)*(?:{'|'.join(STATES.split())})\b"
    r"|\bwhat\s+(?:time|day|date|season|month|year|hour|weather)\b.*\bit\b|\bwhat\s+is\s+it\s+like\b"
    r"|\bit\s+(?:rain|rained|snow|snowed|look like|looks like)\b"
    r"|\bis it (?:a|an) \w*\s?(?:photo|picture|drawing|day|night)\b",
    re.IGNORECASE,
)
BARE_WHY = re.compile(
    r"^(?:and\s+|but\s+)?(?:why(?:\s+(?:not|so|is\s+that|(?:is|are|was|were|does|do)\s+(?:it|he|she|they)))?|how\s+come)$",
    re.IGNORECASE,
)
ELLIPSIS = re.compile(
    r"^(?:(?:ok|okay|so|well|but)\s+)?(?:and(?:\s+(?:now|then))?|what\s+about|how\s+about|and\s+what\s+about)\s+(?P<rest>.+)$",
    re.IGNORECASE,
)
# Of the answer, not of the photo: the model would answer it all the same, and about nothing.
ABOUT_THE_ANSWER = re.compile(
    r"^(?:(?:are|is)\s+(?:you|it|that)\s+(?:really\s+|very\s+)?(?:sure|certain|right|correct|true)|really|sure|what\s+do\s+you\s+mean"
    r"|what\s+else|who\s+else|anything\s+else|explain|how\s+(?:do\s+you\s+know|come\s+you\s+know|sure\s+are\s+you)|what|who|which|which\s+one)$",
    re.IGNORECASE,
)
WHERE_OR_COLOR = re.compile(r"^(?:and\s+)?(?:where|what\s+(?:color|colour|size|shape))$", re.IGNORECASE)
# The weather or the thing before: both are likely.
IT_OR_WEATHER = re.compile(
    r"^is\s+it\s+(?:(?:very|too|still)\s+)?(?:hot|cold|warm|wet|dark|light|bright|safe|outside|inside|outdoors|indoors)$",
    re.IGNORECASE,
)
QUESTION_WORDS = frozenset("what which who whose where when why how is are was were does do did has have can".split())
HOW_MANY = re.compile(
    r"^(?:and\s+)?how\s+many(?:\s+(?:are\s+(?:there|visible|in\s+(?:it|the\s+\w+))|do\s+you\s+see))?$", re.I
)
ONE = re.compile(r"\b(?:(?P<bare>that|this)|the\s+(?P<kind>\w+))\s+one\b", re.IGNORECASE)


def understand(typed: str, before: Before | None) -> Understood:
    """What to ask for a typed text.

    Args:
        typed: the text with single spaces.
        before: of the same photo, None for the first question about it.
    """
    as_typed = Understood(typed, typed)
    words = words_of(typed)
    if before is None or not words or not typed.isascii():
        return as_typed
    plain = " ".join(words)
    if BARE_WHY.match(plain):
        return _result(typed, why(before), plain)
    if ABOUT_THE_ANSWER.match(plain):
        return Understood(typed, typed, plain)
    if WHERE_OR_COLOR.match(plain):
        return _result(typed, where_or_color(plain, before), plain)
    if IT_OR_WEATHER.match(plain):
        return Understood(typed, typed, "it" if certain("it", before) else "")
    if alone := of_both(words):
        return Understood(typed, typed, alone)
    if HOW_MANY.match(plain):
        return _result(typed, how_many(before), plain)
    ellipsis = ELLIPSIS.match(plain)
    if ellipsis and words_of(ellipsis["rest"])[0].casefold() not in QUESTION_WORDS:
        return _result(typed, instead(ellipsis["rest"], before), plain)
    if words[0].casefold() == "the" and (asked := instead(plain, before)):  # "The cat?"
        return Understood(typed, asked)
    return without_pronouns(typed, before)


def _result(typed: str, asked: str, unclear: str) -> Understood:
    return Understood(typed, asked) if asked else Understood(typed, typed, unclear)


def without_pronouns(typed: str, before: Before) -> Understood:
    """The typed question with the noun of the one before in place of each pronoun."""
    as_typed = Understood(typed, typed)
    typed_words = words_of(typed)
    own = mentions_of(typed)
    if one := ONE.search(typed):
        return that_one(typed, one, before)
    found = []
    for place, word in enumerate(typed_words):
        pronoun = PRONOUNS.get(word.casefold())
        if pronoun and not (pronoun == "it" and DUMMY_IT.search(typed)):
            if any(mention.end <= place and mention.can_be(pronoun) for mention in own):
                continue  # it stands for something in the same question
            found.append((place, word, pronoun))
    if re.fullmatch(r"what (?:is|are) (?:it|they)", " ".join(typed_words), re.IGNORECASE):
        return Understood(typed, typed, typed_words[-1])  # of what was named, nobody would ask that
    new_words = list(typed_words)
    for place, word, pronoun in found:
        mention = certain(pronoun, before)
        if mention is None:
            return Understood(typed, typed, word)
        new_words[place] = in_place_of(typed_words, place, mention)
        auxiliary = typed_words[place - 1].casefold() if place else ""
        if word.casefold() == "they" and not mention.plural and auxiliary in FOR_ONE:
            new_words[place - 1] = FOR_ONE[auxiliary]
    if is_place(typed_words):
        where = place_of(before)
        if not where:
            return Understood(typed, typed, typed_words[-1]) if not found else as_typed
        new_words[-1] = where
    elif not found:
        return as_typed
    if new_words[0].casefold() == "and":
        del new_words[0]
    return Understood(typed, sentence(" ".join(new_words)))


def in_place_of(words: list[str], place: int, mention: Mention) -> str:
    """A noun phrase for the pronoun at a place: "the dog", or "the dog's" for "its"."""
    word = words[place].casefold()
    if word in POSSESSIVES:
        mention = whole_of(mention)
    following = words[place + 1].casefold() if place + 1 < len(words) else ""
    ends = not following or following.endswith("ing") or preposition_before(words, place + 2)
    if word in POSSESSIVES - {"her"} or (word == "her" and not ends):
        return mention.text + ("'" if mention.text.endswith("s") else "'s")
    return mention.text


def whole_of(mention: Mention) -> Mention:
    """The cat, of the cat's nose: its eyes are the cat's; of all but parts of a body the thing itself."""
    owner = next((place for place, word in enumerate(mention.words) if word.endswith(("'s", "’s"))), 0)
    if not owner or singular_of(mention.noun) not in BODY.split():
        return mention
    return Mention(mention.first, mention.first + owner + 1, (*mention.words[:owner], mention.words[owner][:-2]))


def is_place(words: list[str]) -> bool:
    """Whether the last word is a "there" that means a place, and not that something exists."""
    plain = [word.casefold() for word in words]
    if plain[-1] != "there" or len(words) < 3 or "there" in plain[:-1]:
        return False
    return plain[-2] not in (*BE, "be", "been", "over", "up", "down", "out", "in", "right")


def that_one(typed: str, one: re.Match, before: Before) -> Understood:
    """The typed question with the noun in place of "one": "that one", "the red one"."""
    words = one["kind"].casefold() if one["kind"] else ""
    things, _ = known_from(before)
    nouns = {singular_of(mention.noun) for mention in things}
    if len(nouns) != 1 or words in ("other", "only") or (not words and any(mention.plural for mention in things)):
        return Understood(typed, typed, one[0])
    noun = nouns.pop()
    named = f"the {words} {noun}" if words else next(iter(things)).text
    new = re.sub(r"^and\s+", "", typed[: one.start()] + named + typed[one.end() :], flags=re.IGNORECASE)
    return Understood(typed, sentence(" ".join(words_of(new))))


def of_both(words: list[str]) -> str:
    """The "both" or "neither" that names nothing: "Are both asleep?"; "" for none."""
    plain = [word.casefold() for word in words]
    for place, word in enumerate(plain):
        if word not in ("both", "neither") or plain[place - 1 : place] in (["they"], ["them"]):
            continue
        following = plain[place + 1 : place + 2]
        if not following or not (following[0] in DETERMINERS | {"of"} or is_noun(following[0])):
            return words[place]
    return ""


def where_or_color(plain: str, before: Before) -> str:
    """ "Where?" and "What color?" with the thing that the question before was about; "" where it isn't certain."""
    things, _ = known_from(before)
    if len({mention.text for mention in things}) != 1:
        return ""
    asked = re.sub(r"^and\s+", "", plain, flags=re.IGNORECASE)
    return sentence(f"{asked} {'are' if things[0].plural else 'is'} {things[0].text}")


def how_many(before: Before) -> str:
    """ "How many are there?" with its noun; "" where that isn't certain."""
    things, _ = known_from(before)
    nouns = {singular_of(mention.noun) for mention in things}
    return f"How many {plural_of(nouns.pop())} are there?" if len(nouns) == 1 else ""


def instead(rest: str, before: Before) -> str:
    """The question before about something else: "and the cat?"; "" where it isn't certain what gives way."""
    words = words_of(before.question)
    new = words_of(rest)
    if one := ONE.fullmatch(rest):
        things, _ = known_from(before)
        if len(things) != 1 or not one["kind"] or one["kind"].casefold() in ("other", "only"):
            return ""
        new = ["the", one["kind"], singular_of(things[0].noun)]
    if new[0].casefold() in POSSESSIVES:  # "and its eyes?": of a thing; what it does says nothing of its parts
        owner = certain(PRONOUNS[new[0].casefold()], before)
        if owner is None or len(new) < 2 or words[0].casefold() in YES_NO_STARTS or words[-1].endswith("ing"):
            return ""
        new = [*in_place_of(new, 0, owner).split(), *new[1:]]
    preposition = new[0].casefold() if preposition_before(new, 1) else ""
    phrase = new[1:] if preposition else new
    named = mentions_of(" ".join(phrase))
    whole = len(named) == 1 and (named[0].first, named[0].end) == (0, len(phrase))
    if not whole and not (len(phrase) == 1 and is_noun(phrase[0].casefold())):
        return ""
    lowered = [word.casefold() for word in words]
    counted = counted_noun(lowered)
    if counted and not preposition:
        nouns = phrase[1:] if phrase[0].casefold() in DETERMINERS else phrase
        noun = [*nouns[:-1], plural_of(singular_of(nouns[-1].casefold()))]
        return sentence(" ".join((*words[: counted.first], *noun, *words[counted.end :])))
    found = [mention for mention in mentions_of(before.question) if preposition or not is_the_photo(mention)]
    at_place = [mention for mention in found if mention.preposition]
    if preposition:
        if len(at_place) != 1:
            return ""
        old = at_place[0]
        length = len(old.preposition.split())
        return sentence(" ".join((*words[: old.first - length], *new, *words[old.end :])))
    person = singular_of(phrase[-1].casefold()) in PEOPLE
    fitting = [mention for mention in found if not mention.preposition]
    if len(fitting) > 1:
        fitting = [mention for mention in fitting if mention.person == person]
    if len(fitting) != 1 or at_place:
        return ""
    return replaced(words, fitting[0], phrase)


def replaced(words: list[str], old: Mention, phrase: list[str]) -> str:
    """A question with another noun phrase in place of one of its own, its verb in the number of the new one."""
    new = [*words[: old.first], *phrase, *words[old.end :]]
    plural = is_plural(phrase[-1].casefold())
    auxiliary = old.first - 1 if old.first else 0
    if new[auxiliary].casefold() == "there":
        auxiliary -= 1
    if plural != old.plural and 0 <= auxiliary < old.first:
        number = {one: many for many, one in FOR_ONE.items()} if plural else FOR_ONE
        new[auxiliary] = number.get(new[auxiliary].casefold(), new[auxiliary])
    if phrase[0].casefold() not in DETERMINERS:
        new[old.first : old.first] = [] if plural else [words[old.first]]
    return sentence(" ".join(new))


def why(before: Before) -> str:
    """ "Why?" as a whole question; "" where it isn't certain of what."""
    words = words_of(before.question)
    lowered = [word.casefold() for word in words]
    if lowered[0] in YES_NO_STARTS and before.said == "yes":
        return sentence(" ".join(("why", lowered[0], *words[1:])))
    things = [mention for mention in mentions_of(before.question) if not mention.preposition]
    if lowered[0] in BE and before.said == "no" and things and things[0].first == 1 and things[0].end < len(words):
        return sentence(" ".join(("why", lowered[0], *words[1 : things[0].end], "not", *words[things[0].end :])))
    doing = lowered[:1] == ["what"] and lowered[-1] == "doing" and len(lowered) > 2 and lowered[1] in BE
    if doing and before.said.endswith("ing"):
        return sentence(" ".join(("why", *words[1:-1], before.said)))
    return ""


def sentence(text: str) -> str:
    """Words as a question: its first letter large, a question mark at its end."""
    return text[:1].upper() + text[1:] + "?"
