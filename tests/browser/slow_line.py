"""The first visit over a slow line: when something is seen, when a question can be asked, how many bytes that takes.

Example:
    python -m tests.browser.slow_line --visits 5 --report docs/reports/running/first_visit.json
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "helpers")]
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

USABLE = """() => {
  const ask = document.querySelector("#ask");
  if (!ask?.checkVisibility() || !document.querySelector("#first-frame.over")) return false;
  window.usable ??= performance.now();
  return true;
}"""
FIGURES = """() => {
  const seen = performance.getEntriesByName("first-contentful-paint")[0].startTime;
  const fetched = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  const bytes = fetched.filter((one) => one.responseEnd < usable).reduce((sum, one) => sum + one.transferSize, 0);
  return {seen_seconds: seen / 1000, usable_seconds: usable / 1000, kilobytes: bytes / 1000};
}"""


def first_visit(browser, url: str, megabits: float, milliseconds: float) -> dict[str, float]:
    """One visit in a browser that knows nothing of the page, on a phone's screen."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    line = context.new_cdp_session(page)
    line.send("Network.enable")
    speed = megabits * 1e6 / 8  # bytes a second
    limits = {"offline": False, "latency": milliseconds, "downloadThroughput": speed, "uploadThroughput": speed}
    line.send("Network.emulateNetworkConditions", limits)
    page.goto(url, wait_until="commit")
    page.wait_for_function(USABLE, polling="raf", timeout=120_000)
    figures = page.evaluate(FIGURES)
    context.close()
    return figures


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabits", type=float, default=0.8, help="of the line, a second (default 0.8)")
    parser.add_argument("--latency", type=float, default=100, help="milliseconds (default 100)")
    parser.add_argument("--visits", type=int, default=5, help="default 5; one before them isn't counted")
    parser.add_argument("--report", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    if options.visits < 1:
        parser.error(f"--visits is {options.visits}; at least 1 is needed.")
    from chromium import find_chromium
    from fake_predictor import FakePredictor
    from playwright.sync_api import sync_playwright
    from served_page import served

    chromium = find_chromium()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        with served(FakePredictor()) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            line = (url, options.megabits, options.latency)
            visits = [first_visit(browser, *line) for _ in range(options.visits + 1)][1:]
            browser.close()
    report = {
        "megabits_a_second": options.megabits,
        "latency_milliseconds": options.latency,
        "median": {name: round(statistics.median(visit[name] for visit in visits), 2) for name in visits[0]},
        "visits": [{name: round(value, 2) for name, value in visit.items()} for visit in visits],
        "load_at_end": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    print(json.dumps(report))
    if options.report:
        options.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
