"""The most memory that a program held."""

import resource
import sys
from pathlib import Path


def peak_bytes(process: int | str = "self") -> int:
    """The most bytes that a program held at once, so far: this one, or another by its number.

    On Linux it is read of the kernel's own list. ``getrusage`` and ``wait4`` count there what the parent held when it
    started the program, too; elsewhere nothing else is known, and of another program nothing.

    Raises:
        OSError: on Linux, where there is no such program any more.
    """
    if Path("/proc/self/status").exists():
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)  # a dead one: none
    if process != "self":
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
