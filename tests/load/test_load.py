"""The short form of the load tests: no cross-talk, a fair queue, back-pressure, cancelling, privacy."""

import asyncio
import os
from pathlib import Path

import pytest
from fake_predictor import FakePredictor, HeldPredictor
from load.drive import drive, flood, photo_of
from load.visitor import Busy, Visitor, connect, read_layout, run
from patience import PATIENCE, let_pass, wait_until
from served_page import served

from demo.page import wiring


@pytest.fixture(scope="module", autouse=True)
def uploads(tmp_path_factory):
    """The pages' own folder of uploads."""
    before, folder = os.environ.get("GRADIO_TEMP_DIR"), tmp_path_factory.mktemp("uploads")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    yield folder
    os.environ.pop("GRADIO_TEMP_DIR") if before is None else os.environ.update(GRADIO_TEMP_DIR=before)


@pytest.fixture(scope="module")
def page():
    """A page whose fake model answers at once."""
    with served(FakePredictor()) as url:
        yield url


def test_visitors_at_once_get_their_own_answers(page):
    driven = run(drive(page, visitors=8, questions=2))
    assert driven.errors == [] and driven.crossed == []
    assert len(driven.seconds) == 16


def test_past_the_limit_people_are_told_that_the_page_is_busy(monkeypatch):
    monkeypatch.setattr(wiring, "MAX_WAITING", 3)
    predictor = HeldPredictor()
    with served(predictor) as url:
        answered, refusals = run(flood(url, 12, when_refused=predictor.go_on.set))
    assert answered >= 3 and refusals and answered + len(refusals) == 12
    assert all("Queue is full" in message for message in refusals)


def test_the_queue_is_fair_and_a_question_taken_back_is_never_asked():
    predictor = HeldPredictor()

    async def story(url):
        async with connect(url) as client:
            layout = await read_layout(client)
            event = layout.first("ask", "click")
            visitors = [Visitor(client, layout) for _ in range(5)]
            for number, visitor in enumerate(visitors):
                await visitor.upload(photo_of(number))
                values = {"photo": visitor.photo, "question": f"what is {number}?"}
                joined = (await visitor.join("ask", "click", values)).json()["event_id"]
                if number == 3:
                    await visitor.cancel(joined, event)
            places: list[int] = []
            values = {"photo": visitors[0].photo, "question": "what is last?"}
            last = asyncio.create_task(visitors[0]._queued(event, values, places))
            await asyncio.to_thread(wait_until, lambda: places)
            predictor.go_on.set()
            await last
            assert places[0] > 0, "nobody was told a place in the queue"

    with served(predictor) as url:
        run(story(url))
    assert predictor.questions == ["what is 0?", "what is 1?", "what is 2?", "what is 4?", "what is last?"]


def test_one_visitor_cannot_see_what_another_one_did(page):
    async def story():
        async with connect(page) as client:
            layout = await read_layout(client)
            first, second = Visitor(client, layout), Visitor(client, layout)
            await first.upload(photo_of(1))
            assert "answer-text" in (await first.ask("what color is my secret?")).text
            redrawn = await second._at_once(layout.after(layout.first("ask", "click")), {"photo": first.photo})
            assert "secret" not in str(redrawn) and "answer-text" not in str(redrawn)
            listing = await client.get(f"/gradio_api/file={Path(first.photo['path']).parent}")
            assert listing.status_code == 403
            for outside in ("/etc/passwd", "app.py", f"{Path(first.photo['path']).parent}/../../../../etc/passwd"):
                assert (await client.get(f"/gradio_api/file={outside}")).status_code == 403
                second.photo = first.photo | {"path": outside}
                with pytest.raises(Busy):
                    await second.ask("what is it?")

    run(story())


def test_nobody_skips_the_queue(page):
    async def story():
        async with connect(page) as client:
            layout = await read_layout(client)
            visitor = Visitor(client, layout)
            await visitor.upload(photo_of(1))
            with pytest.raises(Busy, match="does not accept direct"):
                await visitor._at_once(layout.first("ask", "click"), {"photo": visitor.photo, "question": "what?"})

    run(story())


def test_uploads_are_deleted_in_time(monkeypatch, uploads):
    monkeypatch.setattr(wiring, "STATE_SECONDS", 1)  # how often old files are looked for

    async def story(url):
        async with connect(url) as client:
            visitor = Visitor(client, await read_layout(client))
            path = Path(await visitor.upload(photo_of(7), "mine.png"))
            assert path.exists() and path.is_relative_to(uploads)
            let_pass(wiring.FILE_SECONDS + 1, monkeypatch)
            await asyncio.to_thread(wait_until, lambda: not path.exists())

    with served(FakePredictor()) as url:
        run(story(url))


def test_what_is_kept_of_a_visit_is_deleted_in_time(monkeypatch):
    """The photo's file stays, so only what the server remembers could show the answer again."""

    async def story(url):
        async with connect(url) as client:
            visitor = Visitor(client, await read_layout(client))
            path = Path(await visitor.upload(photo_of(7)))
            await visitor.ask("what color?")

            async def redrawn() -> str:
                showing = visitor.layout.after(visitor.layout.first("ask", "click"))
                return str(await visitor._at_once(showing, {"photo": visitor.photo}))

            async def is_forgotten() -> None:
                while "answer-text" in await redrawn():
                    await asyncio.sleep(0.05)

            assert "answer-text" in await redrawn()
            let_pass(wiring.STATE_SECONDS + 1, monkeypatch)
            await asyncio.wait_for(is_forgotten(), PATIENCE)
            assert path.exists()

    with served(FakePredictor()) as url:
        run(story(url))
