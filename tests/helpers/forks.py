"""Programs in processes of their own that need not import torch and gradio again: a second each instead of ten.

A process that was forked when the tests had been collected, before any of them ran, waits and forks once more for each
program. What lies in this project is imported anew there, so that a program starts as from a terminal.
"""

import atexit
import contextlib
import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRUE_PROCESSES = not sys.platform.startswith("linux")  # elsewhere a fork may not survive what was imported


class ForkedProcess:
    """A program that runs, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, forks: "Forks", pid: int):
        self.forks, self.pid, self.returncode = forks, pid, None

    def poll(self) -> int | None:
        """The exit code, minus the signal's number where one ended it; None while it runs."""
        if self.returncode is None:
            self.returncode = self.forks.request({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one. Raises ``subprocess.TimeoutExpired`` after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(0.01)
        return self.poll() or 0

    def send_signal(self, number: int) -> None:
        """Give it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """Starts programs. Made before any thread or page is there; ``close`` ends the process that waits."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        self.lock = threading.Lock()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _serve(theirs)
        theirs.close()
        self.lines = ours.makefile("rw", encoding="utf-8")
        ours.close()

    def request(self, asked: dict):
        """What the waiting process replies."""
        with self.lock:
            print(json.dumps(asked), file=self.lines, flush=True)
            return json.loads(self.lines.readline())

    def start(self, arguments: list, *, stdout: Path, stderr: Path | None = None, env=None, cwd=ROOT) -> ForkedProcess:
        """Start what ``python ARGUMENTS`` runs.

        Args:
            arguments: as after ``python``: ``-c CODE ...``, ``-m MODULE ...`` or a file and what follows.
            stdout, stderr: files that get what it prints; both go to one where ``stderr`` is None.
            env: its environment, this process's by default.
            cwd: where it runs.
        """
        environment = dict(os.environ if env is None else env)
        places = [str(path) for path in (stdout, stderr or stdout, cwd)]
        asked = {"arguments": [str(word) for word in arguments], "places": places, "environment": environment}
        return ForkedProcess(self, self.request(asked))

    def run(self, arguments: list, *, env=None, cwd=ROOT, timeout: float) -> subprocess.CompletedProcess:
        """Run it to its end: a process with ``returncode``, ``stdout`` and ``stderr`` as text."""
        with tempfile.TemporaryDirectory() as folder:
            told = [Path(folder) / name for name in ("stdout", "stderr")]
            process = self.start(arguments, stdout=told[0], stderr=told[1], env=env, cwd=cwd)
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            texts = [path.read_text(encoding="utf-8") for path in told]
        return subprocess.CompletedProcess(arguments, code, *texts)

    def close(self) -> None:
        """End the waiting process."""
        self.lines.close()
        os.waitpid(self.pid, 0)


class TrueProcesses:
    """The same by processes that import everything, where forks aren't safe."""

    def start(self, arguments: list, *, stdout: Path, stderr: Path | None = None, env=None, cwd=ROOT):
        """As ``Forks.start``."""
        with open(stdout, "a") as out, open(stderr or stdout, "a") as err:
            return subprocess.Popen([sys.executable, *map(str, arguments)], env=env, cwd=cwd, stdout=out, stderr=err)

    def run(self, arguments: list, *, env=None, cwd=ROOT, timeout: float) -> subprocess.CompletedProcess:
        """As ``Forks.run``."""
        words = [sys.executable, *map(str, arguments)]
        return subprocess.run(words, env=env, cwd=cwd, timeout=timeout, capture_output=True, text=True)

    def close(self) -> None:
        """Nothing is open."""


def _serve(connection: socket.socket) -> None:
    """Fork a program for each line that comes, until none can come any more. Never returns."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.closerange(3, connection.fileno())
        os.closerange(connection.fileno() + 1, 65_536)
        lines = connection.makefile("rw", encoding="utf-8")
        for line in lines:
            asked = json.loads(line)
            if "poll" in asked:
                pid, status = os.waitpid(asked["poll"], os.WNOHANG)
                reply = os.waitstatus_to_exitcode(status) if pid else None
            else:
                reply = os.fork()
                if reply == 0:
                    os.closerange(3, 65_536)
                    _run(**asked)
            print(json.dumps(reply), file=lines, flush=True)
    finally:
        os._exit(0)


def _run(arguments: list[str], places: list[str], environment: dict[str, str]) -> None:
    """Be the program. Never returns."""
    code = 1
    try:
        for number, place in enumerate(places[:2], 1):
            os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
        os.chdir(places[2])
        os.environ.clear()
        os.environ.update(environment)
        _forget_the_tests()
        code = _exit_code(arguments)
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    finally:
        os._exit(code)


def _forget_the_tests() -> None:
    """What pytest and the tests' modules have left in the process, put back to how Python starts."""
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    for name, number, otherwise in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        binary = io.BufferedWriter(io.FileIO(number, "wb", closefd=False))
        text = io.TextIOWrapper(binary, encoding, errors or otherwise, line_buffering=True)
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
    sys.unraisablehook, sys.excepthook = sys.__unraisablehook__, sys.__excepthook__
    threading.excepthook = threading.__excepthook__
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
    logging.getLogger().handlers.clear()
    logging.getLogger().setLevel(logging.WARNING)
    atexit._clear()
    tempfile.tempdir = None
    inside, outside = str(ROOT) + os.sep, str(ROOT / ".venv") + os.sep
    for name, module in list(sys.modules.items()):
        place = str(getattr(module, "__file__", None) or "")
        if place.startswith(inside) and not place.startswith(outside):
            del sys.modules[name]


def _exit_code(arguments: list[str]) -> int:
    """Run what the arguments name as ``__main__``, and what Python would exit with after it."""
    import runpy

    kind, rest = arguments[0], arguments[1:]
    try:
        if kind == "-c":
            main = types.ModuleType("__main__")
            sys.modules["__main__"], sys.argv = main, ["-c", *rest[1:]]
            sys.path.insert(0, os.getcwd())
            exec(compile(rest[0], "<string>", "exec"), main.__dict__)
        elif kind == "-m":
            sys.argv = rest
            sys.path.insert(0, os.getcwd())
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(kind).resolve().parent))
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as stopped:
        if stopped.code is None or isinstance(stopped.code, int):
            return (stopped.code or 0) & 0xFF
        print(stopped.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
