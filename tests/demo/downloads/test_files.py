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
from demo.downloads.question_figure import answer_title
from demo.rendering.overlay import Look, overlay
from demo.visit import asking
from valm_core import __version__
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.outputs import Answer, TrackRecord

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
    record = TrackRecord(0.5, 0.6, 300, 0.62, "yes/no")
    shown = shown_for(look=Look(0.4, True, True), direction="image_to_text", layer=0, record=record)
    page = files.report_file(shown, FakePredictor.facts).decode()
    assert Tags(page).tags.count("img") == 1 + 1 + 5  # photo, whole question, words
    for text in (
        "<strong>bus?</strong>",
        "Does it matter where it looked?",
        "Without the photo",
        "62 % were right",
        "what the photo’s cells read · attention in layer 1, all heads",
        "8 × 10, shown raw",
        "one scale for all words",
        "<td>40</td>",
        "1.25",
        "00ff",
    ):
        assert text in page, text


def test_the_report_of_a_long_answer_holds_the_first_maps_and_the_picked_ones_and_says_so():
    shown, count = shown_for(), 180
    known = shown.reply.explanation
    cells = known.grid[0] * known.grid[1]
    maps = np.random.default_rng(0).dirichlet(np.ones(cells), count).astype(np.float32)  # [W, N]
    longer = dataclasses.replace(
        known,
        tokens=tuple(f"word{number}" for number in range(count)),
        token_scores=np.full(count, 1 / count, dtype=np.float32),
        token_to_patch=maps,
        patch_to_token=maps.T / maps.sum(axis=0)[:, None],
        text_to_image=maps[None, None],
        image_to_text=(maps.T / maps.sum(axis=0)[:, None])[None, None],
        answer_words=170,
    )
    reply = dataclasses.replace(shown.reply, explanation=longer)
    shown = dataclasses.replace(shown, reply=reply, selection=asking.Selection((170, 999)))
    page = files.report_file(shown, {}).decode()
    assert Tags(page).tags.count("img") == 2 + files.REPORT_WORDS and len(page) < 6_000_000
    assert "The maps of 140 more words are left out, so that this file stays small" in page
    assert files.words_in_report(count, (170, 999)) == [*range(files.REPORT_WORDS - 1), 170]
    assert files.words_in_report(3) == [0, 1, 2] and "left out" not in files.report_file(shown_for(), {}).decode()


def test_the_map_is_downloaded_as_it_is_drawn():
    shown = shown_for(look=Look(0.8, raw_cells=True))
    found = Image.open(io.BytesIO(files.map_file(shown, {})))
    drawn = overlay(shown.reply.photo.picture, shown.part, (4,), shown.look, min_side=1200)
    assert max(found.size) >= 1200 > max(shown.reply.photo.picture.size)
    assert found.format == "PNG" and np.array_equal(np.asarray(found), np.asarray(drawn))
    both = Image.open(io.BytesIO(files.map_file(dataclasses.replace(shown, view="side_by_side"), {})))
    assert both.width == 2 * drawn.width + 8
    photo = np.asarray(shown.reply.photo.picture.convert("RGB").resize(drawn.size))
    assert np.array_equal(np.asarray(both)[:, -drawn.width :], photo)


def test_the_figure_says_method_place_and_scale_once_and_every_map_its_range(monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    shown = shown_for("How much is $5 or $6?", layer=0, head=0)
    files.figure_file(shown, FakePredictor.facts)
    axes = [axis for axis in drawn[0].axes if len(axis.images) == 2]
    assert [axis.get_title() for axis in axes] == ["whole question", "How", "much", "is", r"\$5", "or", r"\$6?"]
    maps = [shown.part.image_map, *(shown.part.token_map(word) for word in range(6))]
    hottest = max(values.max() for values in maps)
    for axis, values in zip(axes, maps, strict=True):
        assert axis.get_xlabel() == f"{100 * values.min():.1f}–{100 * values.max():.1f} %"
        heat = axis.images[1]
        assert heat.get_clim() == pytest.approx((0, 100 * hottest))
        np.testing.assert_allclose(heat.get_alpha(), 0.825 * values / hottest, atol=1e-5)  # the photo where it is low
    title = drawn[0]._suptitle.get_text()
    assert title.count("grad cam") == 1 and "layer 1, head 1" in title
    assert [axis.get_ylabel() for axis in drawn[0].axes if axis.get_ylabel()] == [
        "% of the map per cell (8 × 10 cells), one scale for all"
    ]
    assert "fake" in drawn[0]._supxlabel.get_text() and "1.250" in drawn[0]._supxlabel.get_text()


def test_the_figure_of_an_open_model_says_what_its_numbers_are_and_what_it_was_asked_by():
    prediction = dataclasses.replace(shown_for().reply.prediction, answers=(Answer("bus", 4e-5),), calibrated=False)
    facts = {"checkpoint": "tiny", "checkpoint_sha256": "00ff", "family": "SmolVLM", "precision": "float32"}
    facts["prompt_without_template"] = "{image}\n{question} Answer."
    assert answer_title(prediction) == "answer: bus (< 0.1 %)"
    footer = files.figure_footer(facts, prediction)
    assert footer.endswith("SmolVLM, float32 · percentages not calibrated · asked by “{image} {question} Answer.”")
    other = dataclasses.replace(prediction, prompt="Look: {image} {question}")
    calibrated = facts | {"probabilities": "calibrated on 300 questions"}
    assert files.facts_of(calibrated, other)["probabilities"] == "not calibrated"
    assert files.facts_of(calibrated, prediction) == calibrated
    assert "asked by “Look: {image} {question}”" in files.figure_footer(facts, other)
    long = dataclasses.replace(other, long=True, answers=(Answer("a red bus " * 30, 0.4),))
    assert (
        "%" not in answer_title(long) and len(answer_title(long)) < 80 and "cal" not in files.figure_footer(facts, long)
    )
    assert "asked" not in files.figure_footer(FakePredictor.facts, shown_for().reply.prediction)


def test_the_figure_is_a_sharp_png():
    content = files.figure_file(shown_for(), {})
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "PNG" and picture.width >= 3000


@pytest.mark.parametrize(("kind", "start", "end"), [("svg", b"<?xml", b"</svg>"), ("pdf", b"%PDF-", b"%%EOF")])
def test_the_figure_is_a_vector_file(kind, start, end):
    name, write = files.FILES[kind]
    content = write(shown_for(), FakePredictor.facts)
    assert name == f"figure.{kind}" and content.startswith(start) and content.rstrip().endswith(end)


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
