"""The API of a served page, by gradio_client and curl: what it gives, what it refuses, and how it says so."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import types
import typing
from html import unescape
from pathlib import Path

import pytest
from fake_predictor import FakePredictor
from gradio_client import Client, handle_file
from patience import PATIENCE
from PIL import Image
from served_page import served

from demo.server import api, replies
from demo.server.api import build_api, mcp_wanted
from demo.settings import Settings
from demo.visit.asking import LOST_PHOTO
from demo.visit.uploads import NOT_UPLOADED, photo_content
from valm_core import answering
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.method_names import DEFAULT_METHOD
from valm_core.model.heads import ANSWER_KINDS
from valm_core.outputs import InputError

ROOT = Path(__file__).parents[3]
CAT = ROOT / "assets" / "examples" / "cat.jpg"
QUESTION = "What animal is this?"
PATIENT = {"timeout": PATIENCE}
MARK = {"meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def page_url(tmp_path_factory):
    """A page around the fake predictor, with a folder for uploads of its own."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("uploads"))
    with served(FakePredictor(), Settings(mcp=False)) as url:
        yield url
    os.environ.pop("GRADIO_TEMP_DIR") if before is None else os.environ.update(GRADIO_TEMP_DIR=before)


@pytest.fixture(scope="module")
def client(page_url, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("downloads"))
    return Client(page_url, verbose=False, download_files=folder, httpx_kwargs=PATIENT)


def curl(*arguments: str) -> str:
    """What curl prints; it must be there, as it is wherever the commands of docs/api.md are to run."""
    return subprocess.run(
        ["curl", "-sS", *arguments], capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout


def call(page_url: str, endpoint: str, *data) -> tuple[str, object]:
    """An endpoint called by curl as in docs/api.md: the kind of the last event and its data."""
    body = json.dumps({"data": data})
    sent = curl("-H", "Content-Type: application/json", "-d", body, f"{page_url}/gradio_api/call/{endpoint}")
    event = json.loads(sent)["event_id"]
    lines = curl("-N", f"{page_url}/gradio_api/call/{endpoint}/{event}").strip().splitlines()
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


def test_an_unknown_endpoint_is_not_found(page_url):
    for way in ("call", "run"):
        sent = ["-w", "%{http_code}", "-H", "Content-Type: application/json", "-d", '{"data": []}']
        told = curl(*sent, f"{page_url}/gradio_api/{way}/nosuch")
        assert told.endswith("404") and "There is no 'nosuch' here" in told


def data_text(content: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


def test_the_documentation_lists_the_three_endpoints_and_their_types(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/answer", "/explain", "/examples"}
    parameters = {part["parameter_name"]: part for part in endpoints["/answer"]["parameters"]}
    assert list(parameters) == ["photo", "question", "top", "candidates"]
    assert parameters["top"]["parameter_default"] == 5 and not parameters["photo"]["parameter_has_default"]
    assert parameters["photo"]["python_type"]["type"] == "filepath | str"
    method = next(part for part in endpoints["/explain"]["parameters"] if part["parameter_name"] == "method")
    assert (
        method["type"]["enum"] == [*EXPLANATION_METHODS, "relative_attention"]
        and method["parameter_default"] == DEFAULT_METHOD
    )
    given = endpoints["/explain"]["returns"][0]["type"]["properties"]
    assert set(given) == set(typing.get_type_hints(api.Explained))
    assert given["explanation"]["properties"]["image_map"]["items"]["items"] == {"type": "number"}
    assert all(len(endpoint["description"]) > 40 for endpoint in endpoints.values())


def differences(documented, value, place: str) -> list[str]:
    """Where a value of JSON is not of the documented type, a field too many or too few among them."""
    if typing.is_typeddict(documented):
        if not isinstance(value, dict):
            return [place]
        fields = typing.get_type_hints(documented)
        odd = [f"{place}.{name}" for name in fields.keys() ^ value.keys()]
        return odd + [
            found
            for name in fields.keys() & value.keys()
            for found in differences(fields[name], value[name], f"{place}.{name}")
        ]
    kind, inner = typing.get_origin(documented) or documented, typing.get_args(documented)
    if kind is typing.Literal:
        return [] if value in inner else [place]
    if kind is types.UnionType:
        return [] if any(not differences(option, value, place) for option in inner) else [place]
    if not isinstance(value, (int, float) if kind is float else kind):
        return [place]
    if kind is list and inner:
        return [found for part in value for found in differences(inner[0], part, f"{place}[]")]
    if kind is dict:
        return [found for name, part in value.items() for found in differences(inner[1], part, f"{place}[{name}]")]
    return []


@pytest.mark.parametrize("familiar", [True, False])
def test_the_documented_fields_are_those_of_real_replies(tiny_predictor, monkeypatch, familiar):
    """As JSON carries them; no field is sent without being documented, none documented without being sent."""
    unlike = () if familiar else ("photo", "question")
    monkeypatch.setattr(answering, "unfamiliar_parts", lambda known, model, text, tokens: [unlike] * len(text.mask))
    endpoints = api.Endpoints(tiny_predictor, ())
    photo = data_text(CAT.read_bytes())
    for endpoint, documented in ((endpoints.answer, api.Answers), (endpoints.explain, api.Explained)):
        reply = json.loads(json.dumps(endpoint(photo, QUESTION)))
        assert reply["unfamiliar"] == list(unlike) and set(reply["kinds"]) <= set(ANSWER_KINDS)
        assert differences(documented, reply, documented.__name__) == []
        documentation = endpoint.__doc__ + (api.Endpoints.answer.__doc__ if documented is api.Explained else "")
        assert all(f'"{name}"' in documentation for name in typing.get_type_hints(documented))


def test_a_field_that_is_not_documented_is_found():
    """That the comparison above can fail."""
    share = {"answer": "cat", "probability": 0.5}
    assert differences(replies.AnswerShare, share, "share") == []
    assert differences(replies.AnswerShare, share | {"extra": 1}, "share") == ["share.extra"]
    assert differences(list[replies.AnswerShare], [{"answer": "cat"}], "shares") == ["shares[].probability"]
    assert differences(replies.AnswerShare, share | {"probability": "half"}, "share") == ["share.probability"]


def test_gradio_client_gets_what_the_predictor_gives(client):
    predictor = FakePredictor()
    encoded = predictor.encode(CAT)
    expected = predictor.answer(encoded, QUESTION, 3)
    reply = client.predict(handle_file(CAT), QUESTION, top=3, api_name="/answer")
    assert [entry["answer"] for entry in reply["answers"]] == [answer.text for answer in expected.answers]
    assert reply["answers"][0]["probability"] == pytest.approx(expected.answers[0].probability)
    assert reply["question"] == QUESTION and reply["blind_answers"][0]["answer"] == "yes"

    among = client.predict(handle_file(CAT), QUESTION, candidates=["cat", "dog"], api_name="/answer")
    assert [entry["answer"] for entry in among["answers"]] == ["cat", "dog"]

    explained = client.predict(handle_file(CAT), QUESTION, method="occlusion", answer="cat", api_name="/explain")
    wanted = predictor.explain(encoded, QUESTION)
    assert explained["explanation"]["image_map"] == pytest.approx(wanted.image_map, abs=1e-6)
    assert (
        explained["explanation"]["words"] == list(wanted.tokens) and explained["explanation"]["method"] == "occlusion"
    )
    assert explained["evidence"]["answer"] == "cat" and explained["evidence"]["verdict"] == "matters"


def test_examples_come_with_photos_that_can_be_sent_back(client, page_url):
    examples = client.predict(api_name="/examples")
    cat = next(example for example in examples if example["title"] == "Cat")
    assert Path(cat["photo"]).read_bytes() == CAT.read_bytes() and QUESTION in cat["questions"]
    kind, (listed,) = call(page_url, "examples")
    photo = next(example["photo"] for example in listed if example["title"] == "Cat")
    assert str(ROOT) not in json.dumps(listed)
    kind, (reply,) = call(page_url, "answer", photo, QUESTION, 5, None)
    assert kind == "complete" and len(reply["answers"]) == 5


def test_curl_as_in_the_docs(page_url):
    """The page's own lines, with the page's address in place of the default one."""
    shown = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    script = shown.split("With curl")[1].split("\n\n")[1].replace("http://127.0.0.1:7860", page_url)
    done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout.split("event: complete\ndata: ")[1].splitlines()[0])[0]
    assert reply["question"] == QUESTION and len(reply["answers"]) == 5


def test_python_as_in_the_docs(page_url):
    shown = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    code = shown.split("from gradio_client import")[1].split("\n\nWith curl")[0]
    code = "from gradio_client import" + code.replace("\n    ", "\n")
    patient = f'"{page_url}", httpx_kwargs={PATIENT}'  # gradio_client gives a busy machine five seconds
    code = code.replace('"http://127.0.0.1:7860"', patient)
    values: dict = {}
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        exec(code, values)
    finally:
        os.chdir(before)
    assert values["reply"]["answers"] and values["maps"]["explanation"]["image_map"]


def test_every_parameter_has_a_name_a_description_an_example_and_its_limits(page_url):
    endpoints = json.loads(curl(f"{page_url}/gradio_api/info"))["named_endpoints"]
    offered = {name: told for name, told in api.PARAMETERS.items() if f"/{name}" in endpoints}
    of_models = {"describe", "find", "write", *api.TASK_PARAMETERS}  # which need a model, a collection
    assert offered.keys() == api.PARAMETERS.keys() - of_models
    for name, told in offered.items():
        parameters = endpoints[f"/{name}"]["parameters"]
        assert [part["parameter_name"] for part in parameters] == [part["label"] for part in parameters] == [*told]
        for part in parameters:
            assert part["python_type"]["description"] == part["type"]["description"] != ""
            assert part["example_input"] == part["type"]["examples"][0]
    limits = {part["parameter_name"]: part["type"] for part in endpoints["/answer"]["parameters"]}
    assert (limits["top"]["minimum"], limits["top"]["maximum"]) == (1, 100)
    assert limits["question"]["maxLength"] == 300 and limits["candidates"]["maxItems"] == 100
    assert "20 MB" in limits["photo"]["description"]


def test_the_limits_that_are_told_are_those_that_hold(page_url):
    photo = data_text(small_photo())
    for top, fits in ((1, True), (100, True), (0, False), (101, False)):
        assert (call(page_url, "answer", photo, QUESTION, top, None)[0] == "complete") == fits
    for example in (api.PARAMETERS["answer"], api.PARAMETERS["explain"]):
        data = [photo, *(told["examples"][0] for name, told in example.items() if name != "photo")]
        endpoint = "answer" if example is api.PARAMETERS["answer"] else "explain"
        assert call(page_url, endpoint, *data)[0] == "complete"


@pytest.fixture(scope="module")
def check_reply(page_url):
    """``check_reply(kind, reply)`` raises where a reply doesn't fit the schema that the page serves."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(curl(f"{page_url}/api/schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)

    def check(kind, reply):
        jsonschema.validate(reply, {**schema, "$ref": f"#/$defs/{kind}"}, cls=jsonschema.Draft202012Validator)

    return check


def test_replies_and_refusals_fit_the_served_schema(page_url, check_reply, tiny_predictor):
    photo = data_text(small_photo())
    for endpoint, data in (
        ("answer", [photo, QUESTION, 5, None]),
        ("answer", [photo, QUESTION, 5, ["cat", "dog"]]),
        ("explain", [photo, QUESTION, "occlusion", None]),
        ("examples", []),
    ):
        kind, (reply,) = call(page_url, endpoint, *data)
        assert kind == "complete"
        check_reply(endpoint, reply)
    for data in ([photo, "", 5, None], [photo, QUESTION, 0, None], [None, QUESTION, 5, None], [photo]):
        kind, refusal = call(page_url, "answer", *data)
        assert kind == "error" and refusal["error"]
        check_reply("error", refusal)
    real = api.Endpoints(tiny_predictor, ())
    check_reply("answer", json.loads(json.dumps(real.answer(photo, QUESTION))))
    check_reply("explain", json.loads(json.dumps(real.explain(photo, QUESTION, "raw_attention"))))


def test_what_does_not_fit_the_schema_is_found(page_url, check_reply):
    from jsonschema import ValidationError

    _, (reply,) = call(page_url, "explain", data_text(small_photo()), QUESTION, "grad_cam", None)
    evidence = reply["evidence"]
    for wrong in (
        {**reply, "extra": 1},
        {name: value for name, value in reply.items() if name != "gate"},
        {**reply, "gate": 1.5},
        {**reply, "unfamiliar": ["weather"]},
        {**reply, "evidence": {**evidence, "verdict": "perhaps"}},
    ):
        with pytest.raises(ValidationError):
            check_reply("explain", wrong)
    with pytest.raises(ValidationError):
        check_reply("error", reply)


@pytest.fixture(scope="module")
def api_page(page_url):
    """The page that the link "API" leads to."""
    assert re.search(r'<a href=\\+"api\\+"', curl(f"{page_url}/config"))
    return curl(f"{page_url}/api")


@pytest.mark.parametrize("name", ["python", "curl"])
def test_the_snippets_of_the_page_run_as_they_are_copied(forks, api_page, page_url, tmp_path, name):
    code = unescape(re.search(rf'<pre id="{name}"[^>]*>(.*?)</pre>', api_page, re.DOTALL)[1])
    assert page_url in code and f'data-copies="{name}"' in api_page
    shutil.copy(CAT, tmp_path / "photo.jpg")
    if name == "python":  # gradio_client gives a busy machine five seconds
        code = code.replace(f'"{page_url}"', f'"{page_url}", httpx_kwargs={PATIENT}')
        done = forks.run(["-c", code], cwd=tmp_path, timeout=PATIENCE)
    else:
        done = subprocess.run(["bash", "-ec", code], capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    best = FakePredictor().answer(FakePredictor().encode(CAT), QUESTION).answers[0].text
    assert f"'{best}'" in done.stdout or f'"{best}"' in done.stdout


def test_the_page_about_the_api_speaks_chinese_too(page_url):
    html = curl("-H", "Accept-Language: zh-CN", f"{page_url}/api")
    assert "通过 HTTP 提问" in html and 'lang="zh-CN"' in html and "Ask over HTTP" not in html


def test_a_photo_may_come_as_base64_text(client):
    text = client.predict(data_text(CAT.read_bytes()), QUESTION, api_name="/answer")
    assert text == client.predict(handle_file(CAT), QUESTION, api_name="/answer")


@pytest.fixture
def witness():
    """A server on this machine's inside; the list of what was fetched from it."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    fetched = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            fetched.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", fetched
    server.shutdown()


def test_addresses_and_files_of_the_server_are_refused(page_url, witness, tmp_path):
    address, fetched = witness
    secret = tmp_path / "secret.jpg"
    shutil.copy(CAT, secret)
    uploads = Path(os.environ["GRADIO_TEMP_DIR"])
    hostile = [
        {"path": f"{address}/photo.jpg", **MARK},
        {"path": f"{address}/photo.jpg"},
        f"{address}/photo.jpg",
        {"path": "photo.jpg", "url": f"{address}/photo.jpg", **MARK},
        {"path": "http://example.com/photo.jpg", "is_stream": True, **MARK},
        {"path": f"{address}/gradio_api/file={secret}", **MARK},
        f"{address}/gradio_api/file={secret}",
        {"path": "/etc/passwd", **MARK},
        {"path": "/etc/passwd"},
        "/etc/passwd",
        {"path": str(secret), **MARK},
        str(secret),
        {"path": f"{uploads}/../secret.jpg", **MARK},
        str(CAT),
        str(uploads),
        "\0",
        "x" * 5000,
        {"path": 5},
        {},
        None,
        7,
        [],
    ]
    for photo in hostile:
        kind, result = call(page_url, "answer", photo, QUESTION, 5, None)
        assert (kind, result["error"]) == ("error", NOT_UPLOADED), photo
    deleted = str(Path(uploads) / "00ff" / "photo.jpg")
    for photo in (deleted, {"path": deleted, **MARK}):
        kind, result = call(page_url, "answer", photo, QUESTION, 5, None)
        assert (kind, result["error"]) == ("error", LOST_PHOTO)
    kind, result = call(page_url, "answer", "data:image/jpeg;base64,AA", {"path": f"{address}/q", **MARK}, 5, None)
    assert (kind, result["error"]) == ("error", NOT_UPLOADED)
    assert fetched == []


def test_the_pages_own_events_fetch_no_address_either(page_url, witness):
    address, fetched = witness
    config = json.loads(curl(f"{page_url}/config"))
    hostile = {"path": f"{address}/photo.jpg", **MARK}
    tried = 0
    for event in config["dependencies"]:
        if not event["backend_fn"] or event["api_visibility"] == "public":
            continue
        data = [hostile] * len(event["inputs"])
        if not data:
            continue
        body = json.dumps({"data": data, "fn_index": event["id"], "session_hash": f"s{event['id']}"})
        curl("-H", "Content-Type: application/json", "-d", body, f"{page_url}/gradio_api/queue/join")
        heard = curl("-N", f"{page_url}/gradio_api/queue/data?session_hash=s{event['id']}")
        assert "process_completed" in heard, event
        assert '"success":true' not in heard or all_state(config, event), event
        tried += 1
    assert tried > 5 and fetched == []


def all_state(config: dict, event: dict) -> bool:
    """Whether an event reads nothing that a visitor sends."""
    kinds = {component["id"]: component["type"] for component in config["components"]}
    return all(kinds[place] == "state" for place in event["inputs"])


@pytest.mark.parametrize(
    ("endpoint", "data", "message"),
    [
        ("answer", [" ", 5, None], "type a question"),
        ("answer", ["why " * 40, 5, None], "too long"),
        ("answer", [5, 5, None], "question is 5"),
        ("answer", [QUESTION, 0, None], "top is 0; allowed: 1 to 100"),
        ("answer", [QUESTION, "many", None], "top is 'many'"),
        ("answer", [QUESTION, 5, "cat"], "candidates must be a list"),
        ("explain", [QUESTION, "magic", None], "method is 'magic'; allowed: raw_attention"),
        ("explain", [QUESTION, "grad_cam", 5], "answer is 5"),
    ],
)
def test_input_errors_say_what_is_allowed(page_url, endpoint, data, message):
    kind, result = call(page_url, endpoint, data_text(small_photo()), *data)
    assert kind == "error" and message.lower() in result["error"].lower()
    assert "Traceback" not in json.dumps(result)


def small_photo() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(content, "JPEG")
    return content.getvalue()


def test_too_few_values_are_told(page_url):
    kind, result = call(page_url, "answer", data_text(small_photo()))
    assert kind == "error" and "takes 4 values, and 1 came" in result["error"]


def test_what_is_no_photo_is_told(page_url):
    for photo, message in (
        (data_text(b"no photo"), "can't be read"),
        ("data:image/jpeg;base64,%%%", "no base64 text"),
        ("data:image/jpeg,abc", "no base64 text"),
    ):
        kind, result = call(page_url, "answer", photo, QUESTION, 5, None)
        assert kind == "error" and message in result["error"]


def test_large_photos_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr("demo.visit.uploads.MAX_UPLOAD_BYTES", 3 * 2**20)
    monkeypatch.setattr("base64.b64decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(InputError, match="more than 3 MB"):
        photo_content("data:image/png;base64," + "A" * (2**22 + 5))


def test_our_own_faults_are_logged_and_not_told(tmp_path, caplog):
    import gradio as gr

    class Broken(FakePredictor):
        def ask(self, *_, **__):
            raise RuntimeError("secret path /root")

    with gr.Blocks() as page:
        build_api(page, Broken(), ())
    explain = next(event.fn for event in page.fns.values() if event.api_name == "explain")
    with pytest.raises(gr.Error) as caught:
        explain(data_text(small_photo()), QUESTION)
    assert "secret" not in caught.value.message and "secret path" in caplog.text


def test_a_real_model_answers_through_the_endpoints(tiny_predictor):
    """The endpoints around a real predictor, without a server: what they give is plain JSON."""
    import gradio as gr

    with gr.Blocks() as page:
        build_api(page, tiny_predictor, ())
    endpoints = {event.api_name: event.fn for event in page.fns.values()}
    photo = data_text(small_photo())
    asked = endpoints["answer"](photo, "what color is the square?", 2)
    result = json.loads(json.dumps(endpoints["explain"](photo, "what color is the square?", "raw_attention", "red")))
    assert len(asked["answers"]) == 2 and result["evidence"]["answer"] == "red"
    assert asked["answers"] == result["answers"][:2]
    with pytest.raises(gr.Error, match="'zebra', which is not among"):
        endpoints["explain"](photo, "what color is the square?", "raw_attention", "zebra")
    with pytest.raises(gr.Error, match="Only one answer"):
        endpoints["answer"](photo, "what color is the square?", 2, ["red"])


def test_mcp_is_on_where_it_is_installed_and_wanted(monkeypatch):
    monkeypatch.setattr("demo.server.api.find_spec", lambda name: object())
    assert mcp_wanted(True) and not mcp_wanted(False)
    monkeypatch.setattr("demo.server.api.find_spec", lambda name: None)
    assert not mcp_wanted(True)


def test_a_model_that_writes_is_asked_by_any_prompt_and_tells_its_text_word_by_word(tmp_path, monkeypatch):
    """Its replies are plain JSON that fits their record; other models have no such endpoint."""
    import gradio as gr
    from tiny_vision_language import build_tiny

    from valm_core.loading import load_predictor

    monkeypatch.setattr("valm_core.vision_language.answers.MAX_TEXT_TOKENS", 40)
    monkeypatch.setattr("valm_core.evidence.rules.RANDOM_DRAWS", 2)
    names = {}
    for predictor in (FakePredictor(), load_predictor(build_tiny("smolvlm", tmp_path / "smolvlm"), "cpu")):
        with gr.Blocks() as page:
            build_api(page, predictor, ())
        names[type(predictor)] = {event.api_name: event.fn for event in page.fns.values()}
    writing, other = names.pop(type(predictor)), names[FakePredictor]
    assert set(writing) - set(other) == {"write"}
    photo = data_text(small_photo())
    *parts, last = writing["write"](photo, "what is it?", "{image}{question}")
    assert parts and all(part["explained"] is None and last["text"].startswith(part["text"]) for part in parts)
    assert differences(replies.Written, json.loads(json.dumps(last)), "Written") == []
    explained = last["explained"]
    assert [*explained["explanation"]["words"]] == ["what", "is", "it?", *last["text"].split()]
    assert explained["model"]["prompt"] == "{image}{question}"
    with pytest.raises(gr.Error, match=r"needs \{image\}"):
        list(writing["write"](photo, "what is it?", "no places"))
    with pytest.raises(gr.Error, match="prompt is 3"):
        list(writing["write"](photo, "what is it?", 3))


def test_a_description_is_offered_where_there_is_a_model_for_it(tiny_predictor, tiny_captioner):
    """Its reply is plain JSON that fits its record; without a model there is no such endpoint."""
    import gradio as gr

    photo = data_text(small_photo())
    names = {}
    for captioner in (None, tiny_captioner):
        with gr.Blocks() as page:
            build_api(page, tiny_predictor, (), captioner)
        names[captioner] = {event.api_name: event.fn for event in page.fns.values()}
    assert set(names[tiny_captioner]) - set(names[None]) == {"describe"}
    describe = names[tiny_captioner]["describe"]
    reply = json.loads(json.dumps(describe(photo, 2)))
    assert differences(api.Described, reply, "Described") == []
    assert all(f'"{name}"' in api.Endpoints.describe.__doc__ for name in typing.get_type_hints(api.Described))
    assert len(reply["words"]) == len(reply["word_maps"])
    for beams in (0, 11, "3"):
        with pytest.raises(gr.Error, match="beams is"):
            describe(photo, beams)
    with pytest.raises(gr.Error):
        describe("data:image/png;base64,AAAA")
    with pytest.raises(gr.Error, match="no model that describes photos"):
        api.Endpoints(tiny_predictor, ()).describe(photo)
