"""Maps of single words: planted ones whose correlation and place are known, for word_maps and for person boxes."""

import json

import numpy as np
import pytest
from PIL import Image
from toy_data import write_rows

from training.datasets.readers.jsonl import DataError, Row, read_rows
from training.datasets.readers.judging import PersonPhoto, read_person_photos
from training.measuring import common, person_pointing, pointing, word_maps
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.outputs import Explanation

GRID = (4, 4)
LEFT, RIGHT, FLAT = np.zeros(16), np.zeros(16), np.full(16, 1 / 16)
LEFT[4], RIGHT[7] = 1.0, 1.0  # the second row's first and last cell


def plant(monkeypatch, model, maps: dict[str, np.ndarray], scores: dict[str, float] | None = None) -> None:
    """Let every compared method give each word piece the map and the score of its word (else flat, and 0)."""

    def method(model, text, image, answer):
        words, token_words = model.tokenizer.words(method.question)
        names = [None if word is None else words[word].strip("?") for word in token_words]
        given = np.array([(scores or {}).get(name or "special", 0.0) for name in names])
        return Explanation(
            method="planted",
            tokens=("",) * len(names),
            image_map=FLAT.reshape(GRID),
            token_scores=given,
            token_to_patch=np.stack([maps.get(name, FLAT) for name in names]),
            patch_to_token=np.ones((16, len(names))),
            text_to_image=np.ones((1, 1, len(names), 16)),
            image_to_text=np.ones((1, 1, 16, len(names))),
            grid=GRID,
        )

    def explain(model, photo, question):
        method.question = question
        return original(model, photo, question)

    original = common.explain
    monkeypatch.setattr(common, "EXPLANATION_METHODS", dict.fromkeys(common.COMPARED, method))
    monkeypatch.setattr(word_maps, "explain", explain)
    monkeypatch.setattr(person_pointing, "explain", explain)


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (40, 40), (220, 30, 30)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_correlation_as_worked_by_hand():
    assert word_maps.correlation(LEFT, LEFT) == pytest.approx(1)
    assert word_maps.correlation(LEFT, 3 * LEFT + 1) == pytest.approx(1)
    assert word_maps.correlation(LEFT, RIGHT) == pytest.approx(-1 / 15)  # two of 16 cells, disjoint
    assert word_maps.correlation(LEFT, -LEFT) == pytest.approx(-1)
    assert word_maps.correlation(FLAT, FLAT) == 1 and word_maps.correlation(FLAT, LEFT) == 0
    pairs = [1, -1 / 15, -1 / 15]
    assert word_maps.mean_correlation(np.stack([LEFT, LEFT, RIGHT])) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(
    ("word", "content"),
    [("dog", True), ("Dog's", True), ("the", False), ("What", False), ("?", False), ("2", True), ("it's", False)],
)
def test_what_counts_as_a_content_word(word, content):
    assert word_maps.has_content(word) is content


def test_shares_as_worked_by_hand():
    tokens = (None, 0, 1, 1, None)  # a function word and a content word of two pieces
    shares = word_maps.reading_shares(np.array([0.2, 0.3, 0.1, 0.1, 0.3]), tokens, [False, True])
    assert shares == pytest.approx({"function_words": 0.6, "function_and_special": 0.8, "special_tokens": 0.5})
    shares = word_maps.reading_shares(np.array([0.5, 0, 0, 0, 0.5]), tokens, [False, True])
    assert shares["special_tokens"] == 1 and shares["function_words"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("other", "expected"), [(LEFT, 1.0), (RIGHT, -1 / 15), (FLAT, 0.0)])
def test_the_maps_of_content_words_alone_are_compared(tiny_model, photo, monkeypatch, other, expected):
    plant(
        monkeypatch, tiny_model, {"color": LEFT, "square": other, "what": RIGHT}, {"what": 1.0, "square": 1.5}
    )  # "square" and "?"
    rows = [Row(photo, "what color is the square?", ("red",)), Row(photo, "is there any red?", ("yes",))]
    report = word_maps.measure(tiny_model, rows)
    assert report["questions"] == 1  # the other has one content word: no pair
    for figures in report["methods"].values():
        assert figures["correlation"]["mean"] == pytest.approx(expected, abs=1e-4)
        assert figures["function_words"]["mean"] == figures["function_and_special"]["mean"] == 0.25
        assert figures["flat_maps"]["mean"] == (0.5 if other is FLAT else 0)
    assert abs(report["shuffled_maps"]["mean"]) < 0.1 or expected == 1  # shuffled peaks meet once in 16
    assert 0 < report["even_reading"]["special_tokens"]["mean"] < 1


def test_a_word_that_stands_twice_is_no_pair(tiny_model, photo, monkeypatch):
    plant(monkeypatch, tiny_model, {})
    with pytest.raises(DataError, match="None of the 1 questions has two different content words"):
        word_maps.measure(tiny_model, [Row(photo, "is red red?", ("yes",))])


def test_the_words_command_measures_a_model(tiny_model, colored_squares, tmp_path, capsys):
    save_checkpoint(tiny_model, tmp_path / "model")
    file = tmp_path / "report.json"
    arguments = ["--checkpoint", str(tmp_path / "model"), "--data", str(colored_squares), "--device", "cpu"]
    word_maps.main([*arguments, "--report", str(file)])
    printed = capsys.readouterr().out
    report = json.loads(printed.splitlines()[-1])
    assert report == json.loads(file.read_text()) and file.with_suffix(".md").read_text() in printed
    assert report["questions"] == 4 and set(report["methods"]) == set(common.COMPARED)
    for figures in report["methods"].values():
        assert -1 <= figures["correlation"]["mean"] <= 1 and 0 < figures["function_and_special"]["mean"] < 1


def test_a_question_too_long_is_cut_alike_everywhere(tiny_model, photo):
    question = "what color is the square " * 8
    words, token_words = common.words_of(tiny_model, question)
    explanation = common.explain(tiny_model, photo, question)["raw_attention"]
    assert len(token_words) == len(explanation.token_scores) == tiny_model.tokenizer.max_tokens
    assert token_words[-1] is None and len(words) == 40


def test_cells_inside_boxes():
    found = person_pointing.inside((2, 4), ((0.0, 0.0, 0.3, 1.0), (0.8, 0.6, 1.0, 1.0)))
    assert found.tolist() == [[True, False, False, False], [True, False, False, True]]
    cropped = person_pointing.inside((1, 2), ((0.0, 0.0, 0.45, 1.0),), seen=(0.25, 0.0, 0.75, 1.0))
    assert cropped.tolist() == [[True, False]]  # centres at .375 and .625 of the photo


def test_the_middle():
    assert person_pointing.middle((3, 3)).sum() == 1 and person_pointing.middle((3, 3))[1, 1]
    assert person_pointing.middle((4, 4)).sum() == 4 and person_pointing.middle((4, 4))[1:3, 1:3].all()


@pytest.mark.parametrize(("planted", "expected"), [(LEFT, 1.0), (RIGHT, 0.0), (FLAT, 4 / 16)])
def test_a_map_planted_on_the_person_points_at_it(tiny_model, photo, monkeypatch, planted, expected):
    plant(monkeypatch, tiny_model, {"man": planted, "doing": RIGHT})
    left_quarter = PersonPhoto(photo, ((0.0, 0.0, 0.25, 1.0),))
    report = person_pointing.measure_persons(tiny_model, [(left_quarter, "What is the man doing?")])
    assert {figures["mean"] for figures in report["methods"].values()} == {expected}
    assert report["controls"]["random_cell"]["mean"] == 0.25 and report["controls"]["center"]["mean"] == 0
    assert report["by_word"] == {"man": {"questions": 1, "mean": expected}}


def test_several_words_for_persons_are_averaged(tiny_model, photo, monkeypatch):
    plant(monkeypatch, tiny_model, {"man": LEFT, "girl": RIGHT})
    asked = [(PersonPhoto(photo, ((0.0, 0.0, 0.25, 1.0),)), "is the man a girl?")]
    report = person_pointing.measure_persons(tiny_model, asked)
    assert report["methods"]["raw_attention"]["mean"] == 0.5
    assert report["by_word"]["man"]["mean"] == 1 and report["by_word"]["girl"]["mean"] == 0


def test_words_for_persons():
    assert person_pointing.person_words(["Is", "the", "Man's", "hat", "on", "people?"]) == [2, 5]
    assert person_pointing.person_words(["Is", "a", "snowman", "human?"]) == []


def test_drawn_questions_are_the_same_every_time(photo):
    photos = [PersonPhoto(photo, ((0.0, 0.0, 1.0, 1.0),))] * 50
    questions = [question for _, question in person_pointing.drawn_questions(photos)]
    assert questions == [question for _, question in person_pointing.drawn_questions(photos)]
    assert set(questions) == set(person_pointing.QUESTIONS)
    assert all(person_pointing.person_words(question.split()) for question in questions)


def boxes_file(photo, *persons, **more):
    rows = [{"image": photo.name, "persons_cx_cy_w_h_keypoints": list(one)} | more for one in persons]
    return write_rows(photo.parent / "boxes.jsonl", rows)


def test_boxes_are_read_with_their_corners(photo):
    file = boxes_file(photo, [[0.5, 0.5, 0.2, 0.4, 13], [0.9, 0.5, 0.4, 1.0]], [])
    (found,) = read_person_photos(file)  # the photo without a person is left out
    assert found.boxes == (pytest.approx((0.4, 0.3, 0.6, 0.7)), pytest.approx((0.7, 0.0, 1.0, 1.0)))


@pytest.mark.parametrize("person", [[0.5, 0.5, 0.2], [0.5, 0.5, 0.0, 0.1], [0.5, 1.5, 0.1, 0.1], "x", [True] * 4])
def test_a_faulty_box_is_named(photo, person):
    file = boxes_file(photo, [person])
    with pytest.raises(DataError, match=r"boxes.jsonl:1: a person of `persons_cx_cy_w_h_keypoints` is"):
        read_person_photos(file)


def test_without_a_person_there_is_nothing_to_point_at(photo):
    with pytest.raises(DataError, match="no photo with a person"):
        read_person_photos(boxes_file(photo, []))


def test_questions_are_those_on_the_photos_that_name_a_person(photo):
    rows = [{"image": photo.name, "question": text, "answer": "red"} for text in ("is the man red?", "is it red?")]
    photos = read_person_photos(boxes_file(photo, [[0.5, 0.5, 0.2, 0.4]]))
    read = read_rows(write_rows(photo.parent / "rows.jsonl", rows))
    assert person_pointing.asked_questions(photos, read) == [(photos[0], "is the man red?")]
    with pytest.raises(DataError, match="No question on the 1 photos has one of: boy, boys"):
        person_pointing.asked_questions(photos, read[1:])


def test_the_pointing_command_measures_person_boxes(tiny_model, photo, tmp_path, capsys):
    save_checkpoint(tiny_model, tmp_path / "model")
    file, boxes = tmp_path / "report.json", boxes_file(photo, [[0.5, 0.5, 1.0, 1.0]], split="validation")
    arguments = ["--checkpoint", str(tmp_path / "model"), "--device", "cpu"]
    pointing.main([*arguments, "--boxes", str(boxes), "--split", "validation", "--report", str(file)])
    printed = capsys.readouterr().out
    report = json.loads(printed.splitlines()[-1])
    assert report == json.loads(file.read_text()) and file.with_suffix(".md").read_text() in printed
    assert {figures["mean"] for figures in report["methods"].values()} == {1.0}  # the box is the whole photo
    for wrong in ([], ["--boxes", str(boxes), "plain=rows.jsonl"], ["plain=rows.jsonl", "--split", "validation"]):
        with pytest.raises(SystemExit):
            pointing.main([*arguments, *wrong])
        assert "--boxes" in capsys.readouterr().err
