"""How fast the page is: from `python app.py` to a served page, to a first answer, a question, a redraw after a click.

Example:
    python -m demo.page_speed --report docs/reports/running/page_speed.json
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from demo.settings import checkpoint_folder

ROOT = Path(__file__).parents[2]
PHOTO, QUESTION = ROOT / "assets" / "examples" / "cat.jpg", "What color is the cat?"
MAX_WAIT = 600  # seconds
FIRST_ANSWER = """
import sys
from valm_core.predictor import VqaPredictor
predictor = VqaPredictor.from_checkpoint(sys.argv[1])
predictor.answer(predictor.encode(sys.argv[2]), sys.argv[3])
"""


def seconds_to_page() -> float:
    """Start `python app.py` on a free port and wait until it serves its page.

    Raises:
        RuntimeError: it ended, or took longer than ``MAX_WAIT``.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    start = time.perf_counter()
    app = subprocess.Popen([sys.executable, ROOT / "app.py"], env=environment, stdout=subprocess.DEVNULL)  # noqa: S603, our own app
    try:
        while time.perf_counter() - start < MAX_WAIT and app.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
                    page.read()
                    return time.perf_counter() - start
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
    finally:
        app.terminate()
        app.wait(20)
    ended = f"ended with code {app.returncode}" if app.returncode not in (None, 0, -15) else "was too slow"
    raise RuntimeError(f"`python app.py` served no page within {MAX_WAIT} s: it {ended}. Run it by hand to see why.")


def seconds_to_answer(checkpoint: Path) -> float:
    """A fresh process: import, load, encode one photo, answer one question, without the page."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", FIRST_ANSWER, checkpoint, PHOTO, QUESTION], cwd=ROOT, check=True)  # noqa: S603, our own code
    return time.perf_counter() - start


def question_milliseconds(checkpoint: Path, repeats: int) -> tuple[list[float], list[float]]:
    """A question about a photo that is encoded: until there is an answer with its map, and until its evidence, too."""
    from valm_core.predictor import VqaPredictor

    predictor = VqaPredictor.from_checkpoint(checkpoint)
    photo = predictor.encode(PHOTO)
    answered, weighed = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        _, explanation, _ = predictor.ask(photo, QUESTION, weigh=False)
        answered.append(1000 * (time.perf_counter() - start))
        predictor.evidence(photo, QUESTION, explanation=explanation)
        weighed.append(1000 * (time.perf_counter() - start))
    return answered[1:], weighed[1:]  # without the first, which prepares the photo's cells


def redraw_milliseconds(checkpoint: Path, repeats: int) -> list[float]:
    """What the server does after a click on a word: the words and the map over the photo, as HTML."""
    from demo.rendering.map import map_html
    from demo.rendering.overlay import Look
    from demo.rendering.words import words_html
    from valm_core.predictor import VqaPredictor

    predictor = VqaPredictor.from_checkpoint(checkpoint)
    picture = predictor.open_photo(PHOTO)
    explanation = predictor.explain(predictor.encode(picture), QUESTION)
    times = []
    for repeat in range(repeats):
        words = (repeat % len(explanation.tokens),)
        start = time.perf_counter()
        words_html(explanation, words)
        map_html(picture, explanation, words, (), Look())
        times.append(1000 * (time.perf_counter() - start))
    return times


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="starts (default 3); ten times as many redraws")
    parser.add_argument("--report", help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; at least 1 is needed.")
    from valm_core.checkpoints.atomic_files import write_text

    checkpoint = Path(checkpoint_folder())
    answered, weighed = question_milliseconds(checkpoint, 5 * options.repeats)
    report = {
        "answer_and_map_milliseconds": round(statistics.median(answered), 1),
        "with_evidence_milliseconds": round(statistics.median(weighed), 1),
        "page_seconds": [round(seconds_to_page(), 2) for _ in range(options.repeats)],
        "answer_seconds": [round(seconds_to_answer(checkpoint), 2) for _ in range(options.repeats)],
        "redraw_milliseconds": round(statistics.median(redraw_milliseconds(checkpoint, 10 * options.repeats)), 1),
        "load_at_end": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    print(json.dumps(report))
    if options.report:
        write_text(options.report, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
