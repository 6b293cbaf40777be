"""Serving: behind a proxy that shows the page under a path, its addresses have that path."""

import json
import re
import urllib.request

import pytest
from patience import PATIENCE

pytest.importorskip("gradio")


def test_the_page_knows_the_path_that_a_proxy_shows_it_under(monkeypatch):
    from fake_predictor import FakePredictor
    from served_page import served

    monkeypatch.setenv("GRADIO_ROOT_PATH", "/valm")
    with served(FakePredictor()) as url:
        request = urllib.request.Request(
            url + "/", headers={"X-Forwarded-Host": "example.org", "X-Forwarded-Proto": "https"}
        )
        page = urllib.request.urlopen(request, timeout=PATIENCE).read().decode()
    config = json.loads(re.search(r"window\.gradio_config = (\{.*?\});</script>", page)[1])
    assert config["root"] == "https://example.org/valm"
