"""The guard in front of the page: headers, sizes, rates, addresses, and what settings switch on."""

import asyncio

import pytest
from patience import PATIENCE
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from demo.server.guard import GUESSES_PER_MINUTE, MAX_BODY_BYTES, SAME_PLACE, Guard, exposure_options, visitor
from demo.settings import Settings


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


def test_packaged_scripts_are_kept_by_browsers_and_nothing_else_is():
    script = client().get("/assets/index-DphvyggB.js").headers
    assert script["Cache-Control"].endswith("immutable") and script["X-Content-Type-Options"] == "nosniff"
    for other in ("/", "/assets/", "/assets/a/b.js", "/gradio_api/file=/assets/a.js", "/assets/page.html"):
        headers = client().get(other).headers
        assert "Cache-Control" not in headers and "Content-Security-Policy" in headers


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
    monkeypatch.setattr("demo.server.guard.time.monotonic", lambda: now[0])
    guarded = client(requests_per_minute=3)
    ask = lambda: guarded.post("/gradio_api/queue/join", json={"data": []})  # noqa: E731
    assert [ask().status_code for _ in range(4)] == [200, 200, 200, 429]
    assert "Try again in 60 seconds" in ask().json()["detail"]
    assert guarded.get("/gradio_api/file=a.png").status_code == 200, "looking costs nothing"
    now[0] = 61.0
    assert ask().status_code == 200


def test_passwords_are_guessed_only_so_often_and_each_address_for_itself(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("demo.server.guard.time.monotonic", lambda: now[0])
    guarded = client(trusted_proxies=1)
    guess = lambda place, path="/login": guarded.post(  # noqa: E731
        path, data={"username": "ann", "password": "1234"}, headers={"X-Forwarded-For": place}
    )
    statuses = [guess("192.0.2.1", path).status_code for path in ("/login", "/login/") for _ in range(5)]
    assert statuses == [200] * GUESSES_PER_MINUTE
    for path in ("/login", "/login/", "/behind/a/proxy/login"):
        refused = guess("192.0.2.1", path)
        assert refused.status_code == 429 and "Try again in 60 seconds" in refused.json()["detail"]
    assert guess("192.0.2.2").status_code == 200, "somebody else may log in"
    assert guarded.get("/login", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 200
    assert guarded.post("/gradio_api/queue/join", json={}, headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 200
    now[0] = 61.0
    assert guess("192.0.2.1").status_code == 200


def test_visitors_are_counted_apart_and_forgotten(monkeypatch):
    monkeypatch.setattr("demo.server.guard.REMEMBERED_CLIENTS", 2)
    guard = Guard(None, "", requests_per_minute=1)
    for number in (1, 2, 3, 1, 2):
        guard._count({"client": (f"192.0.2.{number}", 1), "headers": []})  # each was forgotten when the next ones came
    assert len(guard.calls) == 2


@pytest.mark.parametrize(
    ("proxies", "headers", "expected"),
    [
        (0, [], "127.0.0.1"),
        (0, ["192.0.2.7"], "127.0.0.1"),  # nobody is asked to write it
        (1, ["192.0.2.7"], "192.0.2.7"),
        (1, ["203.0.113.1, 192.0.2.7"], "192.0.2.7"),  # the visitor wrote the first himself
        (1, ["203.0.113.1", "203.0.113.2 , 192.0.2.7"], "192.0.2.7"),  # in a header of his own
        (2, ["203.0.113.1, 192.0.2.7, 10.0.0.1"], "192.0.2.7"),
        (2, ["10.0.0.1"], "10.0.0.1"),  # came past the outer proxy
        (1, [], "127.0.0.1"),
        (1, ["192.0.2.7:4711"], "192.0.2.7"),
        (1, ["[2001:db8::1]:4711"], "2001:db8::/64"),
        (1, ["2001:db8:0:0:1::9"], "2001:db8::/64"),
        (1, ["2001:db8:0:1::9"], "2001:db8:0:1::/64"),
        (1, ["fe80::1%eth0"], "fe80::/64"),
        (1, ["::ffff:192.0.2.7"], "192.0.2.7"),
        (1, ["anything " * 99], "unknown"),
    ],
)
def test_a_visitor_is_who_the_outermost_trusted_proxy_saw(proxies, headers, expected):
    scope = {
        "type": "http",
        "client": ("127.0.0.1", 4711),
        "headers": [(b"x-forwarded-for", text.encode()) for text in headers],
    }
    assert visitor(scope, proxies) == expected


def test_settings_switch_on_passwords_limits_and_history():
    plain = exposure_options(Settings())
    assert plain["auth"] is None and plain["run_history"] is False
    assert plain["app_kwargs"]["middleware"][0].args[1:] == (0, 0)
    people = (("ann", "a:b"), ("bob", "c"))
    chosen = exposure_options(
        Settings(auth=people, requests_per_minute=30, trusted_proxies=1, run_history=True, space="me/valm")
    )
    assert chosen["auth"] == [*people] and chosen["run_history"] is True
    policy, *limits = chosen["app_kwargs"]["middleware"][0].args
    assert "huggingface.co" in policy and limits == [30, 1]


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
    monkeypatch.setattr("demo.server.guard.DISCARDED_BYTES", 5 * 2**20)
    assert ask_guard(chunks=30, size=2**20) == (413, 5)  # but not without end
    monkeypatch.setattr("demo.server.guard.DISCARDING_SECONDS", 1.0)
    assert ask_guard(chunks=2, size=10, stall=True) == (413, 2)  # nor for long
