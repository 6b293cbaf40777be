"""Writing files so that a crash leaves either the old content or the new, never half of it."""

import os
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
    old content under ``<folder>.old``; ``recover_folder`` brings it back.
    """
    folder = Path(folder)
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


def clear_leftovers(folder: str | Path) -> None:
    """Delete what killed processes left of their attempts to replace ``folder``; call it where no one else writes."""
    folder = Path(folder)
    for left in folder.parent.glob(f".{folder.name}.*.new"):
        shutil.rmtree(left, ignore_errors=True)


def recover_folder(folder: str | Path) -> Path:
    """Undo an interrupted ``replace_folder``: bring ``<folder>.old`` back where ``folder`` is missing."""
    folder = Path(folder)
    old = _old(folder)
    if old.exists():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)
    return folder


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
