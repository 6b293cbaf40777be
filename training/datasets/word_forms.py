"""Words of captions and questions: their base forms, function words, and what WordNet says of nouns."""

import functools
import re

FUNCTION_WORDS = frozenset(
    """
    a an the this that these those there here it its he she they them him her his their we you your i my our us me
    is are was were be been being am do does did doing done has have had having can could would should will shall
    may might must what which who whom whose where when why how many much any some all both each every no not nor
    and or but if then than so too very just also only other another such same own in on at of to for from with by
    about into onto over under between through during before after above below up down out off near next beside
    behind front around as while one's s t d ll re ve don isn aren doesn shown seen see picture photo image scene
    show shows kind type sort look looks looking like get got going go make made thing things something someone
    anyone anything
    """.split()
)
IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "person",
    "feet": "foot",
    "teeth": "tooth",
    "mice": "mouse",
    "geese": "goose",
    "knives": "knife",
    "leaves": "leaf",
    "shelves": "shelf",
    "loaves": "loaf",
    "wolves": "wolf",
    "scarves": "scarf",
    "calves": "calf",
    "lives": "life",
    "wives": "wife",
    "buses": "bus",
    "glasses": "glasses",
    "pants": "pants",
    "jeans": "jeans",
    "shorts": "shorts",
    "scissors": "scissors",
    "skis": "ski",
    "sheep": "sheep",
    "grey": "gray",
    "tennis": "tennis",
    "grass": "grass",
    "canvas": "canvas",
}
WORD = re.compile(r"[a-z]+")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without digits and punctuation."""
    return WORD.findall(text.lower())


@functools.cache
def base_form(word: str) -> str:
    """A word without its plural ending ("dogs" -> "dog"), by rules; good for counting, no linguistics."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    if len(word) > 4 and word.endswith("oes"):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def content_words(text: str) -> list[str]:
    """The base forms of a text's words that aren't function words, in their order."""
    return [base_form(word) for word in words_of(text) if word not in FUNCTION_WORDS]
