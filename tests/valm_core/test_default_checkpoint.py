"""The checkpoint that comes with the project: it loads, is small, and answers real photos."""

import json
from pathlib import Path

import pytest

from demo.settings import checkpoint_folder
from demo.terminal.ask import main as ask
from demo.terminal.check_examples import check_examples
from demo.visit.examples import MODEL_ANSWERS_FILE, read_examples
from valm_core.evidence.rules import VERDICTS
from valm_core.outputs import Answer
from valm_core.predictor import VqaPredictor

EXAMPLES = "assets/examples"


@pytest.fixture(scope="module")
def predictor():
    return VqaPredictor.from_checkpoint(checkpoint_folder(), device="cpu")


def test_it_is_small_and_complete():
    folder = checkpoint_folder()
    assert {"config.json", "model.safetensors", "answers.json", "metrics.json", "README.md"} <= {
        path.name for path in folder.iterdir()
    }
    assert sum(path.stat().st_size for path in folder.iterdir()) < 60 * 2**20


def test_it_sees_what_is_on_a_photo(predictor):
    cat, coffee = predictor.encode(f"{EXAMPLES}/cat.jpg"), predictor.encode(f"{EXAMPLES}/coffee.jpg")
    question = "What animal is this?"
    assert predictor.answer(cat, question).answers[0].text == "cat"
    cat_on_coffee = {answer.text: answer.probability for answer in predictor.answer(coffee, question, top=2000).answers}
    cat_on_cat = {answer.text: answer.probability for answer in predictor.answer(cat, question, top=2000).answers}
    assert cat_on_cat["cat"] > cat_on_coffee["cat"] + 0.1


def test_its_probabilities_are_a_distribution_and_its_maps_too(predictor):
    image = predictor.encode(f"{EXAMPLES}/cat.jpg")
    prediction = predictor.answer(image, "What color is the cat?", top=10_000)
    assert sum(answer.probability for answer in prediction.answers) == pytest.approx(1, abs=1e-4)
    explanation = predictor.explain(image, "What color is the cat?")
    assert explanation.tokens == ("What", "color", "is", "the", "cat?")
    assert explanation.image_map.sum() == pytest.approx(1, abs=1e-4)
    assert explanation.token_to_patch.sum(axis=1) == pytest.approx(1, abs=1e-4)


def test_the_terminal_command_prints_answers_and_writes_the_figure(tmp_path, capsys):
    figure = tmp_path / "figure.png"
    ask([f"{EXAMPLES}/cat.jpg", "What animal is this?", "--json", "--figure", str(figure), "--device", "cpu"])
    reply = json.loads(capsys.readouterr().out)
    assert reply["answers"][0]["answer"] == "cat"
    assert len(reply["explanation"]["word_maps"]) == 4
    assert reply["evidence"]["verdict"] in VERDICTS and reply["evidence"]["answer"] == "cat"
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_an_example_is_labelled_wrong_only_where_the_model_is_wrong(predictor):
    labelled = 0
    for entry in json.loads(Path(EXAMPLES, "examples.json").read_text(encoding="utf-8")):
        if wrong := entry.get("known_wrong"):
            labelled += 1
            best = predictor.answer(predictor.encode(f"{EXAMPLES}/{entry['file']}"), wrong["question"]).answers[0].text
            assert best != wrong["expected"], f"{entry['file']}: the model is right now, remove the label"
    assert labelled >= 1


def test_the_example_cards_say_what_the_shipped_checkpoint_really_gives(predictor):
    examples = read_examples(Path(EXAMPLES), predictor.facts["model_fingerprint"])
    stored = json.loads(Path(EXAMPLES, MODEL_ANSWERS_FILE).read_text(encoding="utf-8"))
    assert check_examples(predictor, examples) == stored, "run: python -m demo.check_examples"
    assert all(example.right is not None and len(example.questions) >= 3 for example in examples)


def test_yes_no_questions_list_no_odd_answers_and_have_a_record_of_their_own(predictor, capsys):
    photo = predictor.encode(f"{EXAMPLES}/cat.jpg")
    best, *others = predictor.answer(photo, "Is the cat asleep?").answers
    assert best.text in ("yes", "no") and all(
        answer.text in ("yes", "no") or answer.probability >= 0.01 for answer in others
    )
    assert predictor.track_record(best).kind == "yes/no"
    assert predictor.track_record(Answer("red", best.probability)) != predictor.track_record(best)
    ask([f"{EXAMPLES}/cat.jpg", "Is the cat asleep?", "--device", "cpu"])
    told = capsys.readouterr().out
    assert "A guess from the question alone" in told.splitlines()[1] and "shoe" not in told
