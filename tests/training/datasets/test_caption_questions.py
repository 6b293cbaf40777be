"""Questions out of captions: what each pattern asks, what is left alone, and that usual answers are held back."""

import pytest

from training.datasets.caption_questions import caption_questions, questions_of
from training.datasets.generated_questions import PhotoTexts

pytestmark = pytest.mark.usefixtures("wordnet")


@pytest.mark.parametrize(
    ("caption", "made"),
    [
        ("A dog is running through the snow.", {("what is running through the snow?", "dog")}),
        ("Two dogs playing with a stick", {("how many dogs are playing with a stick?", "two")}),
        ("a man riding a horse", {("what is the man riding?", "horse")}),
        ("a cup of coffee sitting on top of a desk.", {("what is sitting on top of a desk?", "coffee")}),
        ("a bus parked on a street", {("what parked on a street?", "bus"), ("where is the bus parked?", "street")}),
        ("Some red flowers in a blue vase", {("what is the color of the vase?", "blue")}),
    ],
)
def test_what_a_caption_answers_is_asked(caption, made):
    asked = set(questions_of(caption))
    assert made <= asked, asked
    assert all(question.endswith("?") and question == question.lower() for question, _ in asked)


@pytest.mark.parametrize("caption", ["", "Girls dance.", "There is a bench.", "A man sleeping", "a a a a a", "two two"])
def test_where_no_pattern_fits_or_a_person_would_be_the_answer_nothing_is_asked(caption):
    assert questions_of(caption) == []


def test_answers_are_of_the_list_and_the_usual_ones_are_held_back():
    texts = {f"photo {number}": PhotoTexts(captions=("A dog running on a beach",)) for number in range(9)}
    texts["other"] = PhotoTexts(captions=("Two cats sitting on a couch", "A zebra standing on a hill"))
    rows = caption_questions(texts, ["dog", "2", "couch"], most_per_answer=4)
    answers = [answer for _, _, answer in rows]
    assert answers.count("dog") == 4 and {"2", "couch"} <= set(answers) <= {"dog", "2", "couch"}
    assert len({photo for photo, _, answer in rows if answer == "dog"}) == 4
    assert rows == caption_questions(texts, ["dog", "2", "couch"], most_per_answer=4)
