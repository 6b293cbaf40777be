"""`pip install .`: the wheel has every module, the shipped model and the commands; the version has one source."""

import configparser
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import valm_core

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel of the files that git tracks; nothing is downloaded for it."""
    from hosting.space import tracked_files

    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in tracked_files((".",)):
        if not path.startswith(("tests/", "docs/")) and (ROOT / path).is_file():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes((ROOT / path).read_bytes())
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(target)]
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_every_module_and_what_it_reads_is_in_the_wheel(wheel):
    names = set(wheel.namelist())
    for folder in ("valm_core", "training", "demo"):
        files = [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.yaml"), *(ROOT / folder).rglob("*.[jc]s*")]
        assert [path for path in files if path.relative_to(ROOT).as_posix() not in names] == []
    for path in ("checkpoints/everyday/model.safetensors", "checkpoints/everyday/config.json", "examples/cat.jpg"):
        assert f"demo/assets/{path}" in names
    assert not {name for name in names if name.startswith(("tests/", "hosting/", "docs/", "app.py"))}


def test_the_commands_lead_to_functions(wheel):
    entry_points = configparser.ConfigParser()
    entry_points.read_string(wheel.read(next(n for n in wheel.namelist() if n.endswith("entry_points.txt"))).decode())
    commands = dict(entry_points["console_scripts"])
    assert commands.keys() == {"valm-demo", "valm-ask", "valm-describe", "valm-find", "valm-train", "valm-evaluate"}
    for target in commands.values():
        module, function = target.split(":")
        assert f"def {function}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def test_the_version_has_one_source(wheel):
    assert f"valm-{valm_core.__version__}-" in Path(wheel.filename).name
    for name in ("pyproject.toml", "CITATION.cff"):
        assert not re.search(r"(?m)^version\W+\d", (ROOT / name).read_text(encoding="utf-8")), name
    assert f"## [{valm_core.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_an_installed_page_finds_its_model(wheel, tmp_path):
    wheel.extractall(tmp_path)
    code = "from demo.settings import checkpoint_folder; print(checkpoint_folder() / 'config.json')"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    config = Path(done.stdout.strip())
    assert config.is_file() and config.is_relative_to(tmp_path)


def test_the_citation_and_the_workflow_are_what_their_readers_take():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys() and citation["license"] == "Apache-2.0"
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = [step.get("run") for step in workflow["jobs"]["all"]["steps"]]
    assert ".ci/run" in steps


def test_the_lock_pins_every_requirement_with_hashes_and_within_its_range():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    text = (ROOT / "requirements.lock").read_text()
    assert "http:" not in text and "https:" not in text  # no registry's address
    pinned = {}
    for entry in text.replace("\\\n", "").splitlines():
        name, _, version = entry.split()[0].partition("==")
        assert version and "--hash=sha256:" in entry, entry[:80]
        pinned[canonicalize_name(name)] = version
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        wanted = Requirement(line.split("#")[0])
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), line
