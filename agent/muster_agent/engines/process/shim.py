"""Stands between a model's process and the agent, as containerd's shim does, so that the agent may die and come back.

    python -I -S shim.py FOLDER COMMAND…

It leads the process group. Into FOLDER it writes `pid` first (its own pid and start, then the command's pid), then the
command's output to `log`, each line behind the time it came, and `exit` last (the exit code, and whether the kernel
killed something for memory meanwhile). When the command ends, the rest of its group ends too, as with a container's
PID 1. It runs with whatever Python the agent has, and imports nothing of Muster.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

LOG_BYTES = 32 * 1024 * 1024
"""`log` becomes `log.1` at this size: a model's log takes twice this at most."""

LINE_BYTES = 16 * 1024
"""Longer lines are cut into several, as Docker does."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Log:
    """Lines behind strictly rising times, so that a time says exactly where a reader left off."""

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self._path = path
        self._limit = limit
        self._file = self._open()
        self._latest = 0

    def write(self, line: bytes) -> None:
        self._latest = max(time.time_ns(), self._latest + 1)
        try:
            os.write(self._file, b"%019d %s\n" % (self._latest, line))
            if os.fstat(self._file).st_size >= self._limit:
                self._rotate()
        except OSError:
            pass  # a full disk costs log lines; it must not cost the model

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _rotate(self) -> None:
        with suppress(FileNotFoundError):  # somebody deleted the folder
            os.replace(self._path, self._path.with_name("log.1"))
        os.close(self._file)
        self._file = self._open()


def main(folder: Path, command: list[str]) -> None:
    leader = f"{os.getpid()}, {_start_ticks()}"
    _put(folder / "pid", f"[{leader}]")
    # A group's signal reaches the command by itself. Handlers, unlike SIG_IGN, are not inherited by it.
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    log = Log(folder / "log")
    killed_before = _oom_kills()
    try:
        exit_code = _run(command, folder, log, lambda pid: _put(folder / "pid", f"[{leader}, {pid}]"))
        _put(folder / "exit", f"[{exit_code}, {int(_oom_kills() > killed_before)}]")
    finally:
        os.killpg(0, signal.SIGKILL)


def _run(command: list[str], folder: Path, log: Log, started: Callable[[int], None]) -> int:
    """The command's exit code, with 128 added to the number of a signal, as shells and Docker count.

    It runs in FOLDER: a relative path among its arguments names nothing of the host's.
    """
    try:
        child = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        log.write(f"{command[0]}: {error.strerror}".encode())
        return 127 if isinstance(error, FileNotFoundError) else 126
    with suppress(OSError):  # on a full disk the leader's pid alone must do
        started(child.pid)
    assert child.stdout is not None
    pump = threading.Thread(target=_pump, args=(child.stdout, log), daemon=True)
    pump.start()
    code = child.wait()
    # Whatever is left of the group may hold the pipe open for ever; what was written before comes within this.
    pump.join(timeout=2)
    return code if code >= 0 else 128 - code


def _pump(output: BinaryIO, log: Log) -> None:
    while line := output.readline(LINE_BYTES):
        log.write(line.removesuffix(b"\n"))


def _start_ticks() -> str:
    """Field 22 of proc(5), /proc/pid/stat: when this process started, in ticks since boot."""
    return Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()[19]


def _oom_kills() -> int:
    """How often this host's kernel has killed for memory; 0 where it does not count."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _put(path: Path, text: str) -> None:
    """A reader sees all of it or nothing."""
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
