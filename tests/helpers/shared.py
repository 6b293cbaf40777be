"""What is dear to make is made by one of the workers for all of them."""

import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name`` that ``make(folder)`` fills: by the worker that comes first, while the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # which all workers of a run have in common
    folder = base / name
    with FileLock(base / f"{name}.lock"):
        if not folder.is_dir():
            part = base / f"{name}.part"
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder
