"""The documentation: the site builds without a broken link, the notebook runs, every command shown is a real one."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from valm_core.explanations import EXPLANATION_METHODS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])
NEEDS_DATA_OR_NETWORK = ("hf ", "docker ", "accelerate ", "pip install")


def commands(page: Path) -> list[str]:
    """The commands that a page shows as indented lines, continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    prompt = r"(?:[A-Z_]+=\S+ )*(?:make|\.venv/bin/\S+|hf|docker|pip|accelerate)\b.*"
    return re.findall(rf"(?m)^ {{4,}}({prompt})$", text)


def python_blocks(page: Path) -> list[str]:
    """The Python that a page shows."""
    return re.findall(r"(?ms)^```python\n(.*?)^```", page.read_text(encoding="utf-8"))


def file_of(module: str) -> Path:
    """What `python -m MODULE` runs, here in the project, by its whole or its short name."""
    part, name = module.split(".", 1)
    name = getattr(importlib.import_module(part), "SHORT_NAMES", {}).get(name, name)
    place = ROOT.joinpath(part, *name.split("."))
    return place / "__main__.py" if place.is_dir() else place.with_suffix(".py")


def test_the_site_builds_without_a_broken_link(tmp_path):
    pytest.importorskip("material")
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "from_checkpoint" in (tmp_path / "reference.html").read_text(encoding="utf-8")
    assert "<table>" in (tmp_path / "results.html").read_text(encoding="utf-8")
    for page in tmp_path.glob("*.html"):
        outside = re.findall(
            r'<(?:link|script|img)[^>]+(?:href|src)="(https?://[^"]+)"', page.read_text(encoding="utf-8")
        )
        assert outside == [], page.name


def test_the_notebook_runs(monkeypatch, capsys):
    """Its cells one after another, as a kernel runs them, but in this process, where torch is imported already."""
    cells = json.loads((DOCS / "notebooks" / "inspect_attention.ipynb").read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells), "clear the outputs before committing"
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(DOCS / "notebooks")
    names: dict = {}
    printed = []
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
        printed.append(capsys.readouterr().out)
    assert "cat" in printed[1].splitlines()[0]
    assert [len(axes.images) for axes in names["figure"].axes] == [2] * len(names["explanation"].tokens)
    names["plt"].close(names["figure"])
    assert all(method in printed[3] for method in EXPLANATION_METHODS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_can_be_run(page):
    """make targets exist, modules and the files they are given exist; the rest needs data, docker or the hub."""
    targets = re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text())
    for command in commands(page):
        words = [word for word in shlex.split(command, comments=True) if not re.match(r"[A-Z_]+=", word)]
        if words[0] == "make":
            assert set(words[1:]) <= set(targets), command
        elif words[0].endswith("python") and words[1] == "-m":
            assert file_of(words[2]).is_file(), command
            files = [word for word in words[3:] if word.startswith(("assets/", "training/configs/"))]
            assert all((ROOT / file).exists() for file in files), command
        elif words[0].endswith("python"):
            assert (ROOT / words[1]).is_file(), command
        else:
            name = words[0].removeprefix(".venv/bin/")
            assert f"{' '.join([name, *words[1:]])} ".startswith(NEEDS_DATA_OR_NETWORK) or name == "pre-commit", command


@pytest.mark.parametrize("page", ["docs/index.md", "docs/start.zh-CN.md", "README.md"])
def test_the_python_of_the_start_pages_runs(page, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (block,) = python_blocks(ROOT / page)
    exec(compile(block, page, "exec"), {})
    printed = capsys.readouterr().out
    assert "cat" in printed.splitlines()[0]
    shown = re.findall(r"(?ms)^```text\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"))
    assert shown == ([printed] if page == "README.md" else [])


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("nav:")[1].split("not_in_nav")[0]
    assert sorted(re.findall(r": (\S+\.md)$", navigation, re.M)) == sorted(page.name for page in DOCS.glob("*.md"))


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\(docs/([\w.-]+\.md)\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in DOCS.glob("*.md")} - linked == set()


@pytest.mark.parametrize(
    ("chinese", "english"), [("docs/start.zh-CN.md", "docs/index.md"), ("README.zh-CN.md", "README.md")]
)
def test_the_chinese_pages_show_the_same_commands(chinese, english):
    translated, original = (
        [shlex.split(command, comments=True) for command in commands(ROOT / page)] for page in (chinese, english)
    )
    assert translated and all(command in original for command in translated)
