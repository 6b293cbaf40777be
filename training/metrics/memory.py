"""The memory that a program holds, and the most that it held."""

import resource
import sys
from pathlib import Path


def kilobytes(field: str, process: int | str = "self") -> int:
    """A figure of a program on Linux: "VmRSS", its memory now, or "VmHWM", the most so far; 0 of one that has ended.

    Raises:
        OSError: there is no such program any more.
    """
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def peak_bytes(process: int | str = "self") -> int:
    """The most bytes that a program held at once, so far: this one, or another by its number.

    On Linux it is read of the kernel's own list. ``getrusage`` and ``wait4`` count there what the parent held when it
    started the program, too; elsewhere nothing else is known, and of another program nothing.

    Raises:
        OSError: on Linux, where there is no such program any more.
    """
    if Path("/proc/self/status").exists():
        return 1024 * kilobytes("VmHWM", process)
    if process != "self":
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
