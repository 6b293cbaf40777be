"""The page and the terminal: what a person meets. The only folder that imports gradio, with app.py."""

import os
from pathlib import Path


def checkpoint_folder() -> Path:
    """The model to use: ``VALM_CHECKPOINT`` where it is set, else the one that comes with the project."""
    shipped = Path(__file__).parent.parent / "assets" / "checkpoints" / "everyday"
    return Path(os.environ.get("VALM_CHECKPOINT") or shipped)
