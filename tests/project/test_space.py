"""The Hugging Face Space: its metadata is what the hub takes, its folder is complete and runs by itself."""

import fnmatch
import os
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard
from patience import PATIENCE

from hosting.space import LARGE_OR_BINARY, assemble, main

ROOT = Path(__file__).parents[2]
PLAIN_GIT_LIMIT = 10_000_000  # bytes; the hub refuses larger files that aren't in large file storage
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    """The folder that `make spaces` writes."""
    folder = tmp_path_factory.mktemp("space") / "space"
    assemble(folder)
    return folder


def test_the_metadata_is_what_the_hub_takes(space):
    """Parsed by huggingface_hub, which refuses malformed metadata; values by the hub's configuration reference."""
    data = SpaceCard((space / "README.md").read_text(encoding="utf-8"), ignore_metadata_errors=False).data
    assert data.sdk == "gradio" and data.sdk_version == version("gradio")
    assert re.fullmatch(r"3\.1[0-2](\.\d+)?", data.python_version)
    assert (space / data.app_file).is_file() and data.license == "apache-2.0"
    assert {data.colorFrom, data.colorTo} <= COLORS
    assert data.emoji and not data.emoji.isascii() and len(data.short_description) <= 60
    known = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "pinned"}
    assert data.to_dict().keys() <= known | {"license", "short_description", "tags", "models", "datasets"}


@pytest.mark.parametrize("repository", [False, True])
def test_a_folder_that_is_no_space_or_has_a_history_is_left_alone(tmp_path, repository):
    folder = tmp_path / "mine"
    if repository:
        assemble(folder)
        (folder / ".git").mkdir()
    else:
        folder.mkdir()
        (folder / ".gitattributes").write_text("")
    (folder / "thesis.tex").write_text("years")
    with pytest.raises(ValueError, match=r"Name a new folder"):
        assemble(folder)
    assert (folder / "thesis.tex").read_text() == "years"


def test_malformed_metadata_is_noticed():
    with pytest.raises(ValueError, match="dict"):
        SpaceCard("---\njust a sentence\n---\n")


def test_large_and_binary_files_go_to_large_file_storage(space):
    attributes = (space / ".gitattributes").read_text().splitlines()
    patterns = [line.split()[0] for line in attributes if "filter=lfs" in line]
    for path in (path for path in space.rglob("*") if path.is_file()):
        binary = b"\0" in path.read_bytes()[:8000]
        if binary or path.stat().st_size > PLAIN_GIT_LIMIT:
            assert any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns), path
    assert "*.safetensors" in patterns and len(patterns) == len(LARGE_OR_BINARY)


def test_what_the_readme_links_to_is_there(space):
    links = re.findall(r"\]\(([^)#:]+)\)", (space / "README.md").read_text(encoding="utf-8"))
    assert links and [link for link in links if not (space / link).exists()] == []


def test_the_space_answers_from_its_folder_alone(forks, space):
    code = "import demo.terminal.ask, valm_core; print(valm_core.__file__); demo.terminal.ask.main()"
    words = ["-c", code, "assets/examples/cat.jpg", "What animal is this?"]
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VALM_CHECKPOINT")}
    done = forks.run(words, cwd=space, env=variables, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    module, asked, first, *_ = done.stdout.splitlines()
    assert module == str(space / "valm_core" / "__init__.py")
    assert asked == "What animal is this?" and first.split()[0] == "cat"


def test_a_pinned_torch_changes_that_line_alone(space, tmp_path):
    assemble(tmp_path / "pinned", torch="2.9.1")
    before, after = ((folder / "requirements.txt").read_text().split() for folder in (space, tmp_path / "pinned"))
    assert [line for line in after if line not in before] == ["torch==2.9.1"] and len(before) == len(after)


def test_another_folder_is_not_overwritten_but_an_earlier_space_is(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("two years of work")
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path)])
    assert stopped.value.code == 2 and "Name a new folder" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()

    main([str(tmp_path / "space")])
    (tmp_path / "space" / "old.txt").write_text("from before")
    main([str(tmp_path / "space")])
    assert not (tmp_path / "space" / "old.txt").exists()
    assert "hf upload" in capsys.readouterr().out


def test_the_container_gets_all_that_the_page_needs():
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"(?m)^COPY (.*) \S+$", dockerfile) for word in line.split()}
    assert {"app.py", "requirements.txt", "valm_core", "demo", "assets"} <= copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_through
    assert dockerfile.index("USER valm") < dockerfile.index('CMD ["python", "app.py"]')
