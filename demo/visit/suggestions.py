"""Questions that fit a photo, made from the concepts that the model finds in it; general ones where it knows none."""

from demo.visit.asking import GENERAL_QUESTIONS
from demo.visit.nouns import ANIMALS, FURNITURE, MEN, VEHICLES, WOMEN
from valm_core.outputs import EncodedImage, Predictor

SUREST = 40  # concepts that are looked at; what comes later is hardly ever on a photo
# Score from which a concept is named. Of 93 concepts named so for 106 validation photos with five captions and tags, 88
# stood in those: 95 %, in 68 of the photos. At 0.5 it would be 87 %, at 0.9 96 % in 38 photos.
SURE = 0.7
MAX_NAMED = 3  # concepts in the four questions
TOO_WIDE = ("animal", "vehicle")  # found on photos that show none, and nobody asks so
THINGS = (
    "umbrella surfboard skateboard snowboard kite frisbee suitcase backpack purse laptop keyboard phone television "
    "clock vase bottle cup bowl plate book sign flower ball racket hydrant guitar teddy building house tower bridge "
    "tent fence flag tree"
)
ATHLETES = "skier surfer skateboarder snowboarder player cyclist motorcyclist child baby"
DOING, WEARING = "What is the {word} doing?", "What is the {word} wearing?"
COLOR, WHERE, ON_IT = "What color is the {word}?", "Where is the {word}?", "What is on the {word}?"
# Of each kind of concepts: what can be asked, and how many of them a photo's questions name. Of people, animals and
# food only the surest one: a model that sees a man often sees a boy in him too. Concepts of no kind ("object", "good")
# are never named.
KINDS = {
    f"{MEN} {WOMEN} {ATHLETES}": ((DOING, WEARING), 1),
    ANIMALS: ((DOING, COLOR), 1),
    VEHICLES: ((COLOR, WHERE), 1),
    "pizza sandwich cake salad soup donut burger": ((ON_IT, WHERE), 1),
    f"{FURNITURE} {THINGS} tie hat shirt jacket dress helmet suit": ((COLOR, WHERE), 2),
    "bathroom kitchen bedroom room": (("What room is this?", "What color is the wall?"), 1),
}


def named_concepts(concepts: tuple[tuple[str, float], ...]) -> list[tuple[str, tuple[str, ...]]]:
    """The concepts that questions can name and that are surely there, the surest first, each with its questions.

    Args:
        concepts: names and scores, the surest first, see ``Predictor.concepts``.
    """
    named: list[tuple[str, tuple[str, ...]]] = []
    counts = dict.fromkeys(KINDS, 0)
    for word, score in concepts:
        kind = next((kind for kind in KINDS if word in kind.split()), None)
        if kind is None or score < SURE or word in TOO_WIDE:
            continue
        templates, most = KINDS[kind]
        if counts[kind] < most:
            counts[kind] += 1
            named.append((word, tuple(template.format(word=word) for template in templates)))
    return named[:MAX_NAMED]


def concepts_of(predictor: Predictor, image: EncodedImage) -> tuple[tuple[str, float], ...]:
    """What a predictor finds in a photo; nothing where it knows no concepts."""
    return predictor.concepts(image, SUREST) if "concepts" in predictor.offers else ()


def questions_for(concepts: tuple[tuple[str, float], ...]) -> tuple[str, ...]:
    """Four questions for a photo: about what is surely on it, one more about the surest of it, then general ones."""
    named = [questions for _, questions in named_concepts(concepts)]
    first = [questions[0] for questions in named]
    second = [question for questions in named for question in questions[1:]]
    general = [*GENERAL_QUESTIONS[1:], GENERAL_QUESTIONS[0]] if named else [*GENERAL_QUESTIONS]
    wanted = len(GENERAL_QUESTIONS)
    # One more about the surest thing, and one that fits any photo, so that not all are of one kind.
    ordered = [*first, *second[:1], *general]
    return tuple(dict.fromkeys(ordered))[:wanted]
