"""The README's two commands in a fresh clone, timed, under each Python: `make demo`, an answer, `make test`.

Example:
    python -m hosting.fresh_machine --python python3.10 python3.13 --report docs/reports/running/fresh_machines.json
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from hosting.starting import ASKING, clean_variables, page_of

ROOT = Path(__file__).parent.parent
PACKAGES = ("torch", "transformers", "gradio", "numpy", "pillow")
VERSIONS = f"""
import importlib.metadata, json, platform
print(json.dumps({{"python": platform.python_version()}} | {{n: importlib.metadata.version(n) for n in {PACKAGES}}}))
"""
MAX_INSTALL = 3600  # seconds; torch with CUDA is some gigabytes
# What the report shows, in seconds: the name in a row, and the column's.
TIMES = {
    "install_seconds": "installed",
    "first_page_seconds": "page",
    "first_answer_seconds": "answer",
    "second_page_seconds": "page again",
    "second_answer_seconds": "answer again",
}
HEADS = ("Python", "packages", *TIMES.values(), "size", "`make test`", "tests")


def timed(command: list[str], folder: Path, log: Path, within: float | None = None) -> float:
    """Run a command, its output appended to ``log``, and return the seconds it took.

    Raises:
        RuntimeError: it failed; the message has the end of its output.
    """
    start = time.monotonic()
    with log.open("a", encoding="utf-8") as output:
        done = subprocess.run(
            command, cwd=folder, env=clean_variables(), stdout=output, stderr=output, timeout=within, check=False
        )
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{log.read_text(encoding='utf-8')[-3000:]}")
    return time.monotonic() - start


def try_python(python: str, folder: Path, tests: bool) -> dict:
    """Clone the project's last commit to ``folder`` and do as the README says. Returns the row of the report.

    Args:
        python: an interpreter.
        folder: is made.
        tests: whether to run `make test`, too; a failure is written down, not raised.

    Raises:
        RuntimeError: an installation, the page or a question failed.
    """
    log = folder.with_suffix(".log")
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    installing = ["make", ".venv/demo-installed", f"PYTHON={python}"]
    row: dict = {"install_seconds": timed(installing, folder, log, MAX_INSTALL)}
    mine = folder / ".venv" / "bin" / "python"
    row |= json.loads(subprocess.check_output([mine, "-c", VERSIONS], env=clean_variables(), text=True))
    row["gigabytes"] = sum(path.stat().st_size for path in (folder / ".venv").rglob("*") if path.is_file()) / 1e9
    for turn in ("first", "second"):
        with page_of(["make", "demo"], folder, folder.with_suffix(".page.log")) as seconds:
            row[f"{turn}_page_seconds"] = seconds
        row[f"{turn}_answer_seconds"] = timed([str(mine), *ASKING], folder, log)
    if tests:
        row["dev_install_seconds"] = timed(["make", ".venv/dev-installed"], folder, log, MAX_INSTALL)
        row |= run_tests(folder, folder.with_suffix(".tests.log"))
    return row


def run_tests(folder: Path, log: Path) -> dict:
    """`make test` in a clone: ``test_seconds``, what pytest counted (``tests``), and the ``failed`` ones."""
    try:
        seconds = {"test_seconds": timed(["make", "test"], folder, log)}
    except RuntimeError:
        seconds = {}
    said = log.read_text(encoding="utf-8")
    counted = re.findall(r"(?m)^=+ (.*) in ([\d.]+)s.*=+$", said)
    if not counted:
        raise RuntimeError(f"`make test` counted nothing:\n{said[-3000:]}")
    failed = sorted(set(re.findall(r"(?m)^(?:FAILED|ERROR) (\S+)", said)))
    return {"test_seconds": float(counted[-1][1])} | seconds | {"tests": counted[-1][0], "failed": failed}


def with_row(path: Path, row: dict) -> dict:
    """The report at ``path``, where there is one, with a row in place of that Python's former one."""
    earlier = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    kept = [one for one in earlier if one["python"] != row["python"]]
    return {"rows": sorted([*kept, row], key=lambda one: [*map(int, re.findall(r"\d+", one["python"]))])}


def format_report(report: dict) -> str:
    """The report as Markdown."""
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    for row in report["rows"]:
        packages = ", ".join(f"{name} {row[name]}" for name in PACKAGES)
        seconds = [f"{row[name]:.0f} s" for name in TIMES]
        tests = [f"{row['test_seconds'] / 60:.1f} min", row["tests"]] if "tests" in row else ["–", "–"]
        cells = [row["python"], packages, *seconds, f"{row['gigabytes']:.1f} GB", *tests]
        lines.append(f"| {' | '.join(cells)} |")
    machines = dict.fromkeys(row["machine"] for row in report["rows"])
    failed = [f"- {row['python']}: `{test}`" for row in report["rows"] for test in row.get("failed", ())]
    return "\n".join(
        [
            "# A fresh clone under each Python",
            "",
            *dict.fromkeys(f"    {row['command']}" for row in report["rows"]),
            "",
            f"What the README says, in a fresh clone ({' and '.join(machines)}): `make demo` until the page is there, "
            "a question in the terminal, both again, `make test`.",
            "",
            *lines,
            *(["", "Failed:", "", *failed] if failed else []),
            "",
        ]
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", required=True, help="interpreters, by name or path")
    parser.add_argument("--no-tests", action="store_true", help="only `make demo` and a question")
    parser.add_argument("--report", type=Path, help="JSON file, and .md beside it; other Pythons' rows stay")
    options = parser.parse_args(arguments)
    if missing := [name for name in options.python if not shutil.which(name)]:
        parser.exit(2, f"There is no {missing[0]} here. Name interpreters that are installed.\n")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{platform.system()} {platform.machine()}, {cores} core" + "s" * (cores != 1)
    for python in options.python:
        with tempfile.TemporaryDirectory(prefix="valm-fresh-") as place:
            try:
                row = try_python(python, Path(place) / "clone", not options.no_tests)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                parser.exit(1, f"{python}: {error}\n")
        command = f"python -m hosting.fresh_machine --python {Path(python).name}" + " --no-tests" * options.no_tests
        row |= {"machine": machine, "command": command}
        print(json.dumps(row), flush=True)
        if options.report:
            report = with_row(options.report, row)
            options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            options.report.with_suffix(".md").write_text(format_report(report), encoding="utf-8")


if __name__ == "__main__":
    main()
