"""Imports point one way: demo -> valm_core, training -> valm_core."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "valm_core": {"training", "demo", "app", "gradio", "spaces"},
    "training": {"demo", "app", "gradio", "spaces"},
    "demo": {"training"},
}


def imported_modules(path: Path) -> set[str]:
    """Names of the top-level modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(path.relative_to(ROOT).parts[0] if node.level else node.module.split(".")[0])
    return names


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_file_imports_what_its_folder_must_not_know(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = {
        str(path.relative_to(ROOT)): found for path in files if (found := imported_modules(path) & FORBIDDEN[folder])
    }
    assert not wrong


def test_the_predictor_starts_without_the_training_libraries():
    """The page must start fast, and Spaces installs no accelerate."""
    code = (
        "import sys, valm_core.predictor; print(sorted({'accelerate', 'peft', 'timm', 'gradio'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_export_is_answered_without_torch_or_its_companions():
    """An export runs where only onnxruntime, numpy, pillow and tokenizers are installed."""
    heavy = ("torch", "transformers", "torchvision", "timm", "safetensors", "onnx", "gradio")
    code = f"import sys, valm_core.onnx_predictor; print(sorted(set({heavy}) & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
