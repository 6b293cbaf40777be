"""Everyday nouns, their plurals, and whether they are people: what follow-up questions and suggestions can name."""

MEN = "man boy guy gentleman father dad son brother grandfather groom cowboy king husband fireman policeman fisherman"
WOMEN = "woman girl lady mother mom daughter sister grandmother bride waitress queen wife"
OF_ANY_GENDER = (
    "person child kid baby toddler teenager adult student teacher doctor nurse chef cook waiter driver rider skier "
    "surfer skateboarder snowboarder player batter pitcher catcher umpire cyclist bicyclist biker motorcyclist swimmer "
    "runner officer soldier astronaut photographer pedestrian passenger spectator worker farmer dancer couple crowd "
    "family team"
)
ANIMALS = (
    "dog cat horse cow sheep elephant zebra giraffe bear bird duck goat monkey seagull animal puppy kitten fish "
    "rabbit pig lion tiger goose chicken pigeon parrot owl raccoon deer swan bull calf lamb"
)
VEHICLES = (
    "car bus truck train motorcycle bicycle airplane boat scooter van canoe kayak sailboat helicopter tram bike plane "
    "jet ship taxi wagon carriage cart vehicle motorbike jeep locomotive tractor rocket"
)
FOOD = (
    "pizza sandwich cake salad soup donut doughnut hamburger burger food meal fruit vegetable banana apple orange "
    "broccoli carrot bread cheese egg meat rice pasta cookie pie tomato potato strawberry lemon onion drink coffee tea "
    "beer wine juice milk water hotdog steak cupcake pancake"
)
FURNITURE = (
    "bed couch sofa chair table bench desk toilet sink refrigerator fridge oven stove microwave bathtub cabinet shelf "
    "lamp curtain rug carpet counter drawer dresser mirror shower toaster pillow blanket"
)
CLOTHES = (
    "tie hat shirt jacket dress helmet suit coat cap skirt vest sweater shoe boot sock glove scarf uniform belt "
    "sunglasses glasses goggles pants jeans shorts clothes watch necklace ring collar"
)
THINGS = (
    "umbrella surfboard skateboard snowboard kite frisbee suitcase backpack purse bag laptop computer keyboard mouse "
    "phone cellphone television tv clock vase bottle cup mug saucer bowl plate fork knife spoon book sign flag flower "
    "ball bat racket hydrant guitar teddy toy box basket candle camera screen remote scissors toothbrush balloon "
    "ladder rope pole pot pan glass newspaper picture painting poster window door wall floor ceiling roof light "
    "ski paddle oar net wheel tire parachute trophy object thing item leaf board letter number word sticker logo"
)
BODY = "eye ear nose mouth face hair head hand arm leg foot tail wing beard tongue tooth paw finger neck"
PLACES = (
    "building house tower bridge tent fence tree grass bush plant road street sidewalk field beach ocean sea lake "
    "river pool sky cloud sun moon mountain hill snow sand rock forest park garden yard farm city town room kitchen "
    "bathroom bedroom office restaurant store shop market station airport church school court track slope wave path "
    "stairs staircase porch balcony background foreground ground shore dock pier zoo stadium playground barn"
)
PEOPLE = frozenset(f"{MEN} {WOMEN} {OF_ANY_GENDER}".split())
NOUNS = PEOPLE.union(*(group.split() for group in (ANIMALS, VEHICLES, FOOD, FURNITURE, CLOTHES, THINGS, BODY, PLACES)))
ALWAYS_PLURAL = frozenset("sunglasses glasses goggles pants jeans shorts clothes scissors stairs".split())
IRREGULAR = {
    "man": "men",
    "woman": "women",
    "person": "people",
    "child": "children",
    "gentleman": "gentlemen",
    "policeman": "policemen",
    "fireman": "firemen",
    "fisherman": "fishermen",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "mouse": "mice",
    "knife": "knives",
    "leaf": "leaves",
    "shelf": "shelves",
    "calf": "calves",
    "wife": "wives",
    "sheep": "sheep",
    "fish": "fish",
    "deer": "deer",
}
SINGULAR_OF = {plural: noun for noun, plural in IRREGULAR.items()}


def plural_of(noun: str) -> str:
    """The plural of a noun in the singular."""
    if noun in ALWAYS_PLURAL:
        return noun
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith(("s", "x", "z", "ch", "sh", "tomato", "potato")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def singular_of(word: str) -> str:
    """The singular of a noun, by the list where it stands there; itself where it is one already."""
    return _of_the_list(word) or (word[:-1] if is_plural(word) else word)


def _of_the_list(word: str) -> str:
    """The noun of the list that a word is or is the plural of; "" for none."""
    if word in NOUNS or word in SINGULAR_OF:
        return SINGULAR_OF.get(word, word)
    endings = (("ies", "y"), ("es", ""), ("s", ""))
    guesses = [word[: -len(end)] + instead for end, instead in endings if word.endswith(end)]
    return next((guess for guess in guesses if guess in NOUNS), "")


def is_plural(word: str) -> bool:
    """Whether a noun is a plural."""
    if word in ALWAYS_PLURAL or word in SINGULAR_OF:
        return True
    if word in NOUNS:
        return False
    return bool(_of_the_list(word)) or (word.endswith("s") and not word.endswith(("ss", "us", "is")))


def is_noun(word: str) -> bool:
    """Whether a word is a noun of the list, or the plural of one."""
    return bool(_of_the_list(word))
