"""kill -9 at random moments: while a checkpoint, corrections or an index of photos are written. All must open."""

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TextIO

import torch
from PIL import Image

from valm_core.checkpoints.atomic_files import recover_folder
from valm_core.checkpoints.storage import load_checkpoint, save_checkpoint
from valm_core.corrections.database import add_correction, read_corrections
from valm_core.retrieval.finder import PhotoFinder
from valm_core.retrieval.index import ENCODED_AT_ONCE, PhotoIndex


def killed(write: Callable[[TextIO], None], seconds: float) -> list[str]:
    """Let a process of its own write, kill it this many seconds after its first line, and return its lines.

    Args:
        write: writes for ever and tells of each finished write in a line.
        seconds: how long to wait.
    """
    reading, writing = os.pipe()
    child = os.fork()  # a fresh interpreter would spend its time importing torch
    if child == 0:
        try:
            os.close(reading)
            with os.fdopen(writing, "w", buffering=1) as pipe:
                write(pipe)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        first = pipe.readline()
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        lines = (first + pipe.read()).splitlines()
    if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        raise RuntimeError("the writer ended by itself")
    return lines


def kill_correction_writers(database: Path, moments: int, chance: random.Random) -> int:
    """Kill writers of corrections; every correction whose writing was reported must be there, with its photo.

    Returns:
        How many corrections there are at the end.

    Raises:
        RuntimeError: the database is damaged, or a reported correction is lost.
    """
    reported: set[int] = set()
    found: set[int] = set()
    for _ in range(moments):

        def write(lines: TextIO, first: int = max(reported | found, default=-1) + 1) -> None:
            for number in count(first):
                picture = Image.effect_noise((160, 120), 60 + number % 50).convert("RGB")
                add_correction(database, picture, f"what is number {number}?", "no", f"answer {number}", True)
                lines.write(f"{number}\n")

        reported |= set(map(int, killed(write, chance.uniform(0, 0.3))))
        with closing(sqlite3.connect(database)) as connection:
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise RuntimeError(f"{database} is damaged")
        found = {int(row.right_answer.split()[1]) for row in read_corrections(database) if row.jpeg}
        if lost := reported - found:
            raise RuntimeError(f"corrections {sorted(lost)} were reported as written and are lost")
    return len(found)


def kill_checkpoint_writers(folder: Path, moments: int, chance: random.Random) -> int:
    """Kill writers of a checkpoint; it must load after each.

    Returns:
        How many saves were finished in all.

    Raises:
        ValueError, FileNotFoundError: the checkpoint doesn't load.
    """
    model = load_checkpoint(folder)

    def write(lines: TextIO) -> None:
        while True:
            save_checkpoint(model, folder)
            lines.write("saved\n")

    saves = 0
    for _ in range(moments):
        saves += len(killed(write, chance.uniform(0, 0.3)))
        if load_checkpoint(recover_folder(folder)).answers != model.answers:
            raise ValueError(f"{folder} has other answers")
    return saves


def kill_indexers(folder: Path, finder: PhotoFinder, moments: int, chance: random.Random, longest: float = 3.0) -> int:
    """Kill those who index a folder that grows; the index must open, and the next one must go on with what is left.

    Args:
        folder: an empty one, to work in.
        finder: encodes the photos.
        moments: how often.
        chance: when.
        longest: seconds from opening the index; a commit takes the shipped model about two.

    Returns:
        How many photos are in the index at the end.

    Raises:
        RuntimeError: a photo that was indexed is lost, or one can't be found at the end.
        IndexFault: the index doesn't open.
    """
    photos, path = folder / "photos", folder / "index"
    photos.mkdir()

    def write(lines: TextIO) -> None:
        torch.set_num_threads(1)  # the threads of the process that was forked are not here
        index = PhotoIndex(path, photos, finder)
        lines.write("opened\n")
        index.update(lambda done, total: lines.write(f"{done}\n") and None)
        time.sleep(60)  # to be killed

    kept = 0
    for moment in range(moments):
        for number in range(ENCODED_AT_ONCE + 8):  # more than one commit each time
            noise = Image.effect_noise((24, 24), 60 + moment).convert("RGB")
            noise.save(photos / f"{moment}-{number}.png")
        killed(write, chance.uniform(0, longest))
        found = len(PhotoIndex(path, photos, finder))
        if found < kept:
            raise RuntimeError(f"{kept - found} of {kept} indexed photos are lost")
        kept = found
    index = PhotoIndex(path, photos, finder)
    index.update()
    if len(index) != moments * (ENCODED_AT_ONCE + 8):
        raise RuntimeError(f"{len(index)} photos are indexed of {moments * (ENCODED_AT_ONCE + 8)}")
    return len(index)
