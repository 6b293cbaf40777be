"""What is seen first: a static frame in the page's HTML before gradio's scripts have come; small example photos."""

import functools
import gzip
import io
from pathlib import Path

from PIL import Image, ImageOps
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from demo.languages.translate import language_of, say, speaking

THUMBNAIL_SIDE = 208  # pixels, twice what a card shows
DAY = 24 * 60 * 60  # seconds
PLACE, SHEET = b"<gradio-app", b'<link rel="stylesheet"'
# Gone as soon as gradio has laid the page out; until then it lies over gradio's own loading sign.
FRAME = """<style>
#first-frame { position: absolute; inset: 0; z-index: 9; padding: 12px clamp(12px, 2vw, 32px); background: #f8fafc; color: #1e293b; font: 16px/1.5 system-ui, sans-serif; }
#first-frame h1 { margin: 0; font-size: 28px; letter-spacing: 0.04em; color: #0f766e; } #first-frame p { margin: 4px 0 12px; }
#first-frame div { max-width: 400px; height: 190px; border: 1px dashed #94a3b8; border-radius: 12px; display: grid; place-items: center; }
#first-frame.dark { background: #0d1420; color: #f1f5f9; } #first-frame.dark h1 { color: #2dd4bf; }
body:has(#columns) #first-frame { display: none; }
</style><main id="first-frame"><h1>VALM</h1><p>{claim}</p><div role="status">{loading}</div></main>
<script>
if (new URLSearchParams(location.search).get("__theme") === "dark" || (!location.search.includes("__theme=") && matchMedia("(prefers-color-scheme: dark)").matches))
  document.getElementById("first-frame").classList.add("dark");
</script>
"""  # noqa: E501
CLAIM = "Ask a photo a question. See the answer, how sure the model is, and where it looked for every word."


def frame_html(accepted_language: str) -> str:
    """The frame in the language that a browser's Accept-Language header asks for."""
    with speaking(language_of(accepted_language)):
        return FRAME.replace("{claim}", say(CLAIM)).replace("{loading}", say("Loading …"))


def with_frame(page: bytes, frame: bytes) -> bytes:
    """Gradio's HTML with the frame first of its body, and nothing before it that a browser would wait for.

    That is the page's configuration, some hundred kB in a script, which moves behind the frame (the scripts that use it
    run when all is read), and the style sheet, which stays where it is, because later sheets override it.
    """
    head, place, rest = page.partition(PLACE)
    head = head.replace(SHEET, b"""<link media="print" onload="this.media='all'" """ + SHEET[len(b"<link ") :])
    moved, config = b"", head.find(b"window.gradio_config")
    if config > 0:
        start, end = head.rfind(b"<script", 0, config), head.find(b"</script>", config) + len(b"</script>")
        head, moved = head[:start] + head[end:], head[start:end]
    return head + frame + moved + place + rest


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
            if PLACE in whole:
                whole = with_frame(whole, frame_html(asked.get("accept-language", "")).encode())
            headers.add_vary_header("Accept-Encoding, Accept-Language")
            if "gzip" in asked.get("accept-encoding", ""):
                whole = gzip.compress(whole, 6)
                headers["Content-Encoding"] = "gzip"
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
