"""The most memory that a program held: its own, never its parent's."""

import os
import subprocess
import sys

import pytest

from training.metrics.memory import peak_bytes

ASKED = "from training.metrics.memory import peak_bytes\nfirst = peak_bytes()\n"


def test_the_peak_is_the_programs_own_and_not_its_parents():
    held = bytearray(300 * 2**20)  # every page touched
    code = ASKED + "block = bytearray(200 * 2**20)\nprint(first, peak_bytes())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    first, larger = map(int, printed.split())
    assert peak_bytes() > len(held) > first  # the parent's 300 MB aren't among the child's
    assert larger - first > 150 * 2**20
    assert peak_bytes(os.getpid()) == pytest.approx(peak_bytes(), rel=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known of other programs")
def test_a_program_that_is_gone_is_an_error():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(OSError, match=str(gone.pid)):
        peak_bytes(gone.pid)
