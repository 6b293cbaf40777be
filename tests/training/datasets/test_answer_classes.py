"""Which spellings are one answer, apart from the rules for scoring, and what is told of them."""

import pytest
from toy_data import write_rows

from training.datasets.answer_classes import answer_identity, answer_notes
from training.datasets.check_data import check_data
from training.datasets.questions import QuestionDataset, answer_index, build_answer_list
from training.datasets.readers.jsonl import Row

LOST_BY_THE_RULES = ["A", "B", "C", "D", "+", "-", "<5", "5", "C++", "N/A", "n", "-5", "A+", "A-"]
LOST_BY_THE_RULES += ["AB", "AB-", "> 5", "gate A", "gate", "1,2", "12", '12"', "18 +", "18", "6 - 2", "6 + 2"]
LOST_BY_THE_RULES += ["Cl-", "Cl"]


def test_answers_that_the_rules_merge_or_empty_are_classes_of_their_own():
    rows = [Row(None, "what?", (answer,)) for answer in LOST_BY_THE_RULES]
    answers = build_answer_list(rows, 100)
    assert sorted(answers) == sorted(answer.lower() for answer in LOST_BY_THE_RULES)
    index = answer_index(answers)
    assert [answers[index[answer_identity(text)]] for text in LOST_BY_THE_RULES] == [
        text.lower() for text in LOST_BY_THE_RULES
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Two", "2"),
        ("a dog", "dog"),
        ("t-shirt", "T shirt"),
        ("dont know", "don’t know."),
        ("black/white", "black white"),
        ("1,000", "1000"),
        ("(A)", "a"),
        ("yes -", "yes"),
    ],
)
def test_ordinary_spellings_stay_one_answer(first, second):
    assert answer_identity(first) == answer_identity(second)


def test_every_row_finds_its_answer(tiny_model):
    tiny_model.answers = ["c", "c++", "a", "+", "5"]
    rows = [Row(None, "what?", (answer,)) for answer in ("C++", "C", "A", "+", "<5")]
    assert QuestionDataset(rows, tiny_model, blind=True).targets == [[1], [0], [2], [3], []]


def test_what_is_merged_and_kept_is_told_with_counts():
    notes = answer_notes(["two", "2", "2", "C++", "c", "c", "A", "+", "+", "dog"])
    assert notes == [
        "1 spellings (1 answers) are merged with a commoner one: 'two' (1) with '2'",
        "1 groups of answers are classes of their own, but score as equal by the VQA rules: 'c' (2) = 'c++' (1)",
        "2 answers of which the VQA rules leave nothing are kept as written: '+' (2), 'a' (1)",
    ]
    assert answer_notes(["dog", "dog", "cat"]) == []


def test_the_data_check_tells_it(tmp_path, capsys):
    rows = [{"question": "which?", "answer": answer} for answer in ("A", "A", "C", "C++")]
    data = str(write_rows(tmp_path / "rows.jsonl", rows))
    assert check_data([data], photos=False) == 0
    first, scored, kept, last = capsys.readouterr().out.splitlines()
    assert first == f"{data}: 4 good rows" and last == "0 photos opened, 0 faults"
    assert scored.startswith(f"{data}: 1 groups of answers") and scored.endswith("'c' (1) = 'c++' (1)")
    assert kept.startswith(f"{data}: 1 answers of which") and kept.endswith("kept as written: 'a' (2)")
