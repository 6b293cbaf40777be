"""Runs Python where what a deployed export doesn't have can't be imported."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REFUSING = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "torchvision", "timm", "gradio"):
            raise ImportError(f"{name} is not allowed here")

sys.meta_path.insert(0, Refuse())
"""


def run_without_torch(code: str, *arguments: object) -> str:
    """What a program prints where torch, transformers, torchvision, timm and gradio can't be imported."""
    command = [sys.executable, "-c", REFUSING + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout
