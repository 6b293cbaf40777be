"""Sixty dialogues and more: what a follow-up is taken to ask, what must stay as typed, and what is told as unclear."""

from pathlib import Path

import pytest

from demo.visit import asking
from demo.visit.antecedents import Before
from demo.visit.description import is_command, wants_description
from demo.visit.examples import read_examples
from demo.visit.follow_up import understand
from demo.visit.mentions import mentions_of
from demo.visit.nouns import NOUNS, PEOPLE, is_plural, plural_of, singular_of

EXAMPLES = Path(__file__).parents[3] / "assets" / "examples"

# The question before, its answer and how likely that was; what is typed; what must be asked.
REWRITTEN = [
    ("What color is the dog?", "brown", 0.8, "What is it doing?", "What is the dog doing?"),
    ("Is there a dog?", "yes", 0.9, "What color is it?", "What color is the dog?"),
    ("What is the man doing?", "surfing", 0.7, "What is he wearing?", "What is the man wearing?"),
    ("What is the woman holding?", "umbrella", 0.7, "What color is it?", "What color is the umbrella?"),
    ("What is the woman holding?", "umbrella", 0.7, "Is she smiling?", "Is the woman smiling?"),
    ("What is the woman holding?", "umbrella", 0.7, "What color is her hair?", "What color is the woman's hair?"),
    ("How many dogs are there?", "2", 0.6, "What are they doing?", "What are the dogs doing?"),
    ("How many dogs are there?", "2", 0.6, "Are any of them asleep?", "Are any of the dogs asleep?"),
    ("How many dogs are there?", "1", 0.6, "What color is it?", "What color is the dog?"),
    ("How many people are there?", "3", 0.6, "Where are they?", "Where are the people?"),
    ("How many people are there?", "5", 0.12, "What are they doing?", "What are the people doing?"),
    ("Are there any birds?", "yes", 0.8, "How many are there?", "How many birds are there?"),
    ("Are there any birds?", "yes", 0.8, "How many?", "How many birds are there?"),
    ("What animal is this?", "cat", 0.9, "What is it looking at?", "What is the animal looking at?"),
    ("What kind of bird is this?", "parrot", 0.3, "What color is it?", "What color is the bird?"),
    ("What color is the red double decker bus?", "red", 0.9, "Where is it?", "Where is the red double decker bus?"),
    ("What color is the cat on the couch?", "black", 0.9, "Is it asleep?", "Is the cat asleep?"),
    ("What color is the dog?", "brown", 0.4, "And the cat?", "What color is the cat?"),
    ("What color is the dog?", "brown", 0.4, "and the cats?", "What color are the cats?"),
    ("What color is the dog?", "brown", 0.4, "what about the man's shirt?", "What color is the man's shirt?"),
    ("Is there a dog?", "no", 0.9, "And a cat?", "Is there a cat?"),
    ("How many dogs are there?", "2", 0.6, "And cats?", "How many cats are there?"),
    ("How many dogs are there?", "0", 0.6, "how about the people?", "How many people are there?"),
    ("What is the man wearing?", "suit", 0.6, "What about the woman?", "What is the woman wearing?"),
    ("Is the man holding a frisbee?", "no", 0.7, "and the woman?", "Is the woman holding a frisbee?"),
    ("Is the man holding a frisbee?", "yes", 0.7, "What color is it?", "What color is the frisbee?"),
    ("What is on the table?", "laptop", 0.6, "And on the chair?", "What is on the chair?"),
    ("What is on the table?", "laptop", 0.6, "What color is it?", "What color is the laptop?"),
    ("What is on the table?", "laptop", 0.6, "Is anyone sitting there?", "Is anyone sitting on the table?"),
    ("Where is the dog?", "on couch", 0.6, "Who is sitting there?", "Who is sitting on the couch?"),
    ("Is the man smiling?", "yes", 0.8, "Why?", "Why is the man smiling?"),
    ("Is the man smiling?", "no", 0.8, "Why not?", "Why is the man not smiling?"),
    ("What is the dog doing?", "sleeping", 0.7, "why?", "Why is the dog sleeping?"),
    ("What color is the car?", "red", 0.8, "How big is that one?", "How big is the car?"),
    ("What color is the car?", "red", 0.8, "What about the left one?", "What color is the left car?"),
    ("How many cars are there?", "2", 0.8, "Where is the red one?", "Where is the red car?"),
    ("What is the color of the bus?", "red", 0.8, "Is it moving?", "Is the bus moving?"),
    ("What is the person doing?", "skiing", 0.8, "What are they wearing?", "What is the person wearing?"),
    ("What is the man riding?", "horse", 0.8, "Is he holding it?", "Is the man holding the horse?"),
    ("What color is the dog?", "brown", 0.8, "What color are its eyes?", "What color are the dog's eyes?"),
    ("What color is the dog?", "brown", 0.8, "And its eyes?", "What color are the dog's eyes?"),
    ("What color is the man?", "brown", 0.8, "What about his shirt?", "What color is the man's shirt?"),
    ("What color is the gazebo?", "white", 0.8, "Is it open?", "Is the gazebo open?"),
    ("What color is the cat's nose?", "pink", 0.8, "And its eyes?", "What color are the cat's eyes?"),
    ("What color is the cat's nose?", "pink", 0.8, "Is it small?", "Is the cat's nose small?"),
    ("What color is the dog?", "brown", 0.8, "and now the cat", "What color is the cat?"),
    ("What color is the dog?", "brown", 0.8, "ok and the cat", "What color is the cat?"),
    ("What color is the dog?", "brown", 0.8, "the cat?", "What color is the cat?"),
    ("What color is the dog?", "brown", 0.8, "And where?", "Where is the dog?"),
    ("Are there any dogs?", "yes", 0.8, "what color?", "What color are the dogs?"),
    ("Are the people smiling?", "yes", 0.6, "Why are they?", "Why are the people smiling?"),
    ("Does the cat have a collar?", "no", 0.8, "Is it asleep?", "Is the cat asleep?"),
    ("What is the astronaut wearing?", "suit", 0.8, "What color is it?", "What color is the suit?"),
]

# Nothing may be rewritten, and nothing is said about it either. None: the first question about a photo.
AS_TYPED = [
    (None, "What color is it?"),
    (None, "How many of them are there?"),
    (None, "And the dog?"),
    (None, "Why?"),
    (("What color is the dog?", "brown", 0.8), "Is it raining?"),
    (("What color is the dog?", "brown", 0.8), "Is it day or night?"),
    (("What color is the dog?", "brown", 0.8), "Is it a sunny day?"),
    (("What color is the dog?", "brown", 0.8), "Is it going to rain?"),
    (("What color is the dog?", "brown", 0.8), "Does it look cold outside?"),
    (("What color is the dog?", "brown", 0.8), "What time is it?"),
    (("What color is the dog?", "brown", 0.8), "What season is it?"),
    (("What color is the dog?", "brown", 0.8), "What is the weather like, is it cold?"),
    (("What color is the dog?", "brown", 0.8), "Is there a dog?"),
    (("What color is the dog?", "brown", 0.8), "Are there any people there?"),
    (("What color is the dog?", "brown", 0.8), "How many people are there?"),
    (("What is on the table?", "laptop", 0.8), "What else is there?"),
    (("What color is the dog?", "brown", 0.8), "Is the cat licking its paw?"),
    (("What color is the dog?", "brown", 0.8), "Is the man wearing his hat?"),
    (("What color is the dog?", "brown", 0.8), "Why is the man smiling?"),
    (("What color is the dog?", "brown", 0.8), "What is this?"),
    (("What color is the dog?", "brown", 0.8), "Is that a cat?"),
    (("What color is the dog?", "brown", 0.8), "What animal is this?"),
    (("What color is the dog?", "brown", 0.8), "And what is the man doing?"),
    (("What color is the dog?", "brown", 0.8), "Do the boats have sails on them?"),
    (("What color is the dog?", "brown", 0.8), "它在做什么?"),
    (("What color is the dog?", "brown", 0.8), "Which one is the biggest?"),
    (("What color is the dog?", "brown", 0.8), "What is the man with the hat doing?"),
    (("What color is the dog?", "brown", 0.8), "Are both cats asleep?"),
    (("What is the weather like?", "sunny", 0.8), "Is it warm?"),
    (("What color is the dog?", "brown", 0.8), "Is the cup on the table?"),
    (("What color is the dog?", "brown", 0.8), "The man is doing what?"),
]

# Something refers back, and no noun is certain: asked as typed, and the visitor is told for which word.
UNCLEAR = [
    ("Is there a dog?", "no", 0.9, "What color is it?", "it"),
    ("Is there a dog?", "yes", 0.4, "What color is it?", "it"),
    ("How many dogs are there?", "0", 0.9, "What are they doing?", "they"),
    ("How many dogs are there?", "2", 0.9, "What color is it?", "it"),
    ("Is the cat next to the dog?", "yes", 0.9, "What color is it?", "it"),
    ("Is the dog wearing a collar?", "yes", 0.9, "What color is it?", "it"),
    ("What is on the table?", "laptop", 0.2, "What color is it?", "it"),
    ("What is the man doing?", "surfing", 0.9, "What color is it?", "it"),
    ("What is the man doing?", "surfing", 0.9, "What is she wearing?", "she"),
    ("What color is the dog?", "brown", 0.9, "What are they doing?", "they"),
    ("What color is the dog?", "brown", 0.9, "Why?", "Why"),
    ("Is the cat sleeping?", "yes", 0.9, "And its eyes?", "And its eyes"),
    ("What is the man doing?", "surfing", 0.9, "And his dog?", "And his dog"),
    ("Is it raining?", "no", 0.9, "And the dog?", "And the dog"),
    ("Is the man smiling?", "no", 0.4, "Why not?", "Why not"),
    ("What color is the dog?", "brown", 0.9, "And blue?", "And blue"),
    ("What color is the dog?", "brown", 0.9, "What about him?", "What about him"),
    ("What color is the dog?", "brown", 0.9, "And on the table?", "And on the table"),
    ("What color is the dog on the couch?", "brown", 0.9, "And the cat?", "And the cat"),
    ("What color is the dog?", "brown", 0.9, "Is anyone sitting there?", "there"),
    ("What color is the dog?", "brown", 0.9, "What about the other one?", "What about the other one"),
    ("Is the man next to the bus?", "yes", 0.9, "Is he taller than her?", "her"),
    ("What is in the photo?", "cat", 0.3, "What is it doing?", "it"),
    ("What color is the dog?", "brown", 0.9, "Are you sure?", "Are you sure"),
    ("What color is the dog?", "brown", 0.9, "really?", "really"),
    ("What color is the dog?", "brown", 0.9, "what else?", "what else"),
    ("What color is the dog?", "brown", 0.9, "How do you know?", "How do you know"),
    ("How many cats are there?", "2", 0.9, "Are both asleep?", "both"),
    ("What are the people eating?", "pizza", 0.9, "Is it hot?", "it"),
    ("What color is the cat?", "orange", 0.9, "Is it outside?", "it"),
    ("Is the woman holding an umbrella?", "no", 0.9, "What color is it?", "it"),
    ("Is the woman holding an umbrella?", "yes", 0.4, "What color is it?", "it"),
    ("What color is the cat?", "orange", 0.9, "where is she?", "she"),
]


def after(question: str, answer: str, probability: float) -> Before:
    return Before(question, answer, probability)


def test_there_are_enough_dialogues():
    assert len(REWRITTEN) + len(AS_TYPED) + len(UNCLEAR) >= 60 and len(AS_TYPED) + len(UNCLEAR) >= 20
    assert len({dialogue[:4] for dialogue in [*REWRITTEN, *UNCLEAR]}) == len(REWRITTEN) + len(UNCLEAR)


@pytest.mark.parametrize(("question", "answer", "probability", "typed", "asked"), REWRITTEN)
def test_a_follow_up_names_what_it_is_about(question, answer, probability, typed, asked):
    understood = understand(typed, after(question, answer, probability))
    assert (understood.asked, understood.unclear, understood.typed) == (asked, "", typed)
    again = understand(asked, after(question, answer, probability))
    assert not again.rewritten and not again.unclear  # what was completed is complete


@pytest.mark.parametrize(("before", "typed"), AS_TYPED)
def test_what_stands_for_itself_stays_as_typed(before, typed):
    understood = understand(typed, before and after(*before))
    assert (understood.asked, understood.unclear) == (typed, "")


@pytest.mark.parametrize(("question", "answer", "probability", "typed", "word"), UNCLEAR)
def test_what_is_not_certain_is_asked_as_typed_and_told(question, answer, probability, typed, word):
    understood = understand(typed, after(question, answer, probability))
    assert (understood.asked, understood.unclear) == (typed, word)


def test_offered_questions_are_never_rewritten():
    offered = [*asking.GENERAL_QUESTIONS]
    offered += [question for example in read_examples(EXAMPLES) for question in example.questions]
    for question, answer, probability, *_ in [*REWRITTEN, *UNCLEAR]:
        for text in offered:
            assert understand(text, after(question, answer, probability)).asked == text, (question, text)


def test_a_chain_of_follow_ups_keeps_its_noun():
    asked = "What color is the dog?"
    for typed, answer in (("Is it big?", "no"), ("Where is it?", "couch"), ("What is it doing?", "sleeping")):
        asked = understand(typed, after(asked, answer, 0.8)).asked
        assert "the dog" in asked
    assert understand("why?", after(asked, "sleeping", 0.8)).asked == "Why is the dog sleeping?"


@pytest.mark.parametrize(
    "rubbish",
    ["?", "...", "it", "it it it", "there", "and", "and ?", "what about", "the", "that one", "' it '", "a" * 300],
)
def test_whatever_is_typed_comes_through(rubbish):
    for question in ("What color is the dog?", "?", "the", "how many", "is there", "where", "à la carte?"):
        understood = understand(rubbish, after(question, "yes", 0.9))
        assert understood.typed == rubbish and understood.asked.strip()


@pytest.mark.parametrize(
    ("question", "phrases"),
    [
        ("Is the dog black?", ["the dog"]),
        ("Is the orange cat asleep?", ["the orange cat"]),
        ("Is an orange on the plate?", ["the orange", "the plate"]),
        ("What is the tall man in the red shirt holding?", ["the tall man", "the red shirt"]),
        ("Is the living room clean?", ["the living room"]),
        ("Is the quixotic wobbly thing zany?", ["the quixotic wobbly thing"]),
        ("Is the gazebo painted red?", ["the gazebo"]),
        ("Is the sleeping dog big?", ["the sleeping dog"]),
        ("Is the quaint painted house big?", []),
        ("Is the zany frob quux?", []),
    ],
)
def test_noun_phrases_end_where_the_noun_does(question, phrases):
    assert [mention.text for mention in mentions_of(question)] == phrases


def test_the_nouns_have_their_plurals():
    for noun in NOUNS - {"glass"}:  # its plural is a pair of glasses too
        assert singular_of(plural_of(noun)) == noun
        assert is_plural(plural_of(noun)) or plural_of(noun) == noun
    assert PEOPLE < NOUNS and not any(is_plural(noun) for noun in ("bus", "grass", "dress", "tennis"))


@pytest.mark.parametrize(
    "typed",
    [
        "Describe this picture",
        "please describe the photo in detail",
        "Can you describe what is happening?",
        "Tell me about this picture.",
        "tell me what you see",
        "Caption this.",
        "What do you see?",
        "What can you see in this image?",
        "what is in this photo?",
        "What's in the picture?",
        "What’s going on here?",
        "What is happening in this picture?",
        "What is this a picture of?",
        "What does this photo show?",
        "What is shown in the image?",
    ],
)
def test_the_wish_for_a_description_is_heard(typed):
    assert wants_description(typed)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "What is in the cup?",
        "What is the man doing?",
        "What do you see on the table?",
        "What picture is on the wall?",
        "What is shown on the screen?",
        "How would you describe the dog?",
        "What is happening to the man?",
        "What is this?",
    ],
)
def test_other_questions_are_no_wish_for_a_description(typed):
    assert not wants_description(typed)


def test_only_a_command_can_not_be_asked():
    assert is_command("Describe this picture.") and is_command("please tell me what you see")
    assert not is_command("What is in this photo?") and not is_command("What do you see?")
