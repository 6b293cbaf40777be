"""The page about the API: snippets with this server's own address, ready to copy, and the replies' JSON schema."""

from gradio.route_utils import get_root_url
from markupsafe import escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from demo.languages.translate import html_language, language_of, say, speaking
from demo.server.replies import replies_schema

ADDRESS = "/api"
PYTHON = """from gradio_client import Client, handle_file

client = Client("{address}")
reply = client.predict(handle_file("photo.jpg"), "What animal is this?", api_name="/answer")
print(reply["answers"][0])
"""
CURL = """server={address}/gradio_api
photo=$(curl -s -F files=@photo.jpg $server/upload | tr -d '[]')
event=$(curl -s -H 'Content-Type: application/json' $server/call/answer \\
    -d "{{\\"data\\": [$photo, \\"What animal is this?\\", 5, null]}}" | cut -d'"' -f4)
curl -sN $server/call/answer/$event
"""
STYLE = """:root { color-scheme: light dark; } body { margin: 2rem auto; max-width: 48rem; padding: 0 1rem;
font: 16px/1.5 system-ui, sans-serif; } pre { padding: 1rem; overflow-x: auto; border: 1px solid; border-radius: 8px; }
button { min-height: 44px; padding: 0 1rem; font: inherit; cursor: pointer; }
body { background: #f8fafc; color: #1e293b; } a { color: #0f766e; }
@media (prefers-color-scheme: dark) { body { background: #0d1420; color: #f1f5f9; } a { color: #2dd4bf; } }"""
COPY = """for (const button of document.querySelectorAll("button")) button.addEventListener("click", async () => {
  const code = document.getElementById(button.dataset.copies);
  getSelection().selectAllChildren(code);  // without HTTPS a page may not copy, but its reader can
  await navigator.clipboard.writeText(code.textContent);
  button.textContent = button.dataset.done;
});"""


def api_routes(root_path: str) -> list[Route]:
    """The routes of the page about the API and of the schema.

    Args:
        root_path: of ``Settings``, where the page lies behind a proxy.
    """

    def page(request: Request) -> Response:
        with speaking(language_of(request.headers.get("accept-language", ""))):
            return HTMLResponse(api_html(get_root_url(request, ADDRESS, root_path or None)))

    def schema(_: Request) -> Response:
        return JSONResponse(replies_schema())

    return [Route(ADDRESS, page), Route(f"{ADDRESS}/schema.json", schema)]


def api_html(address: str) -> str:
    """The page about the API of the server at ``address``."""
    parts = [
        f"<h1>{say('Ask over HTTP')}</h1>",
        f"<p>{say('Three endpoints: answer, explain with the maps and the evidence, and examples.')} "
        f"{say('More where the server has models for them: describe, find, tag, relate, judge, feel, read, write.')}"
        "</p>",
        snippet("python", "Python", PYTHON.format(address=address)),
        snippet("curl", "curl", CURL.format(address=address)),
        f'<p><a href="gradio_api/info">{say("Parameters, examples and limits (JSON)")}</a><br>'
        f'<a href="api/schema.json">{say("JSON schema of the replies")}</a><br><a href="./">VALM</a></p>',
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>VALM API</title>'
    body = f"<main>{''.join(parts)}</main><script>{COPY}</script>"
    head = f"<head>{head}<style>{STYLE}</style></head>"
    return f'<!doctype html><html lang="{html_language()}">{head}<body>{body}</body></html>'


def snippet(name: str, title: str, code: str) -> str:
    """A piece of code with the button that copies it."""
    button = f'<button type="button" data-copies="{name}" data-done="{say("Copied")}">{say("Copy")} ({title})</button>'
    return f'<h2>{title}</h2><pre id="{name}" tabindex="0" aria-label="{title}">{escape(code)}</pre>{button}'
