"""The endpoints as tools of an MCP server; needs gradio[mcp]."""

import ast
import asyncio
import base64
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from fake_predictor import FakePredictor
from served_page import served

from demo.visit.uploads import NOT_UPLOADED

pytestmark = pytest.mark.skipif(find_spec("mcp") is None, reason="gradio[mcp] is not installed")

CAT = Path(__file__).parents[3] / "assets" / "examples" / "cat.jpg"


def test_an_mcp_client_finds_and_calls_the_three_tools(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with served(FakePredictor()) as url:
        asyncio.run(talk(url))


async def talk(url: str) -> None:
    import mcp
    from mcp.client.streamable_http import streamablehttp_client

    async with (
        streamablehttp_client(f"{url}/gradio_api/mcp/") as (reading, writing, _),
        mcp.ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(tools) == {"answer", "explain", "examples"}
        assert "hottest_hidden" in tools["explain"].description
        described = tools["answer"].inputSchema["properties"]
        assert described["question"]["description"].startswith("in English")
        assert tools["answer"].inputSchema["required"] == ["photo", "question"]

        with CAT.open("rb") as file:
            path = httpx.post(f"{url}/gradio_api/upload", files={"files": file}).json()[0]
        text = "data:image/jpeg;base64," + base64.b64encode(CAT.read_bytes()).decode()
        replies = []
        for photo in (f"{url}/gradio_api/file={path}", path, text):  # the first is what gradio's upload tool gives
            called = await session.call_tool("answer", {"photo": photo, "question": "What animal is this?"})
            assert not called.isError, called
            replies.append(ast.literal_eval(called.content[0].text))  # gradio writes it as Python does
        assert replies[0] == replies[1] == replies[2] and len(replies[0]["answers"]) == 5
        for photo in ("http://127.0.0.1:9/photo.jpg", "/etc/passwd"):
            refused = await session.call_tool("answer", {"photo": photo, "question": "What animal is this?"})
            assert refused.isError and NOT_UPLOADED in refused.content[0].text
