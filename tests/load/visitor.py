"""A visitor of the page without a browser: uploads a photo, asks, and gets what the page would show. Loopback only."""

import asyncio
import json
import secrets
import time
from dataclasses import dataclass, field, replace

import httpx
from patience import PATIENCE

CALLS = "/gradio_api"


@dataclass(frozen=True)
class Layout:
    """What a visitor must know of a page: its events in order, and its components by number and by ``elem_id``."""

    events: list[dict]
    components: dict[int, dict]
    numbers: dict[str, int]

    def first(self, elem_id: str, trigger: str) -> dict:
        """The first event of a component that the browser sends to the server, e.g. the click of "ask"."""
        own = [self.numbers[elem_id], trigger]
        return next(event for event in self.events if own in event["targets"] and event["backend_fn"])

    def after(self, event: dict) -> dict:
        """The first event that follows another one and runs on the server."""
        return next(found for found in self.events if found["trigger_after"] == event["id"] and found["backend_fn"])

    def later(self, event: dict, elem_id: str) -> tuple[dict, dict]:
        """What follows an event and ends with something new in an element: what finds it out, and what shows it."""
        for shows in self.events:
            finds = next((found for found in self.events if found["id"] == shows["trigger_after"]), None)
            if finds and finds["trigger_after"] == event["id"] and self.numbers[elem_id] in shows["outputs"]:
                return finds, shows
        raise ValueError(f"Nothing that follows event {event['id']} changes {elem_id}.")


@dataclass
class Shown:
    """What became of one question: the page's HTML by ``elem_id``, the places in the queue, the time it took.

    ``weighed_seconds`` is the time until the evidence stood there, too.
    """

    html: dict[str, str]
    places: list[int] = field(default_factory=list)
    seconds: float = 0.0
    weighed_seconds: float = 0.0

    @property
    def text(self) -> str:
        """Everything that the person sees of it."""
        return "\n".join(self.html.values())


class Busy(Exception):
    """The page turned a question away; the message is what the server said."""


async def read_layout(client: httpx.AsyncClient) -> Layout:
    """Ask a page how it is wired."""
    config = (await client.get("/config")).raise_for_status().json()
    components = {component["id"]: component for component in config["components"]}
    numbers = {
        component["props"]["elem_id"]: number
        for number, component in components.items()
        if component["props"].get("elem_id")
    }
    return Layout(config["dependencies"], components, numbers)


def connect(url: str) -> httpx.AsyncClient:
    """A client of a page on this machine. Raises ValueError for any other."""
    if httpx.URL(url).host not in ("127.0.0.1", "localhost"):
        raise ValueError(f"{url} is not on this machine; load is only ever put on 127.0.0.1.")
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=httpx.Limits(max_connections=None))


class Visitor:
    """One person with a session of their own.

    Args:
        client: of ``connect``; visitors may share one, as people share a network address.
        layout: of ``read_layout``.
    """

    def __init__(self, client: httpx.AsyncClient, layout: Layout):
        self.client, self.layout = client, layout
        self.session = secrets.token_hex(8)
        self.photo: dict | None = None
        self.listening = asyncio.Event()  # set once an answer of the queue is listened for

    async def upload(self, content: bytes, name: str = "photo.png") -> str:
        """Upload a file and put it in the photo's place; the path the server gave it.

        Raises:
            Busy: the server doesn't take the file.
        """
        answer = await self.client.post(f"{CALLS}/upload", files={"files": (name, content)})
        if answer.status_code != 200:
            raise Busy(answer.text)
        self.photo = {"path": answer.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        return self.photo["path"]

    async def ask(self, question: str) -> Shown:
        """Ask about the photo as a click on "Ask" does.

        Raises:
            Busy: the question isn't taken.
        """
        begin = time.perf_counter()
        asking = self.layout.first("ask", "click")
        places: list[int] = []
        await self._queued(asking, {"photo": self.photo, "question": question}, places)
        showing = self.layout.after(asking)
        html = self._html(showing, await self._at_once(showing, {"photo": self.photo}))
        return Shown(html, places, time.perf_counter() - begin)

    async def ask_and_weigh(self, question: str) -> Shown:
        """Ask, and wait for the evidence, as the page does by itself once an answer is on it.

        Raises:
            Busy: one of the two isn't taken.
        """
        begin = time.perf_counter()
        shown = await self.ask(question)
        weighing, showing = self.layout.later(self.layout.after(self.layout.first("ask", "click")), "evidence")
        await self._queued(weighing, {}, [])
        html = self._html(showing, await self._at_once(showing, {"photo": self.photo}))
        return replace(shown, html=shown.html | html, weighed_seconds=time.perf_counter() - begin)

    async def call(self, endpoint: str, data: list) -> tuple[str, str]:
        """Call an endpoint of the API, e.g. "answer".

        Returns:
            The kind of the last event, "complete" or "error", and its data as JSON text.

        Raises:
            Busy: the call isn't taken.
        """
        answer = await self.client.post(f"{CALLS}/call/{endpoint}", json={"data": data})
        if answer.status_code != 200:
            raise Busy(answer.text)
        kind, text = "", ""
        async with self.client.stream("GET", f"{CALLS}/call/{endpoint}/{answer.json()['event_id']}") as lines:
            async for line in lines.aiter_lines():
                if line.startswith("event: ") and line != "event: heartbeat":
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind in ("complete", "error"):
                    text = line.removeprefix("data: ")
        return kind, text

    async def join(self, elem_id: str, trigger: str, values: dict) -> httpx.Response:
        """Send an event to the queue and return the server's first answer."""
        return await self._join(self.layout.first(elem_id, trigger), values)

    async def cancel(self, event_id: str, event: dict) -> None:
        """Take a question back."""
        body = {"session_hash": self.session, "fn_index": event["id"], "event_id": event_id}
        (await self.client.post(f"{CALLS}/cancel", json=body)).raise_for_status()

    def _html(self, event: dict, output: list) -> dict[str, str]:
        html = {}
        for number, value in zip(event["outputs"], output, strict=True):
            value = value.get("value", "") if isinstance(value, dict) else value
            elem_id = self.layout.components[number]["props"].get("elem_id")
            if elem_id and isinstance(value, str):
                html[elem_id] = value
        return html

    def _body(self, event: dict, values: dict) -> dict:
        data = []
        for number in event["inputs"]:
            props = self.layout.components[number]["props"]
            data.append(values.get(props.get("elem_id"), props.get("value")))
        return {"data": data, "fn_index": event["id"], "session_hash": self.session, "trigger_id": None}

    async def _join(self, event: dict, values: dict) -> httpx.Response:
        return await self.client.post(f"{CALLS}/queue/join", json=self._body(event, values))

    async def _queued(self, event: dict, values: dict, places: list[int]) -> list:
        answer = await self._join(event, values)
        if answer.status_code != 200:
            raise Busy(answer.text)
        event_id = answer.json()["event_id"]
        stream = self.client.stream("GET", f"{CALLS}/queue/data", params={"session_hash": self.session})
        async with stream as lines:
            self.listening.set()
            async for line in lines.aiter_lines():
                message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if message.get("event_id") not in (event_id, None):
                    continue
                if message.get("msg") == "estimation":
                    places.append(message["rank"])
                elif message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise Busy(json.dumps(message["output"]))
                    return message["output"].get("data", [])
                elif message.get("msg") == "unexpected_error":
                    raise Busy(message["message"])
        raise Busy("The server ended the connection before the answer.")

    async def _at_once(self, event: dict, values: dict) -> list:
        answer = await self.client.post(f"{CALLS}/run/predict", json=self._body(event, values))
        if answer.status_code != 200:
            raise Busy(answer.text)
        return answer.json()["data"]


def run(coroutine):
    """Run one coroutine to its end."""
    return asyncio.run(coroutine)
