"""The endpoints of other tasks: told in /gradio_api/info, their replies as documented, what they refuse."""

import base64
import dataclasses
import io
import json
import typing
import urllib.request

import pytest
import torch
from fake_predictor import FakePredictor
from gradio_client import Client
from patience import PATIENCE
from PIL import Image
from planted_reader import PlantedReader
from served_page import served

from demo.more.models import MoreModels
from demo.server import api, replies
from demo.server.task_api import TASK_PARAMETERS, TaskEndpoints
from demo.settings import Settings
from demo.visit.printed import NO_OCR
from valm_core import answering
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.inputs.ocr import OcrMissing
from valm_core.model.build import build_task_model

jsonschema = pytest.importorskip("jsonschema")
REPLIES = replies.replies_schema()


def fits(kind: str, reply: object) -> None:
    """Raise where a reply, as JSON carries it, doesn't fit the schema of its kind."""
    plain = json.loads(json.dumps(reply))
    jsonschema.validate(plain, {**REPLIES, "$ref": f"#/$defs/{kind}"}, cls=jsonschema.Draft202012Validator)


@pytest.fixture(scope="module")
def models(tiny_config, tmp_path_factory):
    """Tiny checkpoints for four tasks."""
    folder, checkpoints = tmp_path_factory.mktemp("tasks"), {}
    for task, labels in (
        ("tag", ["O", "B-X", "I-X"]),
        ("relate", ["a", "b"]),
        ("judge", ["a", "b"]),
        ("feel", ["a", "b"]),
    ):
        torch.manual_seed(0)
        fusion = "bi_attention" if task in ("judge", "feel") else "text"
        model = build_task_model(dataclasses.replace(tiny_config, task=task, fusion=fusion), labels)
        checkpoints[task] = folder / task
        save_checkpoint(model.eval(), checkpoints[task])
    return MoreModels(checkpoints)


@pytest.fixture
def photo() -> str:
    content = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert("RGB").save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def test_the_served_page_tells_of_them_and_answers(models):
    with served(FakePredictor(), Settings(mcp=False), more=models) as url:
        with urllib.request.urlopen(f"{url}/gradio_api/info", timeout=PATIENCE) as told:
            endpoints = json.load(told)["named_endpoints"]
        assert set(endpoints) == {"/answer", "/explain", "/examples", *(f"/{task}" for task in models.checkpoints)}
        for task in models.checkpoints:
            parameters = endpoints[f"/{task}"]["parameters"]
            assert [part["parameter_name"] for part in parameters] == [*TASK_PARAMETERS[task]]
            for part in parameters:
                assert part["type"]["description"] and part["example_input"] == part["type"]["examples"][0]
            assert len(endpoints[f"/{task}"]["description"]) > 40
        client = Client(url, verbose=False, httpx_kwargs={"timeout": PATIENCE})
        reply = client.predict("is there red?", api_name="/feel")
        assert sum(one["probability"] for one in reply["labels"]) == pytest.approx(1) and reply["map"] is None


def test_replies_fit_their_schema_and_documentation(models, photo):
    ends = TaskEndpoints(models)
    said = {
        "tag": ends.tag("is there red?"),
        "relate": ends.relate("what is [the square] there [is]"),
        "judge": ends.judge(photo, "there is red"),
        "feel": ends.feel("there is red", photo),
    }
    for task, reply in said.items():
        fits(task, reply)
        documented = getattr(TaskEndpoints, task).__doc__ + TaskEndpoints.relate.__doc__
        assert all(f'"{name}"' in documented for name in typing.get_type_hints(replies.REPLIES[task]))
    assert said["judge"]["map"] and said["judge"]["without_photo"] and said["relate"]["map"] is None
    with pytest.raises(jsonschema.ValidationError):
        fits("judge", said["judge"] | {"labels": [{"label": "a", "probability": 2}]})


def test_what_cannot_be_used_is_refused_with_the_reason(models, photo):
    import gradio as gr

    ends = TaskEndpoints(models)
    for call, message in (
        (lambda: ends.tag(5), "text is 5"),
        (lambda: ends.relate("no parts"), "Mark two parts"),
        (lambda: ends.judge("http://127.0.0.1/x.png", "red"), "fetches no addresses"),
        (lambda: ends.feel(" "), "The text is empty"),
        (lambda: ends.read(photo, "total?", 0), "page is 0"),
        (lambda: ends.read(photo, 7), "question is 7"),
    ):
        with pytest.raises(gr.Error, match=message):
            call()


def test_a_page_of_text_that_is_asked_about_is_read_beside_the_answer(tiny_predictor, monkeypatch, photo):
    reader = PlantedReader()
    ends = api.Endpoints(tiny_predictor, (), reader=reader)
    usual = ends.answer(photo, "What is the total?")
    assert usual["read"] is None and reader.opened == 0  # an ordinary photo asks nothing of it
    monkeypatch.setattr(
        answering, "unfamiliar_parts", lambda familiar, model, text, tokens: [("photo",)] * len(text.mask)
    )
    for kind, reply in (
        ("answer", ends.answer(photo, "What is the total?")),
        ("answer", ends.answer(photo, "What is the total?", 5, ["red", "blue"])),
        ("explain", ends.explain(photo, "What is the total?")),
    ):
        fits(kind, reply)
        assert reply["unfamiliar"] == ["photo"]
        assert reply["read"]["answer"] == "60.30" and reply["read"]["probability"] == 0.8
    assert ends.answer(photo, "What is the total?")["read"]["boxes"][0][1] == pytest.approx(0.7)
    without = api.Endpoints(tiny_predictor, (), reader=PlantedReader(fault=OcrMissing("none")))
    reply = without.answer(photo, "What is the total?")
    assert reply["read"] == {"error": NO_OCR} and reply["answers"]
    fits("answer", reply)
