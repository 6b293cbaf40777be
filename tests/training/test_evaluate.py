"""Measuring: every figure by hand on planted logits, and the command on a toy set."""

import json

import pytest
import torch
from toy_data import write_rows

from training import evaluate as module
from training.datasets.questions import QuestionDataset
from training.datasets.readers.jsonl import Row, read_rows
from training.evaluate import evaluate, main, multiple_choice_accuracy, predict_logits, score_rows
from valm_core.checkpoints.storage import save_checkpoint

ANSWERS = ["red", "blue", "yes", "no", "2"]
ROWS = [
    Row(None, "?", ("red",), source="one"),
    Row(None, "?", ("Yes",), source="one"),
    Row(None, "?", ("two",), source="two"),
    Row(None, "?", ("purple",), source="two"),  # not in the list
]


def certain(*chosen: str, answers=ANSWERS) -> torch.Tensor:
    """All probability on one answer a row."""
    return torch.stack([torch.eye(len(answers))[answers.index(answer)] for answer in chosen])


def test_figures_as_worked_by_hand():
    report = score_rows(ROWS, certain("red", "no", "2", "red"), ANSWERS)
    assert report["questions"] == 4
    assert report["accuracy"] == 0.5  # red and 2 are right
    assert report["by_type"] == {"yes/no": 0.0, "number": 1.0, "other": 0.5}
    assert report["by_source"] == {"one": 0.5, "two": 0.5}
    assert report["answer_coverage"] == 0.75
    assert report["expected_calibration_error"] == pytest.approx(0.5)  # always sure, half right


def test_the_yes_rate_is_that_of_yes_no_questions():
    rows = [Row(None, "?", ("yes",)), Row(None, "?", ("no",)), Row(None, "?", ("no",)), Row(None, "?", ("red",))]
    report = score_rows(rows, certain("yes", "yes", "no", "yes"), ANSWERS)
    assert report["yes_rate"] == pytest.approx(2 / 3) and report["true_yes_rate"] == pytest.approx(1 / 3)
    assert score_rows(rows[3:], certain("yes"), ANSWERS)["yes_rate"] is None


def test_how_often_the_answer_is_the_blind_one(tiny_model, colored_squares, monkeypatch):
    def planted(model, dataset):
        said = ["yes" if dataset.blind or row.image.stem == "red" else "no" for row in dataset.rows]
        return certain(*said, answers=model.answers)

    monkeypatch.setattr(module, "predict_logits", planted)
    report = evaluate(tiny_model, read_rows(colored_squares))
    assert report["same_as_blind"] == 0.25  # red is one photo of four
    assert report["accuracy"] == 0.5 and report["accuracy_without_photo"] == 0.125
    assert "same_as_blind" not in evaluate(tiny_model, read_rows(colored_squares), blind=True)


def test_a_type_that_does_not_occur_has_no_figure():
    assert score_rows(ROWS[:1], certain("red"), ANSWERS)["by_type"]["number"] is None


def test_temperature_changes_confidence_and_not_accuracy():
    logits = torch.tensor([[2.0, 0, 0, 0, 0]])
    sharp, flat = (score_rows(ROWS[:1], (logits / t).softmax(-1), ANSWERS) for t in (0.1, 10.0))
    assert sharp["accuracy"] == flat["accuracy"] == 1
    assert sharp["expected_calibration_error"] < 0.01 < 0.5 < flat["expected_calibration_error"]


def with_choices(*choices: str) -> list[Row]:
    return [Row(None, "what color is it?", (choices[0],), choices)]


@pytest.mark.parametrize(
    ("choices", "answer", "credit"),
    [
        (("red", "blue", "green"), "red", 1.0),
        (("red", "blue", "green"), "blue", 0.0),
        (("red", "green", "blue"), "blue", 0.0),
        (("blue", "red"), "blue", 1.0),
        (("red", "red", "blue"), "red", 0.5),  # the same text twice: a tie, shared
    ],
)
def test_the_choice_nearest_to_the_likely_answer_wins(tiny_model, choices, answer, credit):
    logits = certain(answer, answers=tiny_model.answers)
    assert multiple_choice_accuracy(tiny_model, with_choices(*choices), logits) == credit


def test_ties_share_the_credit_so_that_position_cannot_help(tiny_model, monkeypatch):
    monkeypatch.setattr(module, "candidate_scores", lambda *parts: torch.ones(len(parts[2])))
    logits = certain("red", answers=tiny_model.answers)
    assert multiple_choice_accuracy(tiny_model, with_choices("red", "blue", "green", "yes"), logits) == 0.25


def test_without_choices_there_is_no_multiple_choice_figure(tiny_model):
    rows = [Row(None, "what color is it?", ("red",))]
    assert multiple_choice_accuracy(tiny_model, rows, torch.zeros(1, 6)) is None


def test_logits_come_in_the_order_of_the_rows_whatever_the_batches(tiny_model, colored_squares, monkeypatch):
    dataset = QuestionDataset(read_rows(colored_squares), tiny_model)
    together = predict_logits(tiny_model, dataset)
    monkeypatch.setattr(module, "EVALUATION_BATCH", 3)
    torch.testing.assert_close(predict_logits(tiny_model, dataset), together, atol=1e-5, rtol=1e-5)
    assert together.shape == (8, 6)


def test_the_order_of_rows_does_not_change_the_figures(tiny_model, colored_squares):
    rows = read_rows(colored_squares)
    first, second = evaluate(tiny_model, rows), evaluate(tiny_model, rows[::-1])
    assert first.keys() == second.keys()
    for name in first.keys() - {"seconds"}:
        nested = isinstance(first[name], dict | list)
        assert first[name] == (second[name] if nested else pytest.approx(second[name], abs=1e-6)), name


def run(capsys, *arguments: str) -> dict:
    main([*arguments, "--device", "cpu"])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_command_ends_with_one_json_object(tiny_model, colored_squares, tmp_path, capsys):
    save_checkpoint(tiny_model, tmp_path / "model")
    arguments = ["--checkpoint", str(tmp_path / "model"), "--data", str(colored_squares)]
    report = run(capsys, *arguments, "--report", str(tmp_path / "new" / "report.json"))
    assert report.keys() >= {
        "questions",
        "accuracy",
        "by_type",
        "by_source",
        "multiple_choice_accuracy",
        "answer_coverage",
        "yes_rate",
        "true_yes_rate",
        "same_as_blind",
        "accuracy_without_photo",
        "expected_calibration_error",
        "seconds",
    }
    assert report["questions"] == 8 and report["answer_coverage"] == 1.0 and report["blind"] is False
    assert report["by_type"].keys() == {"yes/no", "number", "other"} and report["by_type"]["number"] is None
    assert report["by_source"].keys() == {"colors", "red"}
    assert 0 <= report["multiple_choice_accuracy"] <= 1
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == report


def test_blind_answers_see_no_photo(tiny_model, colored_squares):
    rows = read_rows(colored_squares)
    blind = predict_logits(tiny_model, QuestionDataset(rows, tiny_model, blind=True))
    seeing = predict_logits(tiny_model, QuestionDataset(rows, tiny_model))
    assert torch.equal(blind[0], blind[2]) and not torch.allclose(seeing[0], seeing[2])


def test_the_blind_command_needs_no_photo_and_gives_one_answer_a_question(tiny_model, tmp_path, capsys):
    save_checkpoint(tiny_model, tmp_path / "model")
    questions = ("what color is the square?", "is there any red?")
    rows = [{"question": question, "answer": answer} for question in questions for answer in tiny_model.answers]
    data = write_rows(tmp_path / "text.jsonl", rows)
    report = run(capsys, "--checkpoint", str(tmp_path / "model"), "--data", str(data), "--blind")
    assert report["blind"] is True
    assert report["accuracy"] == pytest.approx(1 / 6)  # the one answer to a question is right once in six


@pytest.mark.parametrize("fault", ["checkpoint", "data", "device"])
def test_a_fault_is_one_line_and_not_a_traceback(tiny_model, colored_squares, tmp_path, capsys, fault):
    save_checkpoint(tiny_model, tmp_path / "model")
    values = {"checkpoint": str(tmp_path / "model"), "data": str(colored_squares), "device": "cpu"} | {fault: "nowhere"}
    with pytest.raises(SystemExit) as stopped:
        main([word for name, value in values.items() for word in (f"--{name}", value)])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "nowhere" in message and message.count("\n") == 1


def test_a_faulty_row_is_named(tiny_model, tmp_path, capsys):
    save_checkpoint(tiny_model, tmp_path / "model")
    data = write_rows(tmp_path / "rows.jsonl", [{"question": "?"}])
    with pytest.raises(SystemExit):
        main(["--checkpoint", str(tmp_path / "model"), "--data", str(data), "--device", "cpu"])
    assert f"{data}:1: `image` is None" in capsys.readouterr().err
