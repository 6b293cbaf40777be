"""The page and the terminal: what a person meets. The only folder that imports gradio, with app.py."""

from pathlib import Path

from valm_core.printing import print_what_can_be_shown

print_what_can_be_shown()
HERE = Path(__file__).parent
# Example photos and the shipped model: beside this folder in the project, inside it once installed (pyproject.toml).
ASSETS = HERE / "assets" if (HERE / "assets").is_dir() else HERE.parent / "assets"
