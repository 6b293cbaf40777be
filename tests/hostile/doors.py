"""Through every door: a photo and a question go in, and what a person is shown must be an answer or a clear message."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

SECONDS = 5.0  # of computing time, so that a busy machine doesn't fail it; the wall time is reported beside it
MEGABYTES = 900  # above what the process held before
TRACES = re.compile(r"Traceback|File \"|/site-packages/|Error:|Exception|object at 0x|errno", re.IGNORECASE)
OUR_FAULT = "Something went wrong on our side"

Door = Callable[[Path, str], str]  # file of a photo, question -> what the person is shown


@dataclass(frozen=True)
class Passage:
    """One trip through a door: what was shown, the seconds it took and the memory at its peak above the start."""

    shown: str
    cpu_seconds: float
    seconds: float
    megabytes: float


def through(door: Door, photo: Path, question: str) -> Passage:
    """Send one photo and question through a door and watch the process meanwhile."""
    process = psutil.Process()
    before, peak, done = process.memory_info().rss, 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    cpu, clock = time.process_time(), time.perf_counter()
    try:
        shown = door(photo, question)
    finally:
        done.set()
        watcher.join()
    peak = max(peak, process.memory_info().rss)
    return Passage(shown, time.process_time() - cpu, time.perf_counter() - clock, max(0, peak - before) / 2**20)


def faults_of(passage: Passage) -> list[str]:
    """What is wrong with a passage, for anybody to read; empty where nothing is."""
    faults = []
    if not passage.shown.strip():
        faults.append("nothing is shown")
    if found := TRACES.search(passage.shown):
        faults.append(f"shows {found[0]!r} of the inside")
    if OUR_FAULT in passage.shown:
        faults.append("an unforeseen error")
    if passage.cpu_seconds > SECONDS:
        faults.append(f"{passage.cpu_seconds:.1f} s of computing")
    if passage.megabytes > MEGABYTES:
        faults.append(f"{passage.megabytes:.0f} MB")
    return faults


def write(folder: Path, name: str, content: bytes) -> Path:
    """The photo as a file under the name that a server would give it: separators and control characters replaced."""
    path = folder / re.sub(r"[/\0\n]", "_", name)
    path.write_bytes(content)
    return path
