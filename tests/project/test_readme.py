"""What the README says: its figures equal the committed reports, its commands exist, its file list is complete."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from valm_core.explanations import DEFAULT_METHOD, EXPLANATION_METHODS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REPORTS = ROOT / "docs" / "reports"


def test_results_table_equals_the_reports():
    reports = {name: json.loads((REPORTS / f"{name}.json").read_text()) for name in ("everyday", "everyday_blind")}
    for label, pick in (
        ("all questions", lambda report: report["accuracy"]),
        ("`vqa_v1`", lambda report: report["by_source"]["vqa_v1"]),
        ("`vqa_v2_yes_no`", lambda report: report["by_source"]["vqa_v2_yes_no"]),
        ("`coco_qa`", lambda report: report["by_source"]["coco_qa"]),
        ("`visual7w`", lambda report: report["by_source"]["visual7w"]),
        ("multiple choice", lambda report: report["multiple_choice_accuracy"]),
        ("calibration error", lambda report: report["expected_calibration_error"]),
    ):
        row = next(line for line in README.splitlines() if line.startswith("|") and label in line)
        stated = re.findall(r"(\d+\.\d) %", row)
        assert stated == [f"{100 * pick(report):.1f}" for report in reports.values()], row


def test_faithfulness_table_equals_the_report():
    report = json.loads((REPORTS / "faithfulness.json").read_text())
    metrics = ("deletion", "insertion", "comprehensiveness", "sufficiency", "violation")
    for name in EXPLANATION_METHODS:
        row = next(line for line in README.splitlines() if line.startswith(f"| `{name}` |"))
        figures = report["methods"][name]
        expected = [f"{figures['tokens'][metric]['mean']:.3f}" for metric in metrics]
        assert re.findall(r"-?\d\.\d{3}", row) == expected, row
        assert row.endswith(f"| {figures['cpu_milliseconds']:.0f} |"), row


def test_verdict_shares_equal_the_report():
    report = json.loads((REPORTS / "evidence.json").read_text())
    stated = re.search(r"on 200 others (\S+) % of the shuffled", README)
    assert stated and float(stated[1]) == pytest.approx(100 * report["shuffled_maps"]["not supported"], abs=0.051)
    for verdict, share in report["true_maps"].items():
        assert f'{100 * share:.1f} % get "{verdict}"' in README or f'{100 * share:.1f} % "{verdict}"' in README


def test_the_default_method_is_the_stated_one_and_fast_enough():
    report = json.loads((REPORTS / "faithfulness.json").read_text())
    assert f"The default is `{DEFAULT_METHOD}`" in README
    assert report["methods"][DEFAULT_METHOD]["milliseconds"] < 150


def test_the_checkpoint_metrics_equal_the_report():
    report = json.loads((REPORTS / "everyday.json").read_text())
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

    models = json.loads((REPORTS / "benchmark.json").read_text())["models"].values()
    written = re.search(rf"\| {label} \| (.*) \|", README)[1].split(" | ")
    for cell, model in zip(written, models, strict=True):
        assert float(cell) == pytest.approx(summary(model)[row][0], rel=0.05), model["name"]


def test_every_source_file_is_in_the_file_list():
    folders = [ROOT / name for name in ("valm_core", "training", "demo", "hosting")]
    files = [path for folder in folders for path in folder.rglob("*.py") if path.name != "__init__.py"]
    listed = {str(path.relative_to(ROOT)): README.count(f"| `{path.relative_to(ROOT)}`") for path in files}
    listed |= {name: 1 for name in listed if f", `{name}`" in README}  # beside another on its line
    assert {name: count for name, count in listed.items() if count != 1} == {}


def test_every_listed_file_exists():
    table = README.split("## Files")[1].split("\n## ")[0]
    listed = re.findall(r"`([\w./-]+\.\w+|[\w./-]+/)`", table)
    assert [name for name in listed if not (ROOT / name).exists()] == []


TRAINING = ["train", "evaluate", "feedback", "search", "compare", "daquar", "faithfulness", "evidence", "pointing"]
TRAINING += ["train_joint", "export", "benchmark", "batch_answer", "training_speed", "presence", "word_maps"]
OTHERS = ["training.datasets.planted_scenes", "demo.ask", "demo.serve", "demo.page_speed"]


COMMANDS = [*(f"training.{name}" for name in TRAINING), *OTHERS]

# What `python -m MODULE -h` does, a process for each module, which finds the large libraries imported already.
HELP = """
import os, runpy, sys
import accelerate, matplotlib.pyplot, optuna, peft, timm, torch, transformers
folder, *modules = sys.argv[1:]
for module in modules:
    child = os.fork()
    if child == 0:
        sys.stdout = open(os.path.join(folder, module), "w")
        sys.argv = [module, "-h"]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit()
    with open(os.path.join(folder, module + ".code"), "w") as code:
        code.write(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""


@pytest.fixture(scope="module")
def helps(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """The exit code and the text of every command that is asked for help."""
    if not hasattr(os, "fork"):
        asked = {
            module: subprocess.run([sys.executable, "-m", module, "-h"], capture_output=True, text=True, cwd=ROOT)
            for module in COMMANDS
        }
        return {module: (done.returncode, done.stdout) for module, done in asked.items()}
    folder = tmp_path_factory.mktemp("helps")
    subprocess.run([sys.executable, "-c", HELP, folder, *COMMANDS], cwd=ROOT, check=True, timeout=PATIENCE)
    codes = {module: int((folder / f"{module}.code").read_text()) for module in COMMANDS}
    return {module: (code, (folder / module).read_text()) for module, code in codes.items()}


@pytest.mark.parametrize("module", COMMANDS)
def test_help_shows_an_example(helps, module):
    code, told = helps[module]
    assert code == 0 and f"python -m {module}" in told, told


def test_commands_name_files_that_exist():
    commands = re.findall(r"python -m [\w.]+ (.*)", README)
    words = [word for command in commands for word in shlex.split(command.rstrip("\\"), comments=True)]
    paths = [word for word in words if word.startswith(("assets/", "training/", "docs/"))]
    assert paths and [path for path in paths if not (ROOT / path).exists()] == []


def test_spaces_front_matter_is_complete():
    import yaml

    front_matter = yaml.safe_load(README.split("---")[1])
    assert front_matter["sdk"] == "gradio"
    assert (ROOT / front_matter["app_file"]).is_file()
    assert len(front_matter["short_description"]) <= 60
