"""What the demo starts, and how all of it goes away again: child processes, one scratch directory, orphans."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
import psutil

from agent.labels import WORKER

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): descendants whose parent has ended become ours, so that none can be lost from sight."""
PATIENCE = 15.0
"""Seconds that a process has to end after SIGTERM."""
KILLED = 60.0
"""Seconds that a process has to end after SIGKILL."""
ENDING = (signal.SIGINT, signal.SIGTERM)
PROJECT = Path(__file__).resolve().parent.parent


class DemoFailed(Exception):
    """A step that did not work; `log` names the child whose log says more."""

    def __init__(self, message: str, log: str | None = None) -> None:
        super().__init__(message)
        self.log = log


def heed_signals() -> None:
    """SIGINT and SIGTERM raise KeyboardInterrupt, also where the parent process ignores SIGINT, as `nohup` may."""
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)


def ignore_signals() -> None:
    """For the time of cleaning up: a second Ctrl-C leaves nothing behind either."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


class Stage:
    """A context: what was started inside is gone after it."""

    def __enter__(self) -> Self:
        self.path = Path(tempfile.mkdtemp(prefix="muster-demo-"))
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # fails harmlessly where it is unknown
        return self

    def start(self, name: str, arguments: list[str], env: Mapping[str, str]) -> None:
        """In a session of its own: a Ctrl-C is for the demo, which ends the others in order."""
        with self._log(name).open("wb") as log:
            self._children[name] = subprocess.Popen(
                arguments,
                cwd=PROJECT,
                env={**_clean_environment(), **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises DemoFailed when a child has ended."""
        for name, child in self._children.items():
            if child.poll() is not None:
                raise DemoFailed(f"{name} ended with exit code {child.returncode}", name)

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(self._children[name].pid)

    def read(self, name: str) -> str:
        return self._log(name).read_text(errors="replace")

    def tail(self, name: str, lines: int = 25) -> list[str]:
        return self.read(name).splitlines()[-lines:]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = [child for child in reversed(self._children.values()) if child.poll() is None]
        for child in running:
            _end(psutil.Process(child.pid))
        for orphan in psutil.Process().children(recursive=True):
            _end(orphan)
        shutil.rmtree(self.path, ignore_errors=True)

    def _log(self, name: str) -> Path:
        return self.path / f"{name.replace(' ', '-')}.log"


def _clean_environment() -> dict[str, str]:
    """Without settings of another muster, or of another database."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MUSTER_") and name != "AWS_ENDPOINT_URL_DYNAMODB"
    } | {"PYTHONUNBUFFERED": "1"}


def _end(process: psutil.Process) -> None:
    try:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except psutil.TimeoutExpired:
            process.kill()
            with contextlib.suppress(psutil.TimeoutExpired):  # a driver holds it; the others have to end all the same
                process.wait(KILLED)
    except psutil.NoSuchProcess:
        pass  # gone already, which is what was wanted


def remove_containers(worker_id: str) -> None:
    """Whatever containers of that worker are left."""
    with contextlib.closing(docker.from_env()) as client:
        theirs = f"{WORKER}={worker_id}"
        for container in client.containers.list(all=True, ignore_removed=True, filters={"label": theirs}):
            container.remove(force=True)


def attempts(seconds: float, interval: float = 0.25) -> Iterator[None]:
    """One at a time, until `seconds` have passed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(interval)
