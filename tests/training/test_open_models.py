"""Calibrating an open model: the fit, the file, whose it is, and the percentages that people then see."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from tiny_vision_language import build_tiny

from demo.rendering.evidence import evidence_html, thresholds_text
from training.calibrate import main
from training.datasets import load_rows
from training.metrics.calibration import expected_calibration_error
from training.open_models import fit_scaling, held_out, shuffled_support, thresholds_of, with_thresholds
from valm_core.evidence.rules import verdict
from valm_core.loading import load_predictor
from valm_core.vision_language.calibration import Calibration, read_calibration, scaled

CALIBRATION = Calibration(0.5, -1.0, "abc", "ask", 100, 0.3, 0.05)


def test_a_known_scaling_is_found_again():
    generator = np.random.default_rng(0)
    stated = generator.uniform(0.01, 0.99, 20_000)
    true = scaled(stated, 0.4, -0.7)
    correct = (generator.uniform(size=len(true)) < true).astype(float)
    assert fit_scaling(stated, correct) == pytest.approx((0.4, -0.7), abs=0.05)
    assert expected_calibration_error(stated, correct) > 0.1
    assert expected_calibration_error(scaled(stated, *fit_scaling(stated, correct)), correct) < 0.02


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_all_wrong_or_all_right_stays_finite_and_in_order(right):
    stated = np.linspace(0.05, 0.95, 30)
    values = scaled(stated, *fit_scaling(stated, np.full(30, right)))
    assert np.isfinite(values).all() and (np.diff(values) > 0).all()
    assert abs(values.mean() - right) < 0.1


def test_the_order_of_answers_stays_and_certainty_is_no_infinity():
    values = CALIBRATION.apply(np.array([0.0, 0.2, 0.9, 1.0]))
    assert (np.diff(values) > 0).all() and values[0] > 0 and values[-1] < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checkpoint_sha256": "other"}, "another checkpoint"),
        ({"prompt": "other"}, "another prompt"),
        ({"slope": -1.0}, "slope -1.0"),
        ({"slope": float("nan")}, "slope nan"),
        ({"more": 1}, "is no calibration"),
        ({"thresholds": [3.0, 1.0]}, "two rising numbers"),
        ({"thresholds": [1.0]}, "is no calibration"),
    ],
)
def test_a_calibration_of_something_else_is_refused(tmp_path, change, message):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(dataclasses.asdict(CALIBRATION) | change))
    with pytest.raises(ValueError, match=message):
        read_calibration(path, {"checkpoint_sha256": "abc", "prompt": "ask"})


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """Twenty questions about two photos."""
    folder = tmp_path_factory.mktemp("questions")
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        Image.new("RGB", (60, 40), colour).save(folder / f"{name}.png")
    rows = [
        {"image": f"{'red' if number % 2 else 'blue'}.png", "question": f"what color is it {number}?", "answer": "red"}
        for number in range(20)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


def test_the_command_writes_what_the_page_then_says(tmp_path, questions, capsys):
    model, output = build_tiny("vilt", tmp_path / "vilt"), tmp_path / "c.json"
    command = ["--checkpoint", str(model), "--data", str(questions), "--output", str(output), "--device", "cpu"]
    main([*command, "--maps", "4"])
    printed = capsys.readouterr().out
    assert "20 questions; calibration error" in printed and "from shuffled maps of 4 questions; 3 % reach" in printed
    plain, calibrated = load_predictor(model, "cpu"), load_predictor(model, "cpu", calibration=output)
    picture = questions.with_name("red.png")
    before, after = (one.answer(one.encode(picture), "what color is it?") for one in (plain, calibrated))
    assert [answer.text for answer in after.answers] == [answer.text for answer in before.answers]
    expected = calibrated.calibration.apply(np.array([answer.probability for answer in before.answers]))
    assert [answer.probability for answer in after.answers] == pytest.approx(expected.tolist())
    assert (before.calibrated, after.calibrated) == (False, True)
    assert calibrated.facts["probabilities"] == "calibrated on 20 questions"
    little, much = calibrated.calibration.thresholds
    assert 0 < little <= much and calibrated.calibration.map_questions == 4
    judged = [one.evidence(one.encode(picture), "what color is it?") for one in (plain, calibrated)]
    assert [evidence.own_thresholds for evidence in judged] == [False, True]
    assert ["another model" in thresholds_text(evidence) for evidence in judged] == [True, False]
    notes = [evidence_html(None, None, sure="", calibrated=one.calibrated) for one in (before, after)]
    assert ["not calibrated" in note for note in notes] == [True, False]


def test_too_few_questions_are_refused_before_the_model_is_loaded(tmp_path, questions, capsys):
    few = questions.with_name("few.jsonl")
    few.write_text("".join(questions.read_text().splitlines(keepends=True)[:19]))
    model = build_tiny("vilt", tmp_path / "vilt")
    with pytest.raises(SystemExit) as stopped:
        main(["--checkpoint", str(model), "--data", str(few), "--output", str(tmp_path / "c.json")])
    assert stopped.value.code == 2 and "at least 20 are needed" in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


def test_one_photo_has_no_other_half(questions):
    rows = [row for row in load_rows(str(questions), photos=True) if row.image.name == "red.png"]
    assert held_out(rows, np.full(len(rows), 0.5), np.ones(len(rows))) is None


def test_thresholds_are_what_few_shuffled_maps_reach(questions):
    support = np.random.default_rng(0).normal(size=(1000, 12))
    little, much = thresholds_of(support)
    assert (support >= little).mean() == pytest.approx(0.03, abs=0.002)
    assert (support >= much).mean() == pytest.approx(0.005, abs=0.001)
    assert thresholds_of(np.full((4, 12), -1.0)) == (0.1, 0.1)  # no map that knows nothing is worth a verdict
    rows = load_rows(str(questions), photos=True)
    of_rows = np.random.default_rng(1).normal(size=(len(rows), 400))
    found = with_thresholds(CALIBRATION, rows, of_rows)
    assert found.map_questions == len(rows) and found.passing == pytest.approx(0.03, abs=0.01)


def test_the_thresholds_of_a_model_decide_its_verdict():
    hottest, random = np.full(4, 0.2), np.linspace(0.5, 0.6, 8)[:, None].repeat(4, axis=1)
    assert verdict(0.9, hottest, random) == verdict(0.9, hottest, random, (1.0, 2.0)) == "matters"
    assert verdict(0.9, hottest, random, (1.0, 1e6)) == "matters a little"
    assert verdict(0.9, hottest, random, (1e6, 1e7)) == "no difference"


def test_shuffled_maps_know_nothing(tmp_path, questions):
    predictor = load_predictor(build_tiny("vilt", tmp_path / "vilt"), "cpu")
    rows = load_rows(str(questions), photos=True)[:2]
    support = shuffled_support(predictor, rows)
    assert support.shape == (2, 4 + 8) and np.isfinite(support).all()
    np.testing.assert_array_equal(support, shuffled_support(predictor, rows))  # the same ones every time
