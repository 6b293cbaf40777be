"""A printed page among the photos is read, once, and only where the first model finds it unfamiliar."""

import dataclasses

import pytest
from fake_predictor import FakePredictor
from PIL import Image
from planted_reader import RECEIPT, PlantedReader

from demo.downloads.task_json import printed_json
from demo.languages.translate import speaking
from demo.more.results import printed_html
from demo.rendering.answers import lead_html
from demo.visit import asking
from demo.visit.printed import MIN_WORDS, NO_OCR, Printed, known_page, read_printed, wants_reading, with_read
from valm_core.inputs.ocr import OcrMissing
from valm_core.inputs.page import Line
from valm_core.outputs import InputError

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def reply(tmp_path):
    """A reply about a photo that is said to be unfamiliar."""
    Image.new("RGB", (64, 48), (200, 0, 0)).save(tmp_path / "photo.png")
    usual = asking.ask(FakePredictor(), str(tmp_path / "photo.png"), None, "What is the total?")
    return dataclasses.replace(usual, prediction=dataclasses.replace(usual.prediction, unfamiliar=("photo",)))


def test_only_what_the_first_model_finds_unfamiliar_is_to_be_read(reply):
    assert wants_reading(reply.prediction)
    assert not wants_reading(dataclasses.replace(reply.prediction, unfamiliar=("question",)))
    assert not wants_reading(dataclasses.replace(reply.prediction, unfamiliar=()))


def test_a_page_is_read_once_for_all_questions(reply):
    reader = PlantedReader()
    first = read_printed(reader, "photo.png", "What is the total?")
    assert first.answer.text == "60.30" and first.message == ""
    known = known_page([reply, with_read(reply, first)])
    second = read_printed(reader, "photo.png", "What is the date?", known)
    assert second.page is first.page and reader.opened == 1
    assert reader.asked == ["What is the total?", "What is the date?"]


def test_a_photo_with_few_words_stays_a_photo_and_is_not_looked_at_again():
    few = PlantedReader([Line((0.1, 0.1, 0.9, 0.2), " ".join(["STOP"] * (MIN_WORDS - 1)))])
    read = read_printed(few, "photo.png", "what?")
    assert read.page is None and read.message == "" and few.asked == []
    assert read_printed(few, "photo.png", "and now?", read) is read and few.opened == 1
    assert read_printed(PlantedReader([*few.lines, RECEIPT[2]]), "photo.png", "what?").answer.text == "60.30"
    nothing = read_printed(PlantedReader(fault=InputError("No words were found.")), "photo.png", "what?")
    assert nothing.answer is None and nothing.message == ""


def test_without_ocr_it_is_told_what_to_install_and_tried_again(reply):
    read = read_printed(PlantedReader(fault=OcrMissing("no")), "photo.png", "what?")
    assert read.message == NO_OCR and ".venv/bin/pip install -e '.[read]'" in NO_OCR
    assert "pip install" in printed_html(read) and printed_json(read) == {"error": NO_OCR}
    assert known_page([with_read(reply, read)]) is None
    with speaking("zh"):
        assert "安装命令" in printed_html(read)
    ours = read_printed(PlantedReader(fault=RuntimeError("secret")), "photo.png", "what?")
    assert ours.message == asking.OUR_FAULT and "secret" not in printed_html(ours)


def test_what_is_read_stands_in_place_of_the_warning_and_says_whose_it_is(reply):
    warned = lead_html(reply.prediction, None, reply.evidence)
    told = lead_html(reply.prediction, None, reply.evidence, read=True)
    assert "Few photos it learned from" in warned and "Few photos it learned from" not in told
    assert "the model for photos speaks" in told and 'class="doubted"' in told
    read = read_printed(PlantedReader(), "photo.png", "What is the total?")
    html = printed_html(read)
    assert "Read on the page: 60.30" in html and "a second model" in html and "80 %" in html
    assert "data:image/jpeg" in html and "with a frame around “60.30”" in html
    assert "<img src=x" not in printed_html(Printed(read.page, dataclasses.replace(read.answer, text=EVIL)))


def test_as_plain_values_it_has_the_span_its_probability_and_its_places():
    told = printed_json(read_printed(PlantedReader(), "photo.png", "What is the total?"))
    assert told["answer"] == "60.30" and told["probability"] == 0.8
    (box,) = told["boxes"]
    assert box[1] == pytest.approx(0.7) and box[3] == pytest.approx(0.8) and box[0] > 0.5
    assert told["page"]["words"][told["words"][0]] == "60.30"
    assert printed_json(None) is None and printed_json(Printed()) is None
