"""Generated yes/no questions: balanced, about the right photo, never denying what was mentioned."""

from pathlib import Path

from training.datasets.generated import MIN_NOUN_COUNT, generate_yes_no_questions, object_nouns
from training.datasets.jsonl import Row

BUS, CAT = Path("bus.jpg"), Path("cat.jpg")
FILLER = [
    Row(Path(f"{noun}{index}.jpg"), "what is shown ?", (noun,), source="coco_qa")
    for noun in ("train", "cat", "kites")
    for index in range(MIN_NOUN_COUNT)
]


def about(photo: Path, rows: list[Row]) -> list[tuple[str, str]]:
    return [(row.question, row.answers[0]) for row in generate_yes_no_questions(rows, seed=0) if row.image == photo]


def test_a_color_question_becomes_a_right_and_a_wrong_color():
    rows = [
        Row(BUS, "What color is the double decker bus?", ("Red",)),
        Row(CAT, "what is the color of the eyes ?", ("green",), source="coco_qa"),
    ]
    assert about(BUS, rows) == [("Is the double decker bus red?", "yes"), ("Is the double decker bus green?", "no")]
    assert about(CAT, rows) == [("Are the eyes green?", "yes"), ("Are the eyes red?", "no")]


def test_an_object_is_affirmed_and_one_that_nobody_mentioned_denied():
    rows = [*FILLER, Row(CAT, "what sits beside the train ?", ("cat",), source="coco_qa")]
    questions = about(CAT, rows)
    affirmed = " ".join(question for question, answer in questions if answer == "yes")
    denied = " ".join(question for question, answer in questions if answer == "no")
    assert "a cat" in affirmed and "a train" in affirmed
    assert "kites" in denied and "cat" not in denied and "train" not in denied


def test_yes_and_no_are_balanced_and_alternate():
    answers = [row.answers[0] for row in generate_yes_no_questions(FILLER, seed=0)]
    assert answers == ["yes", "no"] * (len(answers) // 2) and answers


def test_the_same_seed_gives_the_same_questions():
    assert generate_yes_no_questions(FILLER, 1) == generate_yes_no_questions(FILLER, 1)
    assert generate_yes_no_questions(FILLER, 1) != generate_yes_no_questions(FILLER, 2)


def test_other_questions_give_nothing():
    rows = [
        Row(BUS, "What color is the bus?", ("red and white",)),
        Row(BUS, "What colors are there?", ("red",)),
        Row(BUS, "Is the bus red?", ("yes",)),
    ]
    assert generate_yes_no_questions(rows, 0) == []


def test_rare_common_and_colored_words_are_no_objects():
    rows = [
        Row(BUS, "what is shown ?", (word,), source="coco_qa")
        for word in ["man", "red", "two dogs"] * MIN_NOUN_COUNT + ["zebra"]
    ]
    assert not object_nouns(rows)
