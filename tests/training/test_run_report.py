"""What a run leaves for its reader: the table worked by hand, the curves, the report by answer."""

import json

import pytest
from PIL import Image

from training.datasets.readers.jsonl import Row
from training.run_report import COMMON_ANSWERS, answer_report, before_and_after, write_curves, write_run_report


def figures(accuracy: float, yes_no: float, number: float | None, error: float) -> dict:
    return {
        "questions": 4,
        "accuracy": accuracy,
        "by_type": {"yes/no": yes_no, "number": number},
        "by_source": {"mine": accuracy},
        "expected_calibration_error": error,
    }


BEFORE, AFTER = figures(0.25, 0.5, None, 0.3), figures(0.75, 1.0, None, 0.0512)


def row(answer: str) -> Row:
    return Row(image=None, question="what?", answers=(answer,))


def write_metrics(folder, rows: list[dict]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


EPOCHS = [
    {"epoch": 0, **BEFORE},
    {"epoch": 1, "loss": 2.0, "task": 1.5, "visual": 0.5, "alignment": 0.0, **BEFORE},
    {"epoch": 2, "loss": 1.0, "task": 0.8, "visual": 0.2, "alignment": 0.0, **AFTER},
]


def test_before_and_after_side_by_side():
    assert before_and_after(BEFORE, AFTER).splitlines() == [
        "| | before | after |",
        "|---|---|---|",
        "| all questions | 25.0 % | 75.0 % |",
        "| yes/no | 50.0 % | 100.0 % |",
        "| number | - | - |",
        "| mine | 25.0 % | 75.0 % |",
        "| calibration error | 30.0 % | 5.1 % |",
    ]


def lines_of(report: str) -> dict[str, list[float]]:
    """Each label's precision, recall, F1 and support."""
    parts = [line.rsplit(maxsplit=4) for line in report.splitlines()[2:] if len(line.rsplit(maxsplit=4)) == 5]
    return {label.strip(): [float(value) for value in values] for label, *values in parts}


def test_the_report_names_the_common_answers_and_gathers_the_others():
    common = [f"thing{index}" for index in range(COMMON_ANSWERS)]
    rows = [row(answer) for answer in common for _ in range(2)] + [row("rare"), row("rarer")]
    predictions = [answer for answer in common for _ in range(2)] + ["rare", "thing0"]
    predictions[2] = "rare"  # of thing1, one of two is missed
    found = lines_of(answer_report(rows, predictions))
    assert set(common) <= found.keys() and "rare" not in found
    assert found["thing0"] == [0.67, 1.0, 0.8, 2]
    assert found["thing1"] == [1.0, 0.5, 0.67, 2]
    assert found["(any other)"] == [0.5, 0.5, 0.5, 2]


def test_answers_are_compared_in_their_normal_form():
    found = lines_of(answer_report([row("The Cat."), row("2"), row("dog")], ["cat", "two", "a dog"]))
    assert {label: values[2] for label, values in found.items() if label in ("cat", "2", "dog")} == {
        "cat": 1.0,
        "2": 1.0,
        "dog": 1.0,
    }


@pytest.mark.parametrize("rows", [EPOCHS, EPOCHS[:1], [{"epoch": 0, "accuracy": 0.1}, {"epoch": 1, "accuracy": 0.2}]])
def test_the_curves_are_drawn(tmp_path, rows, recwarn):
    write_metrics(tmp_path, rows)
    write_curves(tmp_path)
    picture = Image.open(tmp_path / "curves.png").convert("L")
    assert picture.size == (1200, 480) and picture.getextrema()[0] < 100
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.usefixtures("drawn_curves")
def test_the_whole_report(tmp_path):
    write_metrics(tmp_path, EPOCHS)
    rows = [row("red"), row("red"), row("blue"), row("no")]
    write_run_report(tmp_path, rows, (BEFORE, ["red", "no", "no", "yes"]), (AFTER, ["red", "red", "blue", "yes"]))
    text = (tmp_path / "report.md").read_text()
    assert before_and_after(BEFORE, AFTER) in text and "![curves](curves.png)" in text
    before, after = (lines_of(part) for part in text.split("## The most common answers ")[1:])
    assert before["red"][1] == 0.5 and after["red"][1] == after["blue"][1] == 1.0
    assert (tmp_path / "curves.png").is_file()
