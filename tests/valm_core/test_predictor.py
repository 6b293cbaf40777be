"""The predictor: encode once, no memory of its users, words instead of pieces, clear errors."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from valm_core import answering
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.devices import choose_device
from valm_core.inputs.word_pieces import merge_word_pieces
from valm_core.model.build import reconfigure
from valm_core.outputs import Answer, Explanation, InputError, TrackRecord, UnknownAnswer
from valm_core.predictor import VqaPredictor

QUESTION = "what color is the square?"


def photo(color: str) -> Image.Image:
    return Image.new("RGB", (50, 40), color)


def test_answers_are_sorted_probabilities_over_the_whole_list(tiny_predictor):
    prediction = tiny_predictor.answer(tiny_predictor.encode(photo("red")), "  what color\nis it? ", top=100)
    probabilities = [answer.probability for answer in prediction.answers]
    assert prediction.question == "what color is it?"
    assert len(probabilities) == 6 and sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(answer.probability for answer in prediction.blind_answers) == pytest.approx(1, abs=1e-5)
    assert 0 < prediction.gate < 1


def test_top_limits_the_answers(tiny_predictor):
    image = tiny_predictor.encode(photo("red"))
    assert len(tiny_predictor.answer(image, QUESTION, top=2).answers) == 2


def test_temperature_flattens_the_probabilities_and_keeps_their_order(tiny_model):
    import dataclasses

    image = VqaPredictor(tiny_model, torch.device("cpu")).encode(photo("red"))
    sharp = VqaPredictor(tiny_model, torch.device("cpu")).answer(image, QUESTION)
    reconfigure(tiny_model, dataclasses.replace(tiny_model.config, temperature=10.0))
    flat = VqaPredictor(tiny_model, torch.device("cpu")).answer(image, QUESTION)
    assert [answer.text for answer in flat.answers] == [answer.text for answer in sharp.answers]
    assert flat.answers[0].probability < sharp.answers[0].probability


def test_the_blind_answer_ignores_the_photo(tiny_predictor):
    red, blue = (tiny_predictor.encode(photo(color)) for color in ("red", "blue"))
    first, second = (tiny_predictor.answer(image, QUESTION) for image in (red, blue))
    assert first.blind_answers == second.blind_answers
    assert first.answers != second.answers


def test_threads_with_their_own_photos_get_the_sequential_results(tiny_predictor):
    colors = ["red", "green", "blue", "yellow"] * 6
    questions = [QUESTION, "is there any red?", "how many squares are there?"] * 8

    def serve(color, question):
        image = tiny_predictor.encode(photo(color))
        return tiny_predictor.answer(image, question), tiny_predictor.explain(image, question).image_map.tolist()

    sequential = [serve(*case) for case in zip(colors, questions, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(serve, colors, questions)) == sequential


def test_an_explanation_is_by_word(tiny_predictor):
    explanation = tiny_predictor.explain(tiny_predictor.encode(photo("red")), QUESTION)
    assert explanation.tokens == ("what", "color", "is", "the", "square?")
    assert explanation.token_map(4).shape == explanation.grid == (4, 4)
    np.testing.assert_allclose(explanation.token_to_patch.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(explanation.patch_to_token.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(explanation.token_scores.sum(), 1, atol=1e-5)


def test_word_pieces_merge_as_worked_by_hand():
    """Pieces [CLS] a b1 b2 [SEP]; words a, b. Two cells."""
    explanation = Explanation(
        method="raw_attention",
        tokens=("",) * 5,
        image_map=np.array([[0.5, 0.5]]),
        token_scores=np.array([0.2, 0.1, 0.2, 0.3, 0.2]),
        token_to_patch=np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.5, 0.5]]),
        patch_to_token=np.array([[0.5, 0.1, 0.1, 0.2, 0.1], [0.0, 0.3, 0.2, 0.1, 0.4]]),
        text_to_image=np.array([[[[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.5, 0.5]]]]),
        image_to_text=np.array([[[[0.5, 0.1, 0.1, 0.2, 0.1], [0.0, 0.3, 0.2, 0.1, 0.4]]]]),
        grid=(1, 2),
    )
    merged = merge_word_pieces(explanation, ("a", "b"), (None, 0, 1, 1, None))
    assert merged.tokens == ("a", "b")
    np.testing.assert_allclose(merged.token_scores, [0.1 / 0.6, 0.5 / 0.6])
    np.testing.assert_allclose(merged.token_to_patch, [[0.9, 0.1], [0.3, 0.7]], atol=1e-7)
    np.testing.assert_allclose(merged.patch_to_token, [[0.1 / 0.4, 0.3 / 0.4], [0.3 / 0.6, 0.3 / 0.6]], atol=1e-7)
    np.testing.assert_allclose(merged.text_to_image[0, 0], merged.token_to_patch, atol=1e-7)
    np.testing.assert_allclose(merged.image_to_text[0, 0], [[0.1, 0.3], [0.3, 0.3]], atol=1e-7)


@pytest.mark.parametrize(
    ("question", "message"), [("", "empty"), ("what " * 40, "word pieces"), ("x" * 400, "characters")]
)
def test_a_question_that_cannot_be_answered_says_why(tiny_predictor, question, message):
    image = tiny_predictor.encode(photo("red"))
    with pytest.raises(InputError, match=message):
        tiny_predictor.answer(image, question)
    with pytest.raises(InputError, match=message):
        tiny_predictor.explain(image, question)


def test_asking_at_once_gives_what_three_calls_give_and_encodes_the_question_once(tiny_predictor, monkeypatch):
    image = tiny_predictor.encode(photo("red"))
    encode = tiny_predictor.model.encode_question
    for method, answer in ((None, None), ("raw_attention", "blue")):
        wanted = tiny_predictor.answer(image, QUESTION, 3)
        map_ = tiny_predictor.explain(image, QUESTION, method, answer)
        evidence = tiny_predictor.evidence(image, QUESTION, method, answer, map_)
        calls = []
        monkeypatch.setattr(
            tiny_predictor.model, "encode_question", lambda *a, calls=calls: calls.append(a) or encode(*a)
        )
        for known, weigh in ((None, True), (wanted, True), (None, False)):
            prediction, explanation, judged = tiny_predictor.ask(image, QUESTION, method, answer, 3, known, weigh)
            assert (prediction, judged) == (wanted, evidence if weigh else None)
            for field in ("tokens", "image_map", "token_to_patch", "patch_to_token", "text_to_image"):
                np.testing.assert_array_equal(getattr(explanation, field), getattr(map_, field))
        assert len(calls) == 3  # once for each `ask`
        monkeypatch.undo()
    with pytest.raises(UnknownAnswer, match="'purple'"):
        tiny_predictor.ask(image, QUESTION, answer="purple")


def test_many_at_once_give_what_one_by_one_gives(tiny_predictor):
    colors = ["red", "green", "blue"]
    images = tiny_predictor.encode_many([photo(color) for color in colors])
    for image, color in zip(images, colors, strict=True):
        torch.testing.assert_close(image.tokens, tiny_predictor.encode(photo(color)).tokens)
    questions = [QUESTION, "red?", "is there any red or blue square there?"]  # of three lengths
    for image, question, found in zip(images, questions, tiny_predictor.answer_many(images, questions, 2), strict=True):
        wanted = tiny_predictor.answer(image, question, 2)
        assert found.question == wanted.question and found.gate == pytest.approx(wanted.gate, rel=1e-4)
        for some, others in ((found.answers, wanted.answers), (found.blind_answers, wanted.blind_answers)):
            assert [answer.text for answer in some] == [answer.text for answer in others]
            assert [a.probability for a in some] == pytest.approx([a.probability for a in others], rel=1e-4)
    with pytest.raises(InputError, match="empty"):
        tiny_predictor.answer_many(images, [QUESTION, "", QUESTION])


def test_unknown_methods_and_answers_are_named(tiny_predictor):
    image = tiny_predictor.encode(photo("red"))
    with pytest.raises(ValueError, match="'magic'; allowed: raw_attention"):
        tiny_predictor.explain(image, QUESTION, method="magic")
    with pytest.raises(ValueError, match="'purple'"):
        tiny_predictor.explain(image, QUESTION, answer="purple")


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cuda", "mps", "cpu")
    with pytest.raises(ValueError, match="device is 'tpu'"):
        choose_device("tpu")


def test_words_share_alike_where_special_tokens_took_everything():
    shape = {"text_to_image": np.ones((1, 1, 3, 2)) / 2, "image_to_text": np.ones((1, 1, 2, 3)) / 3}
    only_special = Explanation(
        method="raw_attention",
        tokens=("[CLS]", "what", "[SEP]"),
        image_map=np.full((1, 2), 0.5),
        token_scores=np.array([0.5, 0.0, 0.5]),
        token_to_patch=np.full((3, 2), 0.5),
        patch_to_token=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        grid=(1, 2),
        **shape,
    )
    merged = merge_word_pieces(only_special, ("what",), (None, 0, None))
    assert merged.token_scores.tolist() == [1.0] and merged.patch_to_token.tolist() == [[1.0], [1.0]]


def failing_once(predictor, error, monkeypatch):
    """Pretend that the predictor's model lies on a GPU that fails with ``error`` at its first call."""
    answers = []

    class Gpu:
        type = "cuda"

    encode_questions = answering.encode_questions

    def fail(model, questions):
        if predictor.device.type == "cuda":
            answers.append(error)
            raise error
        return encode_questions(model, questions)

    predictor.device = Gpu()
    monkeypatch.setattr(answering, "encode_questions", fail)
    return answers


@pytest.mark.parametrize(
    ("error", "told"),
    [(torch.OutOfMemoryError("full"), "ran out of memory"), (torch.AcceleratorError("gone"), "stopped working")],
)
def test_the_cpu_takes_over_from_a_gpu_that_fails(tiny_predictor, encoded, monkeypatch, caplog, error, told):
    expected = tiny_predictor.answer(encoded, "what color?")
    failures = failing_once(tiny_predictor, error, monkeypatch)
    assert tiny_predictor.answer(encoded, "what color?") == expected
    assert told in tiny_predictor.notice and told in caplog.text
    assert tiny_predictor.device.type == "cpu" and len(failures) == 1
    tiny_predictor.explain(encoded, "what color?")
    assert len(failures) == 1, "it stays on the CPU"


def test_weights_lost_with_their_gpu_are_loaded_again(tiny_predictor, encoded, monkeypatch, tmp_path):
    expected = tiny_predictor.answer(encoded, "what color?")
    save_checkpoint(tiny_predictor.model, tmp_path / "checkpoint")
    tiny_predictor.folder = tmp_path / "checkpoint"

    def lost(*_):
        raise RuntimeError("CUDA error: device unavailable")

    monkeypatch.setattr(tiny_predictor.model, "to", lost)
    failing_once(tiny_predictor, torch.AcceleratorError("gone"), monkeypatch)
    assert tiny_predictor.answer(encoded, "what color?") == expected


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError("two devices")])
def test_who_was_at_it_when_another_thread_moved_the_model_is_answered_too(tiny_predictor, encoded, monkeypatch, error):
    expected = tiny_predictor.answer(encoded, "what color?")
    whole, failures = answering.encode_questions, []

    def moved_meanwhile(*arguments):
        if not failures:
            failures.append(error)
            tiny_predictor.device = torch.device("cpu")
            raise error
        return whole(*arguments)

    monkeypatch.setattr(answering, "encode_questions", moved_meanwhile)
    tiny_predictor.device = torch.device("meta")  # where it was, as far as this call knows
    assert tiny_predictor.answer(encoded, "what color?") == expected
    assert len(failures) == 1 and tiny_predictor.notice == ""


def test_an_error_on_the_cpu_is_no_reason_to_fall_back(tiny_predictor, encoded, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(answering, "encode_questions", full)
    with pytest.raises(torch.OutOfMemoryError):
        tiny_predictor.answer(encoded, "what color?")
    assert tiny_predictor.notice == ""


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"reliability_by_kind": {"yes/no": [{"low": 0.2, "high": 0.3, "questions": 30, "accuracy": 0.25}]}}', True),
        ('{"reliability_by_kind": {"yes/no": [{"low": 0.2, "high": 0.3, "questions": 29, "accuracy": 0.25}]}}', False),
        ('{"reliability_by_kind": {"yes/no": [{"low": 0.2, "high": 0.3, "questions": 30, "accuracy": 25}]}}', False),
        ('{"reliability_by_kind": {"yes/no": [{"low": "a", "high": 0.3, "questions": 30, "accuracy": "b"}]}}', False),
        ('{"reliability_by_kind": {"yes/no": 3}}', False),
        ('{"reliability_by_kind": 3}', False),
        ('{"reliability": [{"low": 0.2, "high": 0.3, "questions": 30, "accuracy": 0.25}]}', False),
        ("{}", False),
        ("no json", False),
        (None, False),
    ],
)
def test_a_track_record_comes_from_the_checkpoint_and_from_enough_questions(tiny_model, tmp_path, content, found):
    save_checkpoint(tiny_model, tmp_path / "checkpoint", {"metrics.json": content} if content else None)
    predictor = VqaPredictor.from_checkpoint(tmp_path / "checkpoint", "cpu")
    expected = TrackRecord(0.2, 0.3, 30, 0.25, "yes/no") if found else None
    assert predictor.track_record(Answer("yes", 0.25)) == expected
    assert predictor.track_record(Answer("yes", 0.5)) is None
    assert predictor.track_record(Answer("red", 0.25)) is None  # another kind of answer has its own record
    assert predictor.track_record(Answer("2", 0.25)) is None
