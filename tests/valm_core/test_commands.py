"""Every command prints what the terminal can show, and -h too, whatever its encoding."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from valm_core.checkpoints.storage import save_checkpoint
from valm_core.commands import starting

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    f"{folder}.{path.relative_to(ROOT / folder).with_suffix('').as_posix().replace('/', '.')}"
    for folder in ("demo", "training")
    for path in (ROOT / folder).rglob("*.py")
    if "def main(" in path.read_text(encoding="utf-8")
)


def run(code: str, encoding: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, env=environment)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
@pytest.mark.parametrize("package", ["demo", "training"])
def test_whatever_a_command_prints_never_ends_it(package, encoding):
    code = f"import {package}; print('█ ± 是 → caf\\udce9')"
    done = run(code, encoding)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding)
    assert "\\udce9" in shown and "\\u662f" in shown and ("±" in shown) == (encoding != "ascii")


def test_every_command_lies_in_a_package_that_sees_to_it():
    assert "demo.terminal.ask" in COMMANDS and "training.train" in COMMANDS and len(COMMANDS) > 15
    for package in ("demo", "training"):
        text = (ROOT / package / "__init__.py").read_text(encoding="utf-8")
        assert "\nprint_what_can_be_shown()\n" in text


def test_the_terminals_answer_has_bars_of_letters_that_it_knows(forks, tiny_model, tmp_path):
    save_checkpoint(tiny_model, tmp_path / "checkpoint")
    code = (
        "import sys\n"
        "from demo.terminal.ask import main\n"
        "arguments = ['assets/examples/cat.jpg', 'What animal is this?', '--device', 'cpu', '--top', '2']\n"
        f"arguments += ['--checkpoint', {str(tmp_path / 'checkpoint')!r}]\n"
        "main(arguments)\n"
        "print('then')\n"
        "sys.stdout.reconfigure(encoding='utf-8')\n"
        "main(arguments)"
    )
    shown, told = tmp_path / "shown.txt", tmp_path / "told.txt"
    terminal = os.environ | {"PYTHONIOENCODING": "cp1252"}
    assert forks.start(["-c", code], env=terminal, stdout=shown, stderr=told).wait(PATIENCE) == 0, told.read_text()
    before, after = shown.read_bytes().split(b"then")
    shown = before.decode("cp1252")
    assert " %  ##" in shown and "\\u2588" not in shown
    assert " %  ██" in after.decode("utf-8")


def test_while_a_program_starts_nothing_is_collected_and_what_fails_collects_again():
    frozen = gc.get_freeze_count()
    with starting():
        kept = [[] for _ in range(100)]
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() >= frozen + len(kept)
    with pytest.raises(ValueError, match="no model"), starting():
        raise ValueError("no model")
    assert gc.isenabled()
