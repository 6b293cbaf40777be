"""What stands between the network and the page: security headers, size and rate limits, no fetching of addresses."""

import asyncio
import contextlib
import ipaddress
import re
import time
from collections import OrderedDict, deque

from gradio.route_utils import FnIndexInferError
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse

from demo.server.dense_files import DenseFiles
from demo.server.first_frame import FirstFrame
from demo.settings import Settings
from demo.visit.uploads import MAX_UPLOAD_BYTES

CALLS = "/gradio_api/"
LOGIN = "/login"
GUESSES_PER_MINUTE = (
    10  # of names and passwords from one address, right ones included; whoever shares it waits a little
)
MAX_BODY_BYTES = MAX_UPLOAD_BYTES * 4 // 3 + 2**20  # one photo as base64 text, and what surrounds it
DISCARDED_BYTES = 8 * MAX_BODY_BYTES  # read and thrown away of a refused request, so that its sender sees the reason
DISCARDING_SECONDS = 5.0
REMEMBERED_CLIENTS = 10_000

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
# Gradio's packaged scripts and styles: the policy of the page that loads them counts; another content has another name.
PACKAGED = re.compile(r"/assets/[\w.-]+\.(js|css)")
OF_PACKAGED = {"X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=31536000, immutable"}
# Gradio's own scripts need inline code and eval. What this still forbids: loading from and sending to anywhere else.
SAME_PLACE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
ON_SPACES = "object-src 'none'; base-uri 'self'; frame-ancestors 'self' https://huggingface.co https://*.hf.space"


def exposure_options(settings: Settings) -> dict:
    """What ``launch`` must be told about who may do what."""
    policy = ON_SPACES if settings.space else SAME_PLACE
    guard = Middleware(Guard, policy, settings.requests_per_minute, settings.trusted_proxies)
    return {
        "auth": list(settings.auth) or None,
        "run_history": settings.run_history,
        "app_kwargs": {
            "middleware": [guard, Middleware(FirstFrame), Middleware(DenseFiles)],
            "exception_handlers": {FnIndexInferError: unknown_name},
            "docs_url": None,
            "redoc_url": None,
        },
    }


def unknown_name(request: Request, _: Exception) -> JSONResponse:
    """The reply to a call of something that isn't there, for which gradio has a traceback."""
    name = request.path_params.get("api_name", "")
    return JSONResponse({"detail": f"There is no {name!r} here. /gradio_api/info lists what there is."}, 404)


def visitor(scope, trusted_proxies: int) -> str:
    """The visitor's network address, as the outermost of our own proxies saw it.

    Each proxy appends to X-Forwarded-For the address that connected to it, so what ours wrote stands at the right;
    what the visitor wrote himself stands to the left of it and isn't read. Of IPv6, the first 64 bits: a household has
    all addresses that begin with them.
    """
    forwarded = ", ".join(Headers(scope=scope).getlist("x-forwarded-for")) if trusted_proxies else ""
    written = [part.strip() for part in forwarded.split(",") if part.strip()]
    address = written[-trusted_proxies:][0] if written else (scope.get("client") or ("",))[0]
    if address.startswith("["):  # [::1]:443
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:  # 127.0.0.1:443
        address = address.partition(":")[0]
    try:
        number = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(number, ipaddress.IPv4Address):
        return str(number)
    return str(number.ipv4_mapped or ipaddress.ip_network((number, 64), strict=False))


def counted(calls: OrderedDict[str, deque[float]], address: str, most: int) -> float:
    """Count a visitor's call; where it is more than ``most`` in 60 seconds, don't, and say how many seconds to wait.

    Args:
        calls: times of the counted calls by visitor; at most ``REMEMBERED_CLIENTS`` visitors are kept.
        address: of the visitor.
        most: at least 1.

    Returns:
        0 where the call may go on.
    """
    now = time.monotonic()
    times = calls.setdefault(address, deque())
    calls.move_to_end(address)
    while times and times[0] < now - 60:
        times.popleft()
    if len(times) >= most:
        return max(60 - (now - times[0]), 1.0)
    times.append(now)
    while len(calls) > REMEMBERED_CLIENTS:
        calls.popitem(last=False)
    return 0.0


class Guard:
    """ASGI middleware around the whole app.

    Args:
        app: what it guards.
        policy: the Content-Security-Policy.
        requests_per_minute: how many calls one visitor may make in any 60 seconds; 0 for no limit.
        trusted_proxies: how many of our own proxies a call comes through, see ``visitor``.
    """

    def __init__(self, app, policy: str, requests_per_minute: int = 0, trusted_proxies: int = 0):
        self.app = app
        self.policy = policy
        self.requests_per_minute = requests_per_minute
        self.trusted_proxies = trusted_proxies
        # visitor -> times of the calls in the last minute, latest visitor last
        self.calls: OrderedDict[str, deque[float]] = OrderedDict()
        self.guesses: OrderedDict[str, deque[float]] = OrderedDict()

    async def __call__(self, scope, receive, send):
        """Refuse the request, or pass it on with its body limited; the answer gets the headers either way."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body = Body(receive)
        receive = body.receive

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                if scope["method"] == "POST" and message["status"] >= 400:
                    await body.discard()
                packaged = PACKAGED.fullmatch(scope["path"]) and message["status"] < 400
                own = OF_PACKAGED if packaged else HEADERS | {"Content-Security-Policy": self.policy}
                MutableHeaders(scope=message).update(own)
            await send(message)

        _, called, name = scope["path"].partition(CALLS)
        try:
            if called and scope["method"] == "POST":
                self._count(scope)
                receive = self._limited(scope, receive)
            elif called:
                self._check_address(name)
            elif scope["method"] == "POST" and scope["path"].rstrip("/").endswith(LOGIN):
                self._count_guess(scope)
                receive = self._limited(scope, receive)
        except Refused as refused:
            answer = JSONResponse({"detail": str(refused)}, refused.status, {"Connection": "close"})
            return await answer(scope, receive, send_with_headers)
        await self.app(scope, receive, send_with_headers)

    def _count(self, scope) -> None:
        if self.requests_per_minute:
            wait = counted(self.calls, visitor(scope, self.trusted_proxies), self.requests_per_minute)
            if wait:
                message = f"Too many questions from your address in a minute. Try again in {wait:.0f} seconds."
                raise Refused(429, message)

    def _count_guess(self, scope) -> None:
        """Passwords can't be guessed in bulk, whatever the limit of questions is."""
        if wait := counted(self.guesses, visitor(scope, self.trusted_proxies), GUESSES_PER_MINUTE):
            raise Refused(429, f"Too many logins from your address in a minute. Try again in {wait:.0f} seconds.")

    def _check_address(self, name: str) -> None:
        """Gradio would fetch ``file=https://...`` and ``proxy=...`` for whoever asks."""
        what, _, place = name.partition("=")
        if what == "proxy" or (what == "file" and place.lower().lstrip().startswith(("http:", "https:"))):
            raise Refused(403, "This server fetches no addresses.")

    def _limited(self, scope, receive):
        """``receive`` with a limited body, whatever the client claims about its size."""
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            raise Refused(413, f"The request is too large: at most {MAX_BODY_BYTES // 2**20} MB are read.")
        total = 0

        async def counting():
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            return message if total <= MAX_BODY_BYTES else {"type": "http.disconnect"}

        return counting


class Body:
    """A request's body, and how far it has been read.

    A server that answers before it has read everything closes the connection, and a client that is still sending sees
    that instead of the answer.
    """

    def __init__(self, receive):
        self._receive, self._more = receive, True

    async def receive(self) -> dict:
        """The next message."""
        message = await self._receive()
        self._more = message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read the rest and throw it away, within ``DISCARDED_BYTES`` and ``DISCARDING_SECONDS``."""
        left = DISCARDED_BYTES
        with contextlib.suppress(asyncio.TimeoutError):
            while self._more and left > 0:
                message = await asyncio.wait_for(self.receive(), DISCARDING_SECONDS)
                left -= len(message.get("body", b""))


class Refused(Exception):
    """A request that isn't passed on: the HTTP status, and the reason for the person."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status
