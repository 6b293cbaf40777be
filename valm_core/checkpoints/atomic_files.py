"""Writing files so that a crash leaves either the old content or the new, never half of it."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def saving(path: str | Path) -> Iterator[None]:
    """Turn what writers raise, on a full disk above all, into one error that names ``path``.

    torch.save gives a RuntimeError and safetensors an error of its own there, neither with the name of a file.

    Raises:
        OSError: the block could not write.
    """
    from safetensors import SafetensorError  # here, for what runs an export doesn't have it

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise OSError(
            f"{path} could not be written ({error}). What stood there before is whole. Make sure that the disk has "
            "room and that the folder may be written to, then go on with --resume."
        ) from error


@contextmanager
def replace_folder(folder: str | Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the place of ``folder`` only once all of it is on disk.

    If the block raises, ``folder`` stays as it was. Between the two renames at the end a killed process can leave the
    old content beside it, under a hidden name; ``recover_folder`` brings it back. Of a link, what it leads to is
    replaced.
    """
    folder = Path(folder).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.new")
    old = _old(folder)
    fresh.mkdir()
    try:
        yield fresh
        for path in (*fresh.rglob("*"), fresh):
            _flush_to_disk(path)
        recover_folder(folder)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        _flush_to_disk(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file that replaces ``path`` only once all of it is on disk; its folder is made where missing.

    What UTF-8 can't write, bytes of a file name that are none, becomes ``\\udce9``, in JSON another spelling.
    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """The same for any file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        fresh.write_bytes(content)
        _flush_to_disk(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _flush_to_disk(path.parent)


def check_place(path: str | Path) -> None:
    """Refuse a place where no file can be written, before the work is done that would be lost.

    Raises:
        OSError: ``path`` is a folder, below a file, or in a folder that may not be written to; it is named.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder. Name a file, there or elsewhere.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"{path} can't be written: {folder} is a file. Name another place.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{path} can't be written: {folder} may not be written to. Name another place.")


def clear_leftovers(folder: str | Path) -> None:
    """Delete what killed processes left of their attempts to replace ``folder``; call it where no one else writes."""
    folder = Path(folder).resolve()
    own = re.compile(re.escape(f".{folder.name}.") + r"[0-9a-f]{8}\.new")
    for left in folder.parent.iterdir() if folder.parent.is_dir() else ():
        if own.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)


def recover_folder(folder: str | Path) -> Path:
    """Undo an interrupted ``replace_folder``: bring the old content back where ``folder`` is missing.

    For who writes there; who only reads asks ``whole_folder``, or it would undo what another process is doing.
    """
    folder = Path(folder)
    old = _old(folder)
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)
    return folder


def whole_folder(folder: str | Path) -> Path:
    """Where the content of a folder lies, whatever has become of a ``replace_folder``: in it, or still beside it."""
    folder = Path(folder)
    old = _old(folder)
    return old if old.is_dir() and not folder.exists() else folder


def _old(folder: Path) -> Path:
    folder = folder.resolve()
    return folder.parent / f".{folder.name}.old"


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
