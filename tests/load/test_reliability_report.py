"""The committed report of the long tests is what its figures give, also where some parts are of an older command."""

import json
from pathlib import Path

from load.soak import report

REPORT = Path(__file__).parents[2] / "docs" / "reports" / "running" / "reliability.json"


def test_the_report_is_written_from_its_figures():
    assert report(json.loads(REPORT.read_text(encoding="utf-8"))) == REPORT.with_suffix(".md").read_text(
        encoding="utf-8"
    )


def test_figures_of_before_the_index_was_killed_are_reported_too():
    kills = {"moments_each": 50, "corrections_kept": 7, "checkpoint_saves": 9}
    figures = {"machine": {"cores": 2}, "runs": {}, "kills": kills}
    assert "9 finished saves)." in report(figures) and "index" not in report(figures)
    figures["kills"] = kills | {"photos_indexed": 11}
    assert "finished afterwards (11 photos)." in report(figures)
