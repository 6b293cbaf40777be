"""Trying a clone out: the page is waited for and stopped with all it started, tests are counted, failures named."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from patience import PATIENCE, wait_until

from hosting import starting
from hosting.fresh_machine import format_report, main, run_tests, with_row
from hosting.starting import clean_variables, page_of

PAGE = """
import http.server, os, pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("child").write_text(str(child.pid))
address = ("127.0.0.1", int(os.environ["GRADIO_SERVER_PORT"]))
server = http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler)
server.serve_forever()
"""
ROW = {
    **{"python": "3.13.0", "torch": "2.8", "transformers": "5.0", "gradio": "6.31", "numpy": "2.0", "pillow": "12.0"},
    **{"install_seconds": 90.4, "gigabytes": 6.44, "first_page_seconds": 19.0, "first_answer_seconds": 13.4},
    **{"second_page_seconds": 9.0, "second_answer_seconds": 8.0, "machine": "Linux, 2 cores", "command": "python -m x"},
}


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
def test_a_page_is_stopped_with_what_it_started(tmp_path):
    with page_of([sys.executable, "-c", PAGE], tmp_path, tmp_path / "log") as seconds:
        child = int((tmp_path / "child").read_text())
        assert 0 < seconds < starting.STARTS_WITHIN and is_running(child)
    wait_until(lambda: not is_running(child))


def test_a_page_that_ends_or_never_comes_is_told_with_what_it_said(tmp_path, monkeypatch):
    ending, idle = "print('no such model'); exit(1)", "import time; print('loading', flush=True); time.sleep(600)"
    for code, said in ((ending, "no such model"), (idle, "loading")):
        log = tmp_path / said

        def seconds(log=log):  # pass once the idle one has said something
            return PATIENCE if log.exists() and "loading" in log.read_text() else 0

        monkeypatch.setattr(starting, "time", SimpleNamespace(monotonic=seconds, sleep=time.sleep))
        with (
            pytest.raises(RuntimeError, match=said),
            page_of([sys.executable, "-c", code], tmp_path, log, within=PATIENCE - 1),
        ):
            pass


def test_nothing_but_the_folder_counts(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("VALM_CHECKPOINT", "another")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "1")
    monkeypatch.setenv("HOME", "kept")
    variables = clean_variables()
    assert not {"PYTHONPATH", "VALM_CHECKPOINT", "GRADIO_SERVER_PORT"} & variables.keys()
    assert variables["HOME"] == "kept"


def test_tests_are_counted_and_failures_named(tmp_path):
    summary = "===== 2 failed, 40 passed, 1 skipped in 61.50s (0:01:01) ====="
    said = f"FAILED tests/a.py::test_b - assert 0\\nERROR tests/c.py::test_d\\n{summary}"
    (tmp_path / "Makefile").write_text(f"test:\n\t@printf '{said}\\n'; exit 1\n")
    found = run_tests(tmp_path, tmp_path / "log")
    assert found["tests"] == "2 failed, 40 passed, 1 skipped" and found["test_seconds"] == 61.5
    assert found["failed"] == ["tests/a.py::test_b", "tests/c.py::test_d"]
    text = format_report({"rows": [ROW | found, ROW]})
    assert (
        "| 3.13.0 | torch 2.8, transformers 5.0" in text
        and "| 6.4 GB | 1.0 min | 2 failed, 40 passed, 1 skipped |" in text
    )
    assert "| 6.4 GB | – | – |" in text and "- 3.13.0: `tests/a.py::test_b`" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1

    (tmp_path / "Makefile").write_text("test:\n\t@echo no compiler; exit 2\n")
    with pytest.raises(RuntimeError, match="no compiler"):
        run_tests(tmp_path, tmp_path / "another log")


def test_rows_of_other_pythons_stay(tmp_path):
    report = tmp_path / "report.json"
    for python, seconds in (("3.9.1", 1.0), ("3.13.0", 2.0), ("3.9.1", 3.0)):
        report.write_text(json.dumps(with_row(report, ROW | {"python": python, "install_seconds": seconds})))
    rows = json.loads(report.read_text())["rows"]
    assert [(row["python"], row["install_seconds"]) for row in rows] == [("3.9.1", 3.0), ("3.13.0", 2.0)]
    text = format_report({"rows": rows})
    assert text.count("    python -m x") == 1 and text.count("Linux, 2 cores") == 1


def test_an_interpreter_that_is_not_there_is_named(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--python", "python9.9"])
    assert stopped.value.code == 2 and "no python9.9 here" in capsys.readouterr().err
