"""What valm-ask prints and draws of marked words."""

import json

import numpy as np
import pytest
from PIL import Image

from demo.downloads.task_json import page_answer_json, tagged_json
from demo.rendering.page_frames import ANSWER_COLOR, LINE_COLOR, marked_page
from demo.terminal.spans import format_answer, format_tagged
from valm_core.inputs.page import Line, page_of_lines
from valm_core.tasks.reader import PageAnswer, ReadPage, boxes_of
from valm_core.tasks.tagger import Tagged, TaggedSpan


@pytest.fixture
def tagged() -> Tagged:
    scores = np.array([0.9, 2.0, 0.4, 0.0, 0.0], dtype=np.float32)
    span = TaggedSpan(0, 2, "PER", "Angela Merkel", 0.987, 0.31, scores, 4.0, "matters")
    place = TaggedSpan(3, 4, "LOC", "Paris", 0.9, 0.2, scores * 0, 0.0, "cannot tell")
    words = ("Angela", "Merkel", "visited", "Paris", ".")
    return Tagged(words, ("B-PER", "I-PER", "O", "B-LOC", "O"), (0.99, 0.98, 1.0, 0.9, 1.0), (span, place))


def test_entities_stand_in_brackets_with_what_they_rest_on(tagged):
    first, person, place = format_tagged(tagged).splitlines()
    assert first == "[Angela Merkel PER] visited [Paris LOC] ."
    assert "99%, from the other words alone 31%" in person and person.endswith("beside itself: visited")
    assert "cannot tell" in place and "beside itself" not in place
    assert "No entity" in format_tagged(Tagged(("so", "what"), ("O", "O"), (1.0, 1.0), ()))
    told = json.loads(json.dumps(tagged_json(tagged)))
    assert told["labels"][0] == "B-PER" and told["spans"][0]["word_scores"][1] == 2.0
    assert told["spans"][0]["map"] is None


def test_an_answer_names_its_place_and_lines_and_is_framed_on_its_page():
    lines = [
        Line((0.1, 0.1, 0.5, 0.2), "TOTAL"),
        Line((0.6, 0.1, 0.9, 0.2), "60.30"),
        Line((0.1, 0.6, 0.9, 0.7), "BYE"),
    ]
    words = page_of_lines(lines)
    page = ReadPage(words, None, Image.new("RGB", (200, 100), "white"), 2, 3)
    scores = np.array([1.5, 0.0, 0.01], dtype=np.float32)
    answer = PageAnswer("what?", "60.30", 1, 2, boxes_of(words, 1, 2), 0.8, scores, 4.2, "matters", (("BYE", 0.1),))
    text = format_answer(page, answer)
    assert text.startswith("60.30  (80%)") and "or: BYE  (10%)" in text and "Page 2 of 3" in text
    assert "1.5  TOTAL" in text and text.count("BYE") == 1
    marked = marked_page(page.picture, page, answer)
    assert marked.getpixel((118, 15)) == ANSWER_COLOR and marked.getpixel((150, 15)) == (255, 255, 255)
    assert marked.getpixel((60, 9)) == LINE_COLOR and marked.getpixel((100, 59)) == (255, 255, 255)
    told = json.loads(json.dumps(page_answer_json(page, answer)))
    assert told["boxes"] == [[0.6, 0.1, 0.9, 0.2]] and told["page"]["words"] == ["TOTAL", "60.30", "BYE"]
