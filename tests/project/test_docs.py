"""The documentation: the site builds without a broken link, the notebook runs, every command shown is a real one."""

import argparse
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from training.joint.config import JointConfig
from training.run_config import RunConfig
from valm_core.config import ValmConfig
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.learning.training_config import TrainingConfig

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])
HISTORY = ("log.md", "CHANGELOG.md")
NEEDS_DATA_OR_NETWORK = ("hf ", "docker ", "accelerate ", "pip install")
SCRIPTS = dict(re.findall(r'(?m)^(valm-[a-z]+) = "([\w.]+):main"$', (ROOT / "pyproject.toml").read_text()))
SETTINGS = {field.name for kind in (RunConfig, ValmConfig, TrainingConfig, JointConfig) for field in fields(kind)}


def commands(page: Path) -> list[str]:
    """The commands that a page shows as indented lines, continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    prompt = r"(?:[A-Z_]+=\S+ )*(?:make|\.venv/bin/\S+|hf|docker|pip|accelerate|valm-[a-z]+)\b.*"
    return re.findall(rf"(?m)^ {{4,}}({prompt})$", text)


def programs(page: Path) -> list[tuple[str, list[str]]]:
    """What a page shows of our own commands, as lines and between backquotes: the module and the words after it.

    Between backquotes a module alone is only named.
    """
    inside = re.findall(
        r"`((?:\.venv/bin/)?python -m [\w.]+ [^`]+|valm-[a-z]+ [^`]+)`", page.read_text(encoding="utf-8")
    )
    if page.name in HISTORY:  # names commands that are gone
        return []
    found = []
    for command in [*commands(page), *inside]:
        command = command.partition(" > ")[0]
        words = [word for word in shlex.split(command, comments=True) if not re.match(r"[A-Z_]+=", word)]
        if words[0] in SCRIPTS:
            found.append((SCRIPTS[words[0]], words[1:]))
        elif words[0].endswith("python") and words[1] == "-m":
            found.append((words[2], words[3:]))
    return [(module, words) for module, words in found if not {"…", "..."} & {*words}]


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
        elif words[0].endswith("python"):
            assert words[1] == "-m" or (ROOT / words[1]).is_file(), command
        else:
            name = words[0].removeprefix(".venv/bin/")
            known = name == "pre-commit" or name in SCRIPTS
            assert known or f"{' '.join([name, *words[1:]])} ".startswith(NEEDS_DATA_OR_NETWORK), command
    for module, words in programs(page):
        assert file_of(module).is_file(), module
        files = [
            word for word in words if word.startswith(("assets/", "training/", "docs/"))
        ]  # a report without ending
        assert [file for file in files if not (ROOT / file).exists() and not (ROOT / f"{file}.json").exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_shown_is_one_of_its_command(page, monkeypatch, capsys):
    """By the command's own parser, in this process; settings (``name=value``) by their names."""
    parse = argparse.ArgumentParser.parse_args

    class Parsed(Exception):
        """In place of what the command would do then."""

    def parse_alone(parser, *arguments, **options):
        parse(parser, *arguments, **options)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_alone)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_intermixed_args", parse_alone)
    for module, words in programs(page):
        code = file_of(module).read_text(encoding="utf-8")
        elsewhere = re.search(r"^from (\S+) import main$", code, re.MULTILINE)  # a room's __main__.py
        if "ArgumentParser" not in code and not elsewhere:
            continue
        name = elsewhere[1] if elsewhere else ".".join(file_of(module).relative_to(ROOT).with_suffix("").parts)
        main = importlib.import_module(name).main
        try:
            main(words)
        except Parsed:
            pass
        except SystemExit:
            pytest.fail(f"{module} {' '.join(words)}: {capsys.readouterr().err}")
        if words and module.startswith("training.train"):
            assert {found[1] for word in words if (found := re.match(r"([a-z_]+)=", word))} <= SETTINGS, words


def test_there_are_options_to_look_at():
    shown = [words for page in PAGES for _, words in programs(page)]
    assert len(shown) > 60 and sum("--report" in words for words in shown) >= 8


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
