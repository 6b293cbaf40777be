"""What is seen first: a frame in the page's HTML that takes a photo and a question already; small example photos."""

import functools
import gzip
import io
import json
from pathlib import Path

from PIL import Image, ImageOps
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from demo.finding.collection import PATH as FIND_PATH
from demo.languages.translate import language_of, say, speaking
from demo.more.models import PATH as MORE_PATH
from demo.server.preloads import preload_html
from demo.visit.browser_storage import KEY
from valm_core.inputs.question import MAX_QUESTION_CHARACTERS

THUMBNAIL_SIDE = 208  # pixels, twice what a card shows
DAY = 24 * 60 * 60  # seconds
PLACE, SHEET, LOGIN = b"<gradio-app", b'<link rel="stylesheet"', b'"auth_required":true'
CONFIG, TEXTS = b"window.gradio_config", '"i18n_translations":'
# Until gradio has laid the page out, it lies over gradio's own loading sign and takes a first photo and question.
FRAME = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
TITLE = "VALM – ask a photo, see why"
CLAIM = "Ask a photo a question. See the answer, how sure the model is, and where it looked for every word."
SAID = {
    "claim": CLAIM,
    "drop": "Drop a photo here\nor click to choose one",
    "photo": "Photo",
    "question": "Question",
    "example": "What is in the photo?",
    "ask": "Ask",
    "loading": "The page is still loading. A photo and a question can be given already.",
    "asked": "It is asked as soon as the page is loaded.",
}


def frame_html(accepted_language: str) -> str:
    """The frame in the language that a browser's Accept-Language header asks for."""
    html = FRAME.replace("{visit}", KEY).replace("{most}", str(MAX_QUESTION_CHARACTERS))
    with speaking(language_of(accepted_language)):
        for name, text in SAID.items():
            html = html.replace(f"{{{name}}}", say(text))
    return html


def with_frame(page: bytes, frame: bytes, accepted_language: str = "") -> bytes:
    """Gradio's HTML with the frame first of its body, and nothing but a title before it that a browser would wait for.

    That is the page's configuration, some hundred kB in a script, which moves behind the frame (the scripts that use it
    run when all is read) and keeps the texts of one language alone, and the style sheet, which stays where it is,
    because later sheets override it.
    """
    head, place, rest = page.partition(PLACE)
    with speaking(language_of(accepted_language)):
        head = head.replace(b"<head>", f"<head><title>{say(TITLE)}</title>".encode(), 1)
    head = head.replace(SHEET, b"""<link media="print" onload="this.media='all'" """ + SHEET[len(b"<link ") :])
    moved, config = b"", head.find(CONFIG)
    if config > 0:
        start, end = head.rfind(b"<script", 0, config), head.find(b"</script>", config) + len(b"</script>")
        head, moved = head[:start] + head[end:], in_one_language(head[start:end], accepted_language)
    return head + frame + preload_html().encode() + moved + place + rest


def in_one_language(config: bytes, accepted_language: str) -> bytes:
    """Gradio's configuration with the page's texts in the browser's language only; English ones are their own keys."""
    before, name, after = config.decode().partition(TEXTS)
    if not name:
        return config
    texts, length = json.JSONDecoder().raw_decode(after)
    locale = accepted_language.split(",")[0].split(";")[0].strip()
    wanted = {locale: texts[locale]} if texts and language_of(locale) != "en" else {"en": {}}
    return (before + name + json.dumps(wanted, ensure_ascii=False) + after[length:]).encode()


def compressed(content: bytes, accepted: str) -> tuple[bytes, str]:
    """The content and its encoding, the densest of those that an Accept-Encoding header names; "" for none."""
    if "br" in accepted:
        import brotli  # gradio needs it too

        return brotli.compress(content, quality=6), "br"
    return (gzip.compress(content, 6), "gzip") if "gzip" in accepted else (content, "")


class FirstFrame:
    """ASGI middleware: gradio's HTML gets the frame before its app, and goes out compressed where it can."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        """Pass everything on; change what is a page of gradio."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self.app(scope, receive, send)
        asked = Headers(scope=scope)
        start, body = None, b""

        async def send_changed(message):
            nonlocal start, body
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"])
                if kind.get("content-type", "").startswith("text/html") and "content-encoding" not in kind:
                    start = message
                    return
            if start is None:
                return await send(message)
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            headers, whole = MutableHeaders(scope=start), body
            main = scope["path"].rstrip("/").rpartition("/")[2] not in (FIND_PATH, MORE_PATH)  # without one
            if main and PLACE in whole and LOGIN not in whole:
                language = asked.get("accept-language", "")
                whole = with_frame(whole, frame_html(language).encode(), language)
            headers.add_vary_header("Accept-Encoding, Accept-Language")
            whole, encoding = compressed(whole, asked.get("accept-encoding", ""))
            if encoding:
                headers["Content-Encoding"] = encoding
            headers["Content-Length"] = str(len(whole))
            await send(start)
            await send({"type": "http.response.body", "body": whole})

        await self.app(scope, receive, send_changed)


def small_pictures(address: str, folder: Path) -> Route:
    """The photos of a folder, small, at ``address``/their name."""

    @functools.cache
    def small(name: str) -> bytes:
        with Image.open(folder / name) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=75)
        return content.getvalue()

    names = {path.name for path in folder.glob("*.jpg")}

    def serve(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in names:
            raise HTTPException(404)
        return Response(small(name), media_type="image/jpeg", headers={"Cache-Control": f"public, max-age={DAY}"})

    return Route(f"{address}/{{name}}", serve)
