"""The guard in front of the page: headers, sizes, rates, addresses, and what the environment switches on."""

import asyncio

import pytest
from patience import PATIENCE
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from demo.guard import MAX_BODY_BYTES, SAME_PLACE, Guard, exposure_options


async def echo(request):
    """How many bytes arrived."""
    return JSONResponse({"bytes": len(await request.body())})


def client(**limits) -> TestClient:
    """A client of an app behind a guard."""
    app = Starlette(routes=[Route("/{path:path}", echo, methods=["GET", "POST"])])
    return TestClient(Guard(app, SAME_PLACE, **limits), base_url="http://127.0.0.1")


def test_every_answer_carries_the_security_headers():
    for answer in (client().get("/"), client().get("/gradio_api/file=https://example.org/a.png")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "name",
    [
        "file=http://127.0.0.1/",
        "file=https://example.org/a.png",
        "file=HTTPS://example.org",
        "proxy=https://a.hf.space/b",
    ],
)
def test_no_address_is_fetched_for_whoever_asks(name):
    answer = client().get(f"/gradio_api/{name}")
    assert answer.status_code == 403 and "fetches no addresses" in answer.json()["detail"]
    assert client().get("/gradio_api/file=/tmp/photo.png").status_code == 200


def test_bodies_are_limited_by_what_they_claim_and_by_what_they_are():
    guarded = client()
    assert guarded.post("/gradio_api/upload", content=bytes(MAX_BODY_BYTES)).json() == {"bytes": MAX_BODY_BYTES}
    assert guarded.post("/gradio_api/upload", content=bytes(MAX_BODY_BYTES + 1)).status_code == 413

    def endless():
        for _ in range(MAX_BODY_BYTES // 2**20 + 2):
            yield bytes(2**20)

    with pytest.raises(ClientDisconnect):
        guarded.post("/gradio_api/queue/join", content=endless())


def test_one_client_may_ask_only_so_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("demo.guard.time.monotonic", lambda: now[0])
    guarded = client(requests_per_minute=3)
    ask = lambda: guarded.post("/gradio_api/queue/join", json={"data": []})  # noqa: E731
    assert [ask().status_code for _ in range(4)] == [200, 200, 200, 429]
    assert "Try again in 60 seconds" in ask().json()["detail"]
    assert guarded.get("/gradio_api/file=a.png").status_code == 200, "looking costs nothing"
    now[0] = 61.0
    assert ask().status_code == 200


def test_clients_are_counted_apart_and_forgotten(monkeypatch):
    monkeypatch.setattr("demo.guard.REMEMBERED_CLIENTS", 2)
    guard = Guard(None, "", requests_per_minute=1)
    for client_name in "abcab":
        guard._count({"client": (client_name, 1)})  # a and b were forgotten when the next ones came
    assert len(guard.calls) == 2


def test_the_environment_switches_on_passwords_limits_and_history(monkeypatch):
    for name in ("VALM_AUTH", "VALM_REQUESTS_PER_MINUTE", "GRADIO_RUN_HISTORY", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    plain = exposure_options()
    assert plain["auth"] is None and plain["run_history"] is False
    assert plain["app_kwargs"]["middleware"][0].args[1:] == (0,)
    monkeypatch.setenv("VALM_AUTH", "ann:a:b, bob:c")
    monkeypatch.setenv("VALM_REQUESTS_PER_MINUTE", "30")
    monkeypatch.setenv("GRADIO_RUN_HISTORY", "True")
    monkeypatch.setenv("SPACE_ID", "me/valm")
    chosen = exposure_options()
    assert chosen["auth"] == [("ann", "a:b"), ("bob", "c")] and chosen["run_history"] is True
    policy, *limits = chosen["app_kwargs"]["middleware"][0].args
    assert "huggingface.co" in policy and limits == [30]


@pytest.mark.parametrize(
    ("name", "value"), [("VALM_AUTH", "ann"), ("VALM_AUTH", ":a"), ("VALM_REQUESTS_PER_MINUTE", "x")]
)
def test_a_wrong_variable_says_so(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        exposure_options()


def ask_guard(chunks: int, size: int, stall: bool = False) -> tuple[int, int]:
    """POST some chunks of more than is allowed; the status, and how many chunks were read before it was sent."""
    read, sent = 0, []

    async def receive():
        nonlocal read
        if read == chunks:
            await asyncio.sleep(PATIENCE if stall else 0)
        read += 1
        return {"type": "http.request", "body": bytes(size), "more_body": read < chunks or stall}

    async def send(message):
        if message["type"] == "http.response.start":
            sent.append((message["status"], read))

    headers = [(b"content-length", str(MAX_BODY_BYTES + 1).encode())]
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": headers, "client": ("a", 1)}
    asyncio.run(Guard(None, SAME_PLACE)(scope, receive, send))
    return sent[0]


def test_a_refused_body_is_read_to_its_end_so_that_the_reason_arrives(monkeypatch):
    assert ask_guard(chunks=30, size=2**20) == (413, 30)
    monkeypatch.setattr("demo.guard.DISCARDED_BYTES", 5 * 2**20)
    assert ask_guard(chunks=30, size=2**20) == (413, 5)  # but not without end
    monkeypatch.setattr("demo.guard.DISCARDING_SECONDS", 1.0)
    assert ask_guard(chunks=2, size=10, stall=True) == (413, 2)  # nor for long
