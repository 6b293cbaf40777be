"""The page and the terminal: what a person meets. The only folder that imports gradio, with app.py."""

from pathlib import Path

from valm_core.commands import give_short_names, print_what_can_be_shown

# `python -m demo.NAME` for the commands in a room.
SHORT_NAMES = {name: f"terminal.{name}" for name in ("ask", "check_examples", "describe", "find", "page_speed")}

print_what_can_be_shown()
give_short_names(__name__, SHORT_NAMES)
HERE = Path(__file__).parent
# Example photos and the shipped model: beside this folder in the project, inside it once installed (pyproject.toml).
ASSETS = HERE / "assets" if (HERE / "assets").is_dir() else HERE.parent / "assets"
