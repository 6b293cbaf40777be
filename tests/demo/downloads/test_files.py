"""demo/downloads/files.py: the files hold what the page shows, run nothing, and name no path of the server."""

import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from fake_predictor import GRID, FakePredictor
from PIL import Image

from demo.downloads import files
from demo.downloads.files import Shown
from demo.rendering.overlay import Look, overlay
from demo.visit import asking
from valm_core import __version__
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.outputs import Answer

HOSTILE = "</title><script>alert(1)</script><img src=x>"


def shown_for(question: str = "What color is the bus?", **state) -> Shown:
    predictor = FakePredictor()
    picture = Image.effect_noise((320, 200), 60).convert("RGB")
    photo = asking.OpenedPhoto("abc", picture, predictor.encode(picture))
    prediction = predictor.answer(photo.encoded, question)
    explanation = predictor.explain(photo.encoded, question, "grad_cam")
    evidence = predictor.evidence(photo.encoded, question, answer=prediction.answers[0].text)
    reply = asking.Reply(photo, prediction, explanation, evidence)
    return Shown(reply, **({"selection": asking.Selection((4,), (2, 3))} | state))


class Tags(HTMLParser):
    """The tags of a page and the addresses in them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.addresses, self.handlers = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data")]
        self.handlers += [name for name, _ in attributes if name.startswith("on")]


def test_json_holds_every_map_and_what_is_picked():
    shown = shown_for(layer=0, head=0)
    plain = json.loads(files.json_file(shown, FakePredictor.facts))
    explanation = shown.reply.explanation
    assert plain["question"] == "What color is the bus?" and len(plain["answers"]) == 5 and plain["blind_answers"]
    for name, array in (
        ("image_map", explanation.image_map),
        ("word_maps", explanation.token_to_patch.reshape(-1, *GRID)),
        ("cells_read_words", explanation.patch_to_token),
    ):
        assert np.allclose(plain["explanation"][name], array, atol=1e-6), name
    for name in ("text_to_image", "image_to_text"):
        assert np.allclose(plain["explanation"]["layer_head_maps"][name], getattr(explanation, name), atol=1e-6)
    assert plain["shown"]["picked_words"] == [4] and plain["shown"]["picked_cells"] == [2, 3]
    assert plain["shown"]["layer"] == 0 and plain["evidence"]["verdict"] == "matters"
    assert plain["model"]["temperature"] == 1.25 and plain["valm_version"] == __version__


def test_the_facts_name_the_checkpoint_and_no_path(tiny_model, tmp_path):
    from valm_core.predictor import VqaPredictor

    save_checkpoint(tiny_model, tmp_path / "mine")
    facts = VqaPredictor.from_checkpoint(tmp_path / "mine", "cpu").facts
    assert facts["checkpoint"] == "mine" and re.fullmatch("[0-9a-f]{64}", facts["checkpoint_sha256"])
    assert facts["temperature"] == tiny_model.config.temperature and "/" not in json.dumps(facts)


def test_the_report_is_one_file_that_runs_and_fetches_nothing():
    shown = shown_for()
    hostile = dataclasses.replace(
        shown.reply.prediction, question=HOSTILE, answers=(Answer(HOSTILE, 0.6),), blind_answers=(Answer(HOSTILE, 0.4),)
    )
    explanation = dataclasses.replace(shown.reply.explanation, tokens=(HOSTILE, *shown.reply.explanation.tokens[1:]))
    evidence = dataclasses.replace(shown.reply.evidence, answer=HOSTILE, blind_answer=Answer(HOSTILE, 0.4))
    reply = dataclasses.replace(shown.reply, prediction=hostile, explanation=explanation, evidence=evidence)
    facts = {"checkpoint": HOSTILE, "temperature": 1.0}
    page = files.report_file(dataclasses.replace(shown, reply=reply, right_answer=HOSTILE), facts).decode()
    found = Tags(page)
    assert "script" not in found.tags and "link" not in found.tags and found.handlers == []
    assert found.addresses and all(address.startswith("data:image/jpeg;base64,") for address in found.addresses)
    assert "default-src 'none'" in page and "&lt;script&gt;" in page


def test_the_report_shows_the_photo_every_words_map_answers_evidence_and_settings():
    shown = shown_for(look=Look(0.4, True, True), direction="image_to_text", layer=0)
    page = files.report_file(shown, FakePredictor.facts).decode()
    assert Tags(page).tags.count("img") == 1 + 1 + 5  # photo, whole question, words
    for text in (
        "<strong>bus?</strong>",
        "Is the map faithful?",
        "Without the photo",
        "what the photo’s cells read · attention in layer 1, all heads",
        "8 × 10, shown raw",
        "one scale for all words",
        "<td>40</td>",
        "1.25",
        "00ff",
    ):
        assert text in page, text


def test_the_map_is_downloaded_as_it_is_drawn():
    shown = shown_for(look=Look(0.8, raw_cells=True))
    found = Image.open(io.BytesIO(files.map_file(shown, {})))
    drawn = overlay(shown.reply.photo.picture, shown.part, (4,), shown.look)
    assert found.format == "PNG" and np.array_equal(np.asarray(found), np.asarray(drawn))
    both = Image.open(io.BytesIO(files.map_file(dataclasses.replace(shown, view="side_by_side"), {})))
    assert both.width == 2 * drawn.width + 8
    assert np.array_equal(np.asarray(both)[:, -drawn.width :], np.asarray(shown.reply.photo.picture))


def test_every_map_of_the_figure_says_method_place_and_scale(monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    shown = shown_for("How much is $5 or $6?", layer=0, head=0)
    files.figure_file(shown, FakePredictor.facts)
    axes = [axis for axis in drawn[0].axes if len(axis.images) == 2]
    assert [axis.get_title() for axis in axes] == ["whole question", "How", "much", "is", r"\$5", "or", r"\$6?"]
    hottest = max(shown.part.token_to_patch.max(), shown.part.image_map.max())
    for axis in axes:
        label = axis.get_xlabel().replace("\n", " ")
        assert "grad cam" in label and "layer 1, head 1" in label and f"on a scale of 0–{100 * hottest:.1f} %" in label
        assert axis.images[1].get_clim() == pytest.approx((0, 100 * hottest))
    assert "fake" in drawn[0]._supxlabel.get_text() and "1.250" in drawn[0]._supxlabel.get_text()


def test_the_figure_is_a_sharp_png():
    content = files.figure_file(shown_for(), {})
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "PNG" and picture.width >= 3000


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("What is it?", "valm-what-is-it-map.png"),
        ("../../etc/passwd", "valm-etc-passwd-map.png"),
        ("???", "valm-question-map.png"),
        ("这是什么?", "valm-这是什么-map.png"),
        ("x" * 99, f"valm-{'x' * 40}-map.png"),
    ],
)
def test_files_have_safe_names(question, name):
    assert files.file_name(question, "map.png") == name
