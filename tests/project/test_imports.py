"""Imports point one way: demo -> valm_core, training -> valm_core; and between the rooms of each without a circle."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "valm_core": {"training", "demo", "app", "gradio", "spaces"},
    "training": {"demo", "app", "gradio", "spaces"},
    "demo": {"training"},
}


def imported_modules(path: Path) -> set[str]:
    """Full names of what a file imports, wherever in it: ``from a.b import c`` is ``a.b.c``."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a module of a top-level folder: the folder in it, or the file itself where it lies at the top."""
    return parts[1]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_file_imports_what_its_folder_must_not_know(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = {}
    for path in files:
        known = {name.split(".")[0] for name in imported_modules(path)}
        if found := known & FORBIDDEN[folder]:
            wrong[str(path.relative_to(ROOT))] = found
    assert not wrong


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_arrows_between_rooms_form_no_circle(folder):
    arrows: dict[str, set[str]] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[1] == "__init__":
            continue
        here = arrows.setdefault(room_of(parts), set())
        for name in imported_modules(path):
            imported = tuple(name.split("."))
            if (imported[0] == folder and (ROOT / folder / imported[1]).is_dir()) or (
                imported[0] == folder and (ROOT / folder / f"{imported[1]}.py").is_file()
            ):
                here.add(room_of(imported))
        here.discard(room_of(parts))
    assert len(arrows) > 5
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"rooms import each other in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("module", ["predictor", "finder", "captioner"])
def test_an_export_runs_without_torch_or_its_companions(module):
    """Where only onnxruntime, numpy, pillow and tokenizers are installed."""
    heavy = ("torch", "transformers", "torchvision", "timm", "safetensors", "onnx", "gradio")
    modules = f"valm_core.exported.{module}, valm_core.retrieval.index"
    code = f"import sys, {modules}; print(sorted(set({heavy}) & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_terminals_help_and_refusals_need_no_torch():
    modules = ", ".join(f"demo.terminal.{name}" for name in ("ask", "batch", "describe", "find", "tasks"))
    code = f"import sys, {modules}; print(sorted({{'torch', 'transformers', 'gradio'}} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_package_hands_out_its_names_without_importing_torch_before_they_are_used():
    """And then no training libraries: the page must start fast, and Spaces installs no accelerate."""
    code = (
        "import sys, valm_core; assert set(valm_core.__all__) <= set(dir(valm_core)); valm_core.ValmConfig(width=8);"
        "assert valm_core.__version__ and 'torch' not in sys.modules, 'too early';"
        "from valm_core import ValmModel, VqaPredictor; import valm_core.model.model, valm_core.predictor;"
        "assert ValmModel is valm_core.model.model.ValmModel and VqaPredictor is valm_core.predictor.VqaPredictor;"
        "assert 'torch' in sys.modules; print(sorted({'accelerate', 'peft', 'timm', 'gradio'} & sys.modules.keys()));"
        "valm_core.Unheard"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
    assert result.stderr.splitlines()[-1] == "AttributeError: module 'valm_core' has no attribute 'Unheard'"
