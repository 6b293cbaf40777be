"""Where "About" sends people: to the model card and the source that there are, and to nothing that isn't."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from demo.page.about import CARD_PAGE, card_address, card_routes, source_address
from demo.settings import SHIPPED, Settings


def test_the_card_of_a_folder_is_served_as_text():
    answer = TestClient(Starlette(routes=card_routes(Settings()))).get(f"/{CARD_PAGE}")
    assert answer.content == (SHIPPED / "README.md").read_bytes()
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (Settings(), CARD_PAGE),
        (Settings(auth=(("ann", "secret"),)), ""),  # the routes know no login
        (Settings(checkpoint="me/model@v2"), "https://huggingface.co/me/model"),
        (Settings(checkpoint="/no/such/folder"), ""),
        (Settings(checkpoint="elsewhere"), ""),
    ],
)
def test_the_card_is_where_the_model_is(settings, address):
    assert card_address(settings) == address
    assert bool(card_routes(settings)) == (address == CARD_PAGE)


def test_the_source_is_where_whoever_runs_the_page_says():
    assert source_address(Settings()) == ""
    assert source_address(Settings(space="me/valm")) == "https://huggingface.co/spaces/me/valm/tree/main"
    assert source_address(Settings(space="me/valm", source_url="https://example.org/")) == "https://example.org/"
