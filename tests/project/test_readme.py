"""What README, docs and CONTRIBUTING say: figures equal the reports, commands exist, the tree of folders is whole."""

import json
import re
from pathlib import Path

import pytest
from patience import PATIENCE

import demo
import training
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.method_names import DEFAULT_METHOD

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
REPORTS = DOCS / "reports"
MAPS, RESULTS, SPEED = (
    (DOCS / f"{page}.md").read_text(encoding="utf-8") for page in ("reading_maps", "results", "speed")
)
ROOMS = ("valm_core", "training", "demo", "hosting", "tests")


def test_the_readme_is_short():
    assert 50 < len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", [README, RESULTS], ids=["README", "results"])
def test_results_table_equals_the_reports(page):
    reports = {
        name: json.loads((REPORTS / "accuracy" / f"{name}.json").read_text()) for name in ("everyday", "everyday_blind")
    }
    for label, pick in (
        ("all questions", lambda report: report["accuracy"]),
        ("`vqa_v1`", lambda report: report["by_source"]["vqa_v1"]),
        ("`vqa_v2_yes_no`", lambda report: report["by_source"]["vqa_v2_yes_no"]),
        ("`coco_qa`", lambda report: report["by_source"]["coco_qa"]),
        ("`visual7w`", lambda report: report["by_source"]["visual7w"]),
        ("multiple choice", lambda report: report["multiple_choice_accuracy"]),
        ("calibration error", lambda report: report["expected_calibration_error"]),
    ):
        row = next(line for line in page.splitlines() if line.startswith("|") and label in line)
        stated = re.findall(r"(\d+\.\d) %", row)
        assert stated == [f"{100 * pick(report):.1f}" for report in reports.values()], row


def test_every_report_lies_under_its_subject_and_is_named_by_its_place():
    """What pages, configs and commands call ``reports/SUBJECT/NAME`` is there."""
    assert [path.name for path in REPORTS.iterdir() if not path.is_dir()] == []
    code = [path for room in ("training", "demo", "valm_core") for path in (ROOT / room).rglob("*.*")]
    pages = [*DOCS.glob("*.md"), *REPORTS.rglob("*.md"), *ROOT.glob("*.md"), ROOT / "Makefile"]
    texts = (path.read_text(encoding="utf-8") for path in [*pages, *code] if path.suffix in ("", ".md", ".py", ".yaml"))
    named = {place for text in texts for place in re.findall(r"\breports/([\w/]+)", text)}
    missing = {place for place in named if not [*REPORTS.glob(place), *REPORTS.glob(f"{place}.*")]}
    assert len(named) > 25 and missing == {"running/export"}  # one of three formats


def test_faithfulness_table_equals_the_report():
    report = json.loads((REPORTS / "maps" / "faithfulness.json").read_text())
    metrics = ("deletion", "insertion", "comprehensiveness", "sufficiency", "violation")
    for name in EXPLANATION_METHODS:
        row = next(line for line in MAPS.splitlines() if line.startswith(f"| `{name}` |"))
        figures = report["methods"][name]
        expected = [f"{figures['tokens'][metric]['mean']:.3f}" for metric in metrics]
        assert re.findall(r"-?\d\.\d{3}", row) == expected, row
        assert row.endswith(f"| {figures['cpu_milliseconds']:.0f} |"), row


def test_verdict_shares_equal_the_report():
    report = json.loads((REPORTS / "maps" / "evidence.json").read_text())
    assert f"On {report['tested_questions']} other questions shuffled maps get" in MAPS
    for kind in ("shuffled_maps", "true_maps", "true_maps_where_the_photo_changed_the_answer"):
        shares = (f'{100 * share:.1f} % "{verdict}"' for verdict, share in report[kind].items())
        assert ", ".join(shares) in MAPS, kind
    true = report["true_maps"]
    matter = true["matters"] + true["matters a little"]
    stated = [f"{100 * share:.1f} %" for share in (matter, true["no difference"], true["cannot tell"])]
    said = re.search(
        r"Of the maps of (\d+) test questions (\S+ %) show that.*?(\S+ %) show no.*?(\S+ %) it", README, re.S
    )
    assert said and [*said.groups()] == [str(report["tested_questions"]), *stated]


def test_the_default_method_is_the_stated_one_and_fast_enough():
    report = json.loads((REPORTS / "maps" / "faithfulness.json").read_text())
    assert f"The default is `{DEFAULT_METHOD}`" in MAPS
    assert report["methods"][DEFAULT_METHOD]["milliseconds"] < 150


def test_the_checkpoint_metrics_equal_the_report():
    report = json.loads((REPORTS / "accuracy" / "everyday.json").read_text())
    metrics = json.loads((ROOT / "assets/checkpoints/everyday/metrics.json").read_text())
    for name in ("questions", "accuracy", "by_source", "multiple_choice_accuracy"):
        assert metrics[name] == pytest.approx(report[name], abs=1e-6), name
    assert metrics["reliability"] == report["reliability"] and len(report["reliability"]) == 10


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ("cold", "cold question, photo file to answer, ms"),
        ("next", "next question on the same photo, ms"),
        ("rate", "questions a second, a photo each, best batch"),
        ("peak", "peak memory, MB"),
    ],
)
def test_the_speed_table_equals_the_report(row, label):
    from training.benchmark.report import summary

    models = json.loads((REPORTS / "running" / "benchmark.json").read_text())["models"].values()
    written = re.search(rf"\| {label} \| (.*) \|", SPEED)[1].split(" | ")
    for cell, model in zip(written, models, strict=True):
        assert float(cell) == pytest.approx(summary(model)[row][0], rel=0.05), model["name"]


def folders_with_code() -> set[str]:
    """Every folder that holds a Python file other than an empty one; a room's tests count for the room they mirror."""
    files = (path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    folders = {path.parent.relative_to(ROOT).parts for path in files if path.stat().st_size}
    mirrors = {parts for parts in folders if parts[0] == "tests" and len(parts) > 2}
    return {"/".join(parts[1:] if parts in mirrors else parts) for parts in folders}


def tree() -> dict[str, str]:
    """What CONTRIBUTING's tree of folders says of each path; names are indented by two under their folder."""
    block = CONTRIBUTING.split("## The tree")[1].split("```text\n")[1].split("```")[0]
    paths: dict[str, str] = {}
    parents: list[str] = []
    for line in block.splitlines():
        indent, name, said = re.fullmatch(r"( *)(\S+)(?: {2,}(.*))?", line).groups()
        depth = len(indent) // 2
        parents = [*parents[:depth], name.rstrip("/")]
        path = "/".join(parents)
        assert path not in paths and said, line
        paths[path] = said
    return paths


def test_the_tree_has_every_folder_with_code():
    listed = tree()
    assert len(folders_with_code()) > 30
    assert folders_with_code() - listed.keys() == set()
    assert len(listed) <= 50


def test_what_stands_in_the_tree_exists():
    assert [path for path in tree() if not (ROOT / path).exists()] == []


def test_a_tree_line_names_only_files_that_are_there():
    """Words in a line that name a file of the folder: ``compare`` or ``selection.js``, between backquotes."""
    named = [(path, name) for path, said in tree().items() for name in re.findall(r"`([\w.]+)`", said)]
    files = [(path, {file.name for file in (ROOT / path).iterdir()}, name) for path, name in named]
    assert files and [(p, name) for p, there, name in files if not {name, f"{name}.py"} & there] == []


def test_recipes_and_glossary_name_what_exists():
    recipes = CONTRIBUTING.split("## Where do I change ...?")[1]
    paths = re.findall(r"`((?:valm_core|training|demo|tests|hosting|docs|assets)/[\w./]*)`", recipes)
    assert len(paths) > 30 and [path for path in paths if not (ROOT / path).exists()] == []
    names = re.findall(r"`([A-Z][A-Z_]{4,})`|`([A-Z][a-z]+[A-Z]\w+)`|`(\w+)\(\)`", recipes)
    code = "\n".join(path.read_text(encoding="utf-8") for room in ROOMS[:3] for path in (ROOT / room).rglob("*.py"))
    missing = [name for found in names for name in found if name and not re.search(rf"\b{name}\b", code)]
    assert len(names) > 10 and missing == []


def commands_of(part: str, short_names: dict[str, str]) -> list[str]:
    """What ``python -m PART.NAME`` runs: files of the part itself, rooms that are commands, and short names."""
    files = [path for path in (ROOT / part).glob("[a-z]*.py") if '__name__ == "__main__"' in path.read_text()]
    rooms = [path.parent for path in (ROOT / part).glob("*/__main__.py")]
    return sorted({f"{part}.{name}" for name in [*(path.stem for path in [*files, *rooms]), *short_names]})


COMMANDS = [*commands_of("training", training.SHORT_NAMES), *commands_of("demo", demo.SHORT_NAMES)]
COMMANDS = [
    *(name for name in COMMANDS if name != "training.corrections"),
    "training.datasets.planted_scenes",
]  # feedback


@pytest.mark.parametrize("module", COMMANDS)
def test_help_shows_an_example(forks, module):
    done = forks.run(["-m", module, "-h"], timeout=PATIENCE)
    assert done.returncode == 0 and f"python -m {module}" in done.stdout, done.stdout + done.stderr
