"""A served page and a browser to look at it with. VALM_BROWSER_CHECKPOINT=folder runs the same flow on a real model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from chromium import CHROMIUM_ARGUMENTS, CHROMIUMS, find_chromium
from patience import PATIENCE, wait_until
from PIL import Image
from served_page import free_port, served

from demo.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def predictor():
    """The fake predictor, or the real one from the folder that VALM_BROWSER_CHECKPOINT names."""
    checkpoint = os.environ.get("VALM_BROWSER_CHECKPOINT")
    if checkpoint:
        from valm_core.predictor import VqaPredictor

        return VqaPredictor.from_checkpoint(checkpoint)
    from fake_predictor import FakePredictor

    return FakePredictor()


@pytest.fixture(scope="package")
def page_url(predictor):
    """The address of the page under test."""
    with served(predictor) as url:
        yield url


@pytest.fixture(scope="module")
def app_url(tmp_path_factory):
    """The address of `python app.py` as a person starts it, with the shipped checkpoint."""
    port = free_port()
    log = tmp_path_factory.mktemp("app") / "log.txt"
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(log.parent)}
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, ROOT / "app.py"], env=environment, stdout=output, stderr=output)
    try:
        wait_until(lambda: "Running on" in log.read_text() or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture(scope="module")
def held_page():
    """The address of a page, and its fake model, which answers when the test lets it.

    Open until the module's tests end, because a page that closes deletes its photos, which others may show, too.
    """
    from fake_predictor import HeldPredictor

    predictor = HeldPredictor()
    with served(predictor) as url:
        yield url, predictor


@pytest.fixture
def held_url(held_page):
    """The address of the page of ``held``."""
    return held_page[0]


@pytest.fixture
def held(held_page):
    """The fake model of ``held_url``: it answers, while its event ``go_on`` is set."""
    predictor = held_page[1]
    predictor.questions.clear()
    predictor.held_method = ""
    predictor.searching.clear()
    predictor.stopped.clear()
    predictor.go_on.set()
    predictor.weigh_on.set()
    yield predictor
    predictor.go_on.set()
    predictor.explain_on.set()
    predictor.weigh_on.set()


@pytest.fixture(scope="module")
def corrections_database(tmp_path_factory):
    """Where the page of ``form_url`` keeps corrections."""
    return tmp_path_factory.mktemp("corrections") / "corrections.db"


@pytest.fixture(scope="module")
def form_url(corrections_database):
    """A page with a fake model and the form for corrections; open until the module's tests end, as above."""
    from fake_predictor import FakePredictor

    with served(FakePredictor(), Settings(feedback=str(corrections_database))) as url:
        yield url


@pytest.fixture(scope="package", autouse=True)
def own_folder_for_uploads(tmp_path_factory):
    """Keep these pages' files apart from those of other pages, in these tests or in a demo on the same machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="package")
def photos(tmp_path_factory):
    """Paths of a red photo, a blue photo and three files that are no photos."""
    folder = tmp_path_factory.mktemp("photos")
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        Image.effect_noise((320, 240), 40).convert("RGB").save(folder / f"{name}.png")
        Image.blend(Image.open(folder / f"{name}.png"), Image.new("RGB", (320, 240), colour), 0.7).save(
            folder / f"{name}.png"
        )
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    (folder / "vector.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    (folder / "huge.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(21 * 1024 * 1024))
    return folder


@pytest.fixture(scope="package")
def browser():
    """Chromium, headless. Missing: the tests are skipped, but fail where CI is set.

    Closed after the last browser test, because while Playwright runs, no other event loop can in the main thread.
    """
    chromium = find_chromium()
    if chromium is None:
        message = f"no Chromium: apt-get install {CHROMIUMS[0]}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def contexts(browser):
    """The browser's windows by kind: a new tab finds the page's scripts in its window's cache, compiled."""
    contexts = {}
    yield contexts
    for context in contexts.values():
        context.close()


@pytest.fixture
def visit(browser, contexts):
    """``visit(url, width, height)`` opens the page in a new tab; at the end nothing may have gone wrong in it.

    What a visit keeps, it keeps for its tab alone. ``locale`` is the browser's language, ``ask_button`` what the page's
    main button is called in it; ``fingers`` makes it a phone.
    """
    pages, problems = [], []

    def note_request(request):
        if not request.url.startswith(("http://127.0.0.1", "data:", "blob:")):
            problems.append(f"request to {request.url}")

    def note_console(line):
        # gradio 6.31 asks for the progress of an upload that may be over by then: a 404, then a log of that Response.
        late_progress = "upload_progress" in line.location.get("url", "") or line.text == "Response"
        if line.type == "error" and not late_progress:
            problems.append(f"{line.text} {line.location.get('url', '')}")

    def note_response(response):
        if response.status >= 500:  # gradio prints nothing of what a callback refuses
            problems.append(f"{response.status} {response.url} {response.request.post_data} {response.text()}")

    def visit(url, width: int = 1280, height: int = 900, locale="en-US", ask_button="Ask", fingers: bool = False):
        window = f"{locale}, fingers" if fingers else locale
        if window not in contexts:
            options = {"has_touch": fingers, "is_mobile": fingers}
            contexts[window] = browser.new_context(reduced_motion="reduce", locale=locale, **options)
        page = contexts[window].new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.set_default_timeout(1000 * PATIENCE)
        page.on("console", note_console)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", note_request)
        page.on("response", note_response)
        page.goto(url)
        page.locator("#columns").get_by_role("button", name=ask_button, exact=True).wait_for()
        return page

    visit.problems = problems
    yield visit
    for page in pages:
        if page.is_closed():
            continue
        page.unroute_all(behavior="ignoreErrors")
        page.close()
    assert not problems, "\n".join(problems)
