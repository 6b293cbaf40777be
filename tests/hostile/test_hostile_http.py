"""The hostile corpus through a served page: HTTP upload and the page's own events, as a browser sends them."""

import json
import re

import pytest
import torch
from hostile.doors import faults_of, through
from hostile.photos import PICTURE, corpus, saved
from hostile.questions import HOSTILE_QUESTIONS, MARKER
from load.visitor import Busy, Visitor, connect, read_layout, run
from served_page import served

from demo.visit.uploads import MAX_UPLOAD_BYTES
from valm_core.predictor import VqaPredictor

TAG = re.compile(r"<(script|iframe|img src=x|svg|b id|style|a href|textarea|details)", re.IGNORECASE)
OWN = re.compile(r"<img src=\"data:|<a href=\"#[a-z-]+\" data-details>")  # which the page itself writes
UPLOAD_NAME = re.compile(r"[\r\n\"]")  # can't stand in a header


def http_door(url: str):
    """A page on this machine, by upload and events: what a person would be shown."""

    def door(photo, question):
        async def story():
            async with connect(url) as client:
                visitor = Visitor(client, await read_layout(client))
                try:
                    await visitor.upload(photo.read_bytes(), UPLOAD_NAME.sub("_", photo.name))
                    return (await visitor.ask(question)).text
                except Busy as busy:
                    return f"refused: {busy}"

        return run(story())

    return door


def api_door(url: str):
    """The API's ``explain`` by upload and call, as gradio_client and curl use it."""

    def door(photo, question):
        async def story():
            async with connect(url) as client:
                visitor = Visitor(client, await read_layout(client))
                try:
                    path = await visitor.upload(photo.read_bytes(), UPLOAD_NAME.sub("_", photo.name))
                    kind, text = await visitor.call("explain", [path, question, "grad_cam", None])
                except Busy as busy:
                    return f"refused: {busy}"
                return f"answer-text {text}" if kind == "complete" else text

        return run(story())

    return door


def http_faults(door, photos, questions, folder, html: bool = True) -> list[str]:
    """What goes wrong when these photos, and these questions about a right photo, come in by HTTP."""
    faults = []
    path = folder / "photo"
    for photo in photos:
        path = folder / (re.sub(r"[/\0]", "_", photo.name)[-80:])
        path.write_bytes(photo.content)
        passage = through(door, path, "what color is the square?")
        if photo.opened is not None and ("answer-text" in passage.shown) != photo.opened:
            faults.append(f"{photo.name}: {passage.shown[:200]}")
        faults += [f"{photo.name}: {fault}" for fault in faults_of(passage)]
    path.write_bytes(saved(PICTURE, "PNG"))
    for question in questions:
        passage = through(door, path, question)
        faults += [f"{question[:40]!r}: {fault}" for fault in faults_of(passage)]
        if html and MARKER in passage.shown and TAG.search(OWN.sub("", passage.shown)):
            faults.append(f"{question[:40]!r} is rendered as HTML")
    return faults


@pytest.fixture(scope="module")
def page(built_tiny_model, tmp_path_factory):
    """A page around the tiny model."""
    predictor = VqaPredictor(built_tiny_model[0], torch.device("cpu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        with served(predictor) as url:
            yield url


def test_a_share_of_the_corpus_passes_the_page(page, tmp_path):
    # `make soak` sends all of it. Surrogates can't be sent as UTF-8, the encoding of JSON.
    questions = [question for question in HOSTILE_QUESTIONS if "\ud800" not in question]
    assert http_faults(http_door(page), corpus()[::60], questions[::8], tmp_path) == []


def test_a_share_of_the_corpus_passes_the_api(page, tmp_path):
    questions = [question for question in HOSTILE_QUESTIONS if "\ud800" not in question]
    photos = corpus()[7::60]
    assert http_faults(api_door(page), photos, questions[1::8], tmp_path, html=False) == []  # JSON, not HTML


def test_the_painting_takes_no_bombs_and_no_endless_layers(page):
    from hostile.photos import black_png

    async def story():
        async with connect(page) as client:
            layout = await read_layout(client)
            visitor = Visitor(client, layout)
            await visitor.upload(saved(PICTURE, "PNG"))
            await visitor.ask("what color is the square?")
            fields = {
                "component_id": str(layout.numbers["painted"]),
                "session_hash": visitor.session,
                "fn_name": "accept_blobs",
                "id": "a",
            }
            small, bomb = saved(PICTURE, "PNG"), black_png(3000, 3000)
            for index, content, taken in (("0", small, True), ("4000000000", small, False), ("0", bomb, False)):
                answer = await client.post(
                    "/gradio_api/component_server",
                    data=fields | {"type": "layer", "index": index},
                    files={"file": ("a.png", content)},
                )
                assert (answer.status_code == 200) == taken, answer.text

    run(story())


@pytest.mark.parametrize("mark", [{}, {"meta": {"_type": "gradio.FileData"}}, {"meta": {}}])
@pytest.mark.parametrize("target", ["secret.png", "nothing.png", "/dev/zero", "/etc/passwd"])
def test_the_page_opens_no_file_that_was_not_uploaded(page, tmp_path, mark, target):
    """A path without the mark of gradio's file values is looked at nowhere in gradio, and its picture takes it."""
    (tmp_path / "secret.png").write_bytes(saved(PICTURE, "PNG"))
    path = str(tmp_path / target)  # an absolute target stays as it is

    async def story():
        async with connect(page) as client:
            visitor = Visitor(client, await read_layout(client))
            await visitor.upload(saved(PICTURE, "PNG"))
            visitor.photo = {"path": path, **mark}
            try:
                shown = await visitor.ask("what color is the square?")
            except Busy as refused:
                return str(refused)
            return json.dumps(shown.html)

    told = run(story())
    assert "answer-text" not in told and "can't be read" not in told and "no longer on the server" not in told, told


@pytest.mark.parametrize(
    ("megabytes", "reason"),
    [
        (24, f"File size exceeded maximum allowed size of {MAX_UPLOAD_BYTES} bytes."),
        (40, '{"detail":"The request is too large: at most 27 MB are read."}'),
    ],
)
def test_a_file_that_is_too_large_is_refused_with_the_reason(page, megabytes, reason, tmp_path):
    """The smaller one is refused by the upload, the other by the guard before anything of it is read."""
    path = tmp_path / "large.png"
    path.write_bytes(saved(PICTURE, "PNG") + bytes(megabytes * 2**20))
    assert http_door(page)(path, "what is it?") == f"refused: {reason}"
