"""A stand-in for the Hugging Face hub on 127.0.0.1: model repositories, kept in memory."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from huggingface_hub import ModelCard

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """``repositories``: by name their files. ``private``: names that need ``token``.

    ``fetched``: paths of files that were handed out whole.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.token = "hf_the_right_one"
        self.fetched: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: FakeHub

    def log_message(self, *_):
        """Keep the test output clean."""

    def reply(self, status: int, body: bytes | dict | list, **headers: str):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def allowed(self, name: str) -> bool:
        known = name in self.server.repositories
        if known and (
            name not in self.server.private or self.headers.get("Authorization") == f"Bearer {self.server.token}"
        ):
            return True
        self.reply(401, {"error": "Invalid username or password."}, X_Error_Code="RepoNotFound")
        return False

    def do_POST(self):
        """Make a repository, check a card, say how to upload, take a commit."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[1:3] == ["repos", "create"]:
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if name in self.server.repositories:
                return self.reply(409, {"url": f"{self.server.url}/{name}", "error": "You already created this repo"})
            self.server.repositories[name] = {}
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.server.private.add(name)
            return self.reply(200, {"url": f"{self.server.url}/{name}"})
        if parts[1] == "validate-yaml":
            ModelCard(json.loads(body)["content"])
            return self.reply(200, {"errors": [], "warnings": []})
        name, action = "/".join(parts[2:4]), parts[4]
        if not self.allowed(name):
            return None
        if action == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.reply(200, {"files": files})
        for line in map(json.loads, body.decode().splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.repositories[name][line["value"]["path"]] = content
        return self.reply(
            200,
            {"success": True, "commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT},
        )

    def do_GET(self):
        """List a repository, or hand out one of its files."""
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[0] == "api":
            name = "/".join(parts[2:4])
            if not self.allowed(name):
                return
            files = self.server.repositories[name]
            if parts[4] == "tree":
                entries = [
                    {"type": "file", "path": path, "size": len(content), "oid": git_id(content)}
                    for path, content in files.items()
                ]
                self.reply(200, entries)
            else:
                self.reply(200, {"id": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]})
            return
        name, path = "/".join(parts[:2]), "/".join(parts[4:])
        if not self.allowed(name):
            return
        content = self.server.repositories[name].get(path)
        if content is None:
            self.reply(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
            return
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if part:
            first, last = map(int, part.groups())
            whole = f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"
            self.reply(206, content[first : last + 1], X_Repo_Commit=COMMIT, Content_Range=whole)
            return
        if self.command == "GET":
            self.server.fetched.append(path)
        self.reply(200, content, X_Repo_Commit=COMMIT, ETag=f'"{git_id(content)}"')

    do_HEAD = do_GET


def git_id(content: bytes) -> str:
    """The name that git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving_hub():
    """A running hub, for as long as the block runs."""
    hub = FakeHub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
