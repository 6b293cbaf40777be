"""What is kept is bounded and comes back as it was; links say what they carry and ignore rubbish."""

import dataclasses
from urllib.parse import parse_qs

import pytest
from fake_predictor import FakePredictor
from PIL import Image

from demo.visit import asking, history
from demo.visit.examples import Example
from demo.visit.history import Link, read_link, remember, to_query
from valm_core.outputs import Answer, InputError

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def predictor():
    return FakePredictor()


@pytest.fixture
def photo(tmp_path):
    """``photo(n)``: the path of a photo of its own."""

    def make(number: int) -> str:
        path = tmp_path / f"photo{number}.png"
        Image.new("RGB", (64, 48), (number, 30, 30)).save(path)
        return str(path)

    return make


@pytest.fixture
def example(photo):
    path = asking.Path(photo(7))
    return Example(path, asking.digest_of(path.read_bytes()), "Red", ("What is it?", "How many?"))


def asked(predictor, path, question, kept=()):
    return asking.ask(predictor, path, history.already_opened(kept, path), question)


def test_photos_and_questions_are_kept_in_order_and_bounded(predictor, photo):
    kept = ()
    for number in range(history.MAX_PHOTOS + 2):
        kept = remember(kept, photo(number), asked(predictor, photo(number), "What?"))
    assert [history.path for history in kept] == [photo(number) for number in range(2, history.MAX_PHOTOS + 2)]
    for number in range(history.MAX_QUESTIONS + 5):
        kept = remember(kept, photo(3), asked(predictor, photo(3), f"What {number}?", kept))
    questions = [reply.prediction.question for reply in kept[1].replies]
    assert questions == [f"What {number}?" for number in range(5, history.MAX_QUESTIONS + 5)]
    assert remember(kept, photo(3), None) is kept and remember(kept, None, kept[1].replies[0]) is kept


def test_a_photo_that_comes_again_is_not_encoded_again(predictor, photo, tmp_path):
    kept = remember((), photo(1), asked(predictor, photo(1), "What?"))
    copy = tmp_path / "copy.png"
    copy.write_bytes(asking.Path(photo(1)).read_bytes())
    kept = remember(kept, str(copy), asked(predictor, str(copy), "Why?", kept))
    assert predictor.calls["encode"] == 1 and len(kept) == 1 and kept[0].path == str(copy)
    assert kept[0].replies[0].photo is kept[0].replies[1].photo
    assert history.already_opened(kept, photo(2)) is None
    assert history.already_opened(kept, str(tmp_path / "gone.png")) is None


def test_another_explanation_takes_its_replys_place_and_the_same_question_goes_to_the_end(predictor, photo):
    first = asked(predictor, photo(1), "What?")
    second = asked(predictor, photo(1), "Why?")
    kept = remember(remember((), photo(1), first), photo(1), second)
    again = asking.explain_again(predictor, first, "occlusion", first.answer).reply
    assert remember(kept, photo(1), again)[0].replies == (again, second)
    same = asked(predictor, photo(1), "What?")
    assert remember(kept, photo(1), same)[0].replies == (second, same)


def test_the_list_shows_the_newest_first_marks_the_current_one_and_escapes(predictor, photo):
    first, second = asked(predictor, photo(1), "What?"), asked(predictor, photo(1), HOSTILE)
    hostile = dataclasses.replace(second.prediction, answers=(Answer(HOSTILE, 0.5),))
    second = dataclasses.replace(second, prediction=hostile)
    kept = remember((), photo(1), first)
    assert history.history_html(kept, first) == "" and history.strip_html(kept, first.photo) == ""
    assert history.strip_html(kept, None).count("data-item") == 1  # the photo was taken away: here is the way back
    kept = remember(kept, photo(1), second)
    html = history.history_html(kept, second)
    assert html.index('data-item="1" aria-current="true"') < html.index('data-item="0" aria-current="false"')
    assert "<img" not in html and html.count("&lt;img") == 2
    kept = remember(kept, photo(2), asked(predictor, photo(2), "Where?"))
    strip = history.strip_html(kept, second.photo)
    assert strip.count("<img") == 2 and "2 questions" in strip and strip.count('aria-current="true"') == 1
    assert 'data-item="0" aria-current="true"' in strip
    assert 'aria-current="true"' not in history.strip_html(kept, None)  # a photo that wasn't asked about yet


def test_a_link_brings_back_all_that_it_carries(predictor, example):
    reply = asked(predictor, str(example.path), "How many & who?")
    other = reply.prediction.answers[1].text
    reply = asking.explain_again(predictor, reply, "raw_attention", other).reply
    selection = asking.Selection((0, 3), (5,))
    link = history.link_to(reply, (example,), selection, "image_to_text", 0, None)
    query = {name: values[0] for name, values in parse_qs(to_query(link)[1:]).items()}
    assert query["words"] == "1,4" and query["layer"] == "1" and "head" not in query
    assert read_link(query, (example,)) == link
    found = history.follow_link(predictor, str(example.path), None, link)
    assert found.message == "" and (found.reply.answer, found.reply.explanation.method) == (other, "raw_attention")
    assert history.selected_by(link, found.reply) == (selection, 0, None, "")
    headless = asking.explain_again(predictor, found.reply, "occlusion", other).reply
    _, layer, head, message = history.selected_by(link, headless)
    assert (layer, head) == (None, None) and message.endswith("layer.")  # that method has none


def test_a_link_carries_an_open_models_prompt_and_method_which_others_leave(predictor, example):
    link = Link("photo7", "What is it?", prompt="{image}\n{question} & why?", method="relative_attention")
    query = {name: values[0] for name, values in parse_qs(to_query(link)[1:]).items()}
    assert read_link(query, (example,)) == link
    reply = asked(predictor, str(example.path), "What is it?")
    prompted = dataclasses.replace(reply.prediction, prompt=link.prompt)
    linked = history.link_to(
        dataclasses.replace(reply, prediction=prompted), (example,), asking.Selection(), "text_to_image", None, None
    )
    assert linked.prompt == link.prompt
    found = history.follow_link(predictor, str(example.path), None, link)  # of a model that has neither
    assert found.message == "" and found.reply.explanation.method == "grad_cam"


def test_an_own_photo_has_no_link_and_a_page_without_one_opens_nothing(predictor, photo, example):
    reply = asked(predictor, photo(1), "What?")
    assert history.link_to(reply, (example,), asking.Selection(), "text_to_image", None, None) is None
    assert read_link({"__theme": "dark", "utm_source": "mail"}, (example,)) is None
    for query in ({"photo": "../../etc/passwd"}, {"question": "What?"}, {"photo": ""}):
        with pytest.raises(InputError, match="names no example"):
            read_link(query, (example,))


@pytest.mark.parametrize(
    ("query", "ignored"),
    [
        ({"method": "telepathy"}, "method"),
        ({"direction": "up"}, "direction"),
        ({"words": "1,x"}, "words"),
        ({"words": "0"}, "words"),
        ({"words": "٣"}, "words"),
        ({"cells": "99999"}, "cells"),
        ({"layer": "1,2"}, "layer"),
        ({"question": "x" * 301}, "question"),
        ({"answer": " "}, "answer"),
        ({"prompt": "x" * 1001}, "prompt"),
    ],
)
def test_what_a_link_cannot_mean_is_ignored_and_named(query, ignored, example):
    link = read_link({"photo": "photo7", **query}, (example,))
    assert dataclasses.replace(link, ignored=()) == Link("photo7", "What is it?") and link.ignored == (ignored,)


def test_words_and_heads_that_are_not_there_and_answers_that_are_unknown_are_told(tiny_predictor, predictor, example):
    link = Link("photo7", "what color?", words=(1, 8), cells=(80,), layer=0, head=9)
    reply = asked(predictor, str(example.path), link.question)
    selection, layer, head, message = history.selected_by(link, reply)
    assert (selection, layer, head) == (asking.Selection((1,)), 0, None)
    assert message.endswith("words, cells, head.")
    link = Link("photo7", "what color is the square?", answer="zebra")
    found = history.follow_link(tiny_predictor, str(example.path), None, link)
    assert found.reply is not None and "“zebra” is not in the model’s list" in found.message


def test_histories_can_be_kept_in_a_gradio_state(predictor, photo):
    from gradio.utils import deep_hash

    kept = remember((), photo(1), asked(predictor, photo(1), "What?"))
    assert deep_hash(kept) != deep_hash(remember(kept, photo(1), asked(predictor, photo(1), "Why?")))
