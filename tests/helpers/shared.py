"""What is dear to make is made by one of the workers for all of them."""

import os
import shutil
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


def exported_before(source: Path, *names: str) -> Callable[[dict, Path], dict[str, str]]:
    """In place of ``write_onnx_graphs``: it copies the graphs of these names from where they lie."""
    written = {name: f"{name}.onnx" for name in names}

    def copy_graphs(_: dict, folder: Path) -> dict[str, str]:
        for file in written.values():
            shutil.copy(source / file, folder / file)
        return written

    return copy_graphs
