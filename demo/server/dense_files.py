"""Gradio's scripts and styles that the first view needs, compressed once as densely as can be.

Gradio compresses them anew for each visitor, quickly and in pieces, which makes a tenth more bytes and takes time.
"""

import functools
import threading
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response

from demo.server.preloads import FRONTEND, entry_files, first_files

KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
FOLDER = "/assets/"


@functools.cache
def dense(path: Path) -> bytes:
    """A file's content, compressed by brotli."""
    import brotli  # gradio needs it too

    return brotli.compress(path.read_bytes(), mode=brotli.MODE_TEXT)


class DenseFiles:
    """ASGI middleware: hands those files out itself where a browser takes brotli and they are compressed already.

    They are compressed beside everything else from the first call on, which takes some seconds of one core.
    """

    def __init__(self, app, frontend: Path = FRONTEND):
        self.app, self.frontend = app, frontend
        self.ready: dict[str, bytes] = {}
        self.begun = False

    async def __call__(self, scope, receive, send):
        """Answer what is asked for such a file; pass everything else on."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self.app(scope, receive, send)
        if not self.begun:
            self.begun = True
            threading.Thread(target=self.compress, daemon=True).start()
        _, folder, name = scope["path"].rpartition(FOLDER)
        content = self.ready.get(name) if folder else None
        if content is None or "br" not in Headers(scope=scope).get("accept-encoding", ""):
            return await self.app(scope, receive, send)
        headers = {"Content-Encoding": "br", "Vary": "Accept-Encoding"}
        await Response(content, media_type=KINDS[Path(name).suffix], headers=headers)(scope, receive, send)

    def compress(self) -> None:
        """Compress all of them, the first that are asked for first."""
        for name in (*entry_files(self.frontend), *first_files(self.frontend)):
            if Path(name).suffix in KINDS:
                self.ready[name] = dense(self.frontend / "assets" / name)
