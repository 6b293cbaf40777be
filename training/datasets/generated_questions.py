"""Questions made from captions, tags and answers: presence and absence, colors, and words to fill in.

Presence questions are balanced by noun: each noun is as often there as not, so that neither the noun nor the wording
tells the answer; the absent ones are drawn among what is often seen beside what the photo shows (as POPE's adversarial
choice, Li et al. 2023, https://arxiv.org/abs/2305.10355).
"""

import functools
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from training.datasets.word_forms import FUNCTION_WORDS, base_form, content_words, words_of

COLORS = ("white", "black", "red", "blue", "green", "brown", "yellow", "gray", "orange", "pink", "purple", "tan")
NUMBERS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}
# WordNet's files of what a photo can show, by number: tops, animal, artifact, food, object, person, plant.
THINGS = (3, 5, 6, 13, 17, 18, 20)
NOT_THINGS = frozenset(
    """
    back front top side bottom middle center part end line piece number letter word name color background foreground
    view area group couple pair bunch lot row set stand play display use day night time place state city corner edge
    inside outside kind type body photo photograph image picture scene shot close lay turn light position floor
    block drive run fly ride jump walk stop cover open white black red blue green brown yellow gray orange pink
    purple tan blonde wooden metal plastic glass stone brick double single right left large small various several
    different many young old adult male female kid toddler baby something pose
    """.split()
)
PRESENCE = (
    "Is there {a} {noun} in the image?",
    "Is there {a} {noun} in the picture?",
    "Is there {a} {noun}?",
    "Is there {a} {noun} in this photo?",
    "Do you see {a} {noun}?",
    "Can you see {a} {noun} in the picture?",
    "Does the photo show {a} {noun}?",
    "Is {a} {noun} visible?",
    "Are there any {nouns}?",
    "Are there any {nouns} in the picture?",
    "Are there {nouns} in the image?",
    "Do you see any {nouns}?",
)
MIN_PHOTOS = 12  # of a noun to ask for


@dataclass(frozen=True)
class PhotoTexts:
    """What is known of one photo in words.

    Args:
        captions: sentences about it.
        tags: names of what it shows.
        answers: answers to open questions about it.
        questions: the questions asked about it.
    """

    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()

    @functools.cached_property
    def shown(self) -> frozenset[str]:
        """Base forms of what captions, tags and answers say it shows."""
        texts = (*self.captions, *self.tags, *self.answers)
        return frozenset(word for text in texts for word in content_words(text))

    @functools.cached_property
    def mentioned(self) -> frozenset[str]:
        """``shown`` and whatever the questions mention, which may be there or not."""
        return self.shown | {word for text in self.questions for word in content_words(text)}


@functools.cache
def noun_ancestors(noun: str) -> frozenset[str]:
    """What a thing is by WordNet, itself included: {"dog", "animal", ...}; empty for a word that is no thing."""
    from training.metrics.wups import read_wordnet

    senses = read_wordnet().synsets(noun, pos="n")
    if not senses or int(senses[0].lexname().removeprefix("topic")) not in THINGS:
        return frozenset()
    above = {name.lower() for sense in senses[0].closure(lambda one: one.hypernyms()) for name in sense.lemma_names()}
    return frozenset(above | {noun})


def nouns_to_ask(texts: Mapping[str, PhotoTexts], captions: Collection[str]) -> list[str]:
    """The nouns that presence questions are made of: things, used as nouns, on at least ``MIN_PHOTOS`` photos.

    Args:
        texts: by photo.
        captions: further sentences, to tell nouns by the words after them.
    """
    photos = Counter(word for one in texts.values() for word in one.shown)
    used: Counter[tuple[str, bool]] = Counter()  # whether no further noun or adjective follows: used as a noun
    for caption in captions:
        words = [base_form(word) for word in words_of(caption)]
        for word, after in itertools.zip_longest(words, words[1:], fillvalue="the"):
            used[word, after in FUNCTION_WORDS or after.endswith("ing")] += 1

    def is_asked(word: str) -> bool:
        as_noun = used[word, True] / max(used[word, True] + used[word, False], 1)
        return word not in NOT_THINGS and len(word) > 2 and as_noun > 0.5 and bool(noun_ancestors(word))

    return sorted(word for word, count in photos.items() if count >= MIN_PHOTOS and is_asked(word))


def presence_questions(
    texts: Mapping[str, PhotoTexts], captions: Collection[str], seed: int = 0, most_per_noun: int = 1500
) -> list[tuple[str, str, str]]:
    """(photo, question, "yes" or "no"), each noun as often one as the other, in the same wordings.

    Args:
        texts: by photo; those with captions or tags are asked about what isn't there.
        captions: as for ``nouns_to_ask``; they also say how a noun is counted.
        seed: of what is drawn.
        most_per_noun: pairs at most.
    """
    chance = random.Random(seed)
    nouns = nouns_to_ask(texts, captions)
    known = set(nouns)
    counted = _counted(captions, known)
    shown = {photo: _with_ancestors(one.shown & known) & known for photo, one in texts.items()}
    photos_of = defaultdict(list)
    together: dict[str, Counter[str]] = defaultdict(Counter)
    for photo, words in shown.items():
        for word in words:
            photos_of[word].append(photo)
            together[word].update(words)
    described = sorted(photo for photo, one in texts.items() if one.captions or one.tags)
    rows = []
    for noun in nouns:
        present = photos_of[noun][:]
        chance.shuffle(present)
        present = present[:most_per_noun]
        drawn = chance.sample(described, min(len(described), 8 * len(present) + 50))
        absent = []
        for photo in _without(noun, drawn, texts, shown):
            likeness = max((together[word][noun] / len(photos_of[word]) for word in shown[photo]), default=0.0)
            absent.append((likeness, photo))
        absent.sort(reverse=True)
        half = len(present) // 2  # those likeliest to show it, as POPE's adversarial choice; the others by chance
        asked, rest = absent[:half], absent[half:]
        asked += chance.sample(rest, min(len(present) - half, len(rest)))
        pairs = min(len(present), len(asked))
        for photo, (_, other) in zip(present[:pairs], chance.sample(asked, pairs), strict=True):
            wording = _worded(noun, chance.choice(PRESENCE), counted[noun])
            rows += [(photo, wording, "yes"), (other, wording, "no")]
    return rows


def color_questions(texts: Mapping[str, PhotoTexts], seed: int = 0) -> list[tuple[str, str, str]]:
    """(photo, question, answer) out of "a red bus": its color, and whether it has that color or another, in pairs.

    Things that a photo's captions give several colors are left out.
    """
    chance = random.Random(seed)
    found = [(photo, *pair) for photo, one in texts.items() for pair in _colored_things(one.captions)]
    common: dict[str, Counter[str]] = defaultdict(Counter)
    for _, noun, color in found:
        common[base_form(noun)][color] += 1
    rows = []
    for photo, noun, color in found:
        verb = "are" if base_form(noun) != noun else "is"
        rows.append((photo, f"What color {verb} the {noun}?", color))
        others = [other for other in COLORS if other != color]
        weights = [common[base_form(noun)][other] + 0.5 for other in others]
        wrong = chance.choices(others, weights)[0]
        rows += [
            (photo, f"{verb.capitalize()} the {noun} {color}?", "yes"),
            (photo, f"{verb.capitalize()} the {noun} {wrong}?", "no"),
        ]
    return rows


def fill_in_questions(
    texts: Mapping[str, PhotoTexts], answers: Collection[str], most_per_caption: int = 3, seed: int = 0
) -> list[tuple[str, str, str]]:
    """(photo, caption with one word as [MASK], that word), for words of the answer list."""
    chance, known, rows = random.Random(seed), set(answers), []
    for photo, one in texts.items():
        for caption in one.captions:
            words = caption.split()
            places = []
            for place, word in enumerate(words):
                bare = word.strip(".,;:!?\"'()").lower()
                answer = NUMBERS.get(bare, bare)
                if bare not in FUNCTION_WORDS and (answer in known or base_form(answer) in known):
                    places.append((place, answer if answer in known else base_form(answer)))
            for place, answer in chance.sample(places, min(most_per_caption, len(places))):
                rows.append((photo, " ".join([*words[:place], "[MASK]", *words[place + 1 :]]), answer))
    return rows


def _without(
    noun: str, photos: Collection[str], texts: Mapping[str, PhotoTexts], shown: Mapping[str, Collection[str]]
) -> list[str]:
    """Those photos of which nothing says that the noun, a kind of it or what it is a kind of may be there."""
    related = noun_ancestors(noun)
    return [
        photo
        for photo in photos
        if noun not in shown[photo]
        and noun not in texts[photo].mentioned
        and not any(_same_kind(word, noun, related) for word in texts[photo].mentioned)
    ]


def _colored_things(captions: Collection[str]) -> list[tuple[str, str]]:
    """(thing, color) of every color that stands before a thing, for things of one color."""
    pairs = dict.fromkeys(pair for caption in captions for pair in color_pairs(words_of(caption)))  # in their order
    times = Counter(noun for noun, _ in pairs)
    return [pair for pair in pairs if times[pair[0]] == 1]


def color_pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """(thing, color) of every color among words that stands before a thing, in their order."""
    return [
        (noun, base_form(color))
        for color, noun in itertools.pairwise(words)
        if base_form(color) in COLORS and is_thing(noun)
    ]


def is_thing(word: str) -> bool:
    """Whether a word, in singular or plural, names something that a photo can show."""
    if word in FUNCTION_WORDS or word in COLORS or base_form(word) in NOT_THINGS:
        return False
    return bool(noun_ancestors(base_form(word)))


def _with_ancestors(words: Collection[str]) -> set[str]:
    return {above for word in words for above in noun_ancestors(word)}


def _same_kind(word: str, noun: str, ancestors: frozenset[str]) -> bool:
    """Whether one of two things is a kind of the other, so that a photo of the one may show the other."""
    return word in ancestors or noun in noun_ancestors(word)


def _counted(captions: Collection[str], nouns: Collection[str]) -> dict[str, bool]:
    """Whether a noun is counted ("a dog", "two dogs") or not ("grass")."""
    single: Counter[str] = Counter()
    plain: Counter[str] = Counter()
    for caption in captions:
        words = words_of(caption)
        for before, word in itertools.pairwise(words):
            if word in nouns:
                plain[word] += 1
                single[word] += before in ("a", "an", "one", "another")
            elif base_form(word) in nouns:
                plain[base_form(word)] += 1
                single[base_form(word)] += 1
    return {noun: single[noun] >= 0.12 * plain[noun] for noun in nouns}


def _worded(noun: str, wording: str, counted: bool) -> str:
    if not counted or base_form(noun + "s") != noun:
        return wording.format(a="any", noun=noun, nouns=noun)
    article = "an" if noun[0] in "aeio" or noun in ("umbrella", "utensil") else "a"
    ending = "es" if noun.endswith(("ch", "sh", "ss", "x", "z", "s")) else "s"
    plural = noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + ending
    plural = {"man": "men", "woman": "women", "child": "children", "person": "people", "knife": "knives"}.get(
        noun, plural
    )
    return wording.format(a=article, noun=noun, nouns=plural)
