"""What the demo starts, and how all of it goes away again: child processes, one scratch directory, orphans."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

import docker
import psutil
from docker.errors import DockerException, NotFound

from muster_agent.engines.labels import WORKER

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): descendants whose parent has ended become ours, so that none can be lost from sight."""
TERMINATE_SECONDS = 15.0
"""Seconds that a process has to end after SIGTERM."""
KILL_SECONDS = 60.0
"""Seconds that a process has to end after SIGKILL."""
LATE_CONTAINER_SECONDS = 2.0
"""Seconds for which containers are looked for after their agent has ended."""
MAX_SCANS = 5
END_SIGNALS = (signal.SIGINT, signal.SIGTERM)
PROJECT = Path(__file__).resolve().parent.parent


class DemoFailed(Exception):
    """A step that did not work; `log` names the child whose log says more."""

    def __init__(self, message: str, log: str | None = None) -> None:
        super().__init__(message)
        self.log = log


def heed_signals() -> None:
    """SIGINT and SIGTERM raise KeyboardInterrupt once, also where the parent process ignores SIGINT, as `nohup` may."""
    for number in END_SIGNALS:
        signal.signal(number, _interrupt)


def ignore_signals() -> None:
    """For the time of cleaning up: a second Ctrl-C leaves nothing behind either."""
    for number in END_SIGNALS:
        signal.signal(number, _do_nothing)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    ignore_signals()
    raise KeyboardInterrupt


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """A handler rather than SIG_IGN: for a signal that came just before, Python looks up the handler only now."""


def on_stage(act: Callable[[Stage], int]) -> int:
    """The exit code of `act`, or 130 after a signal. Whenever that comes, nothing of the stage is left behind."""
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    heed_signals()
    stage = Stage()
    try:
        try:
            stage.open()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
            code = act(stage)
        finally:
            ignore_signals()
    except KeyboardInterrupt:  # it comes once, so it does not come below
        code = 130
    finally:
        stage.close()
    return code


class Stage:
    """A context: what was started inside is gone after it. `on_stage` also has an answer to signals."""

    def __init__(self) -> None:
        self.path = Path(tempfile.gettempdir()) / f"muster-demo-{secrets.token_hex(8)}"
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._last_acts: list[Callable[[], None]] = []

    def open(self) -> None:
        self.path.mkdir(mode=0o700)
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # fails harmlessly where it is unknown

    def __enter__(self) -> Self:
        self.open()
        return self

    def at_the_end(self, act: Callable[[], None]) -> None:
        """Call `act` when no child is left, and the files still are: for what outlives processes, as containers do."""
        self._last_acts.append(act)

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
        self.close()

    def close(self) -> None:
        """End every process that was started here, and those that came from them; then remove the files."""
        for child in reversed(self._children.values()):
            if child.poll() is None:
                _end([psutil.Process(child.pid)])
        # One that is ending may start another: each look finds what the one before could not.
        for _ in range(MAX_SCANS):
            if not (orphans := psutil.Process().children(recursive=True)):
                break
            _end(orphans)
        for act in self._last_acts:
            act()
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


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # gone already, which is what was wanted
            process.terminate()
    _, alive = psutil.wait_procs(processes, TERMINATE_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, KILL_SECONDS)  # a driver may hold one; the others have to end all the same


def remove_containers(worker_id: str) -> None:
    """Whatever containers of that worker are left. Raises DockerException where Docker does not answer."""
    with contextlib.closing(docker.from_env()) as client:
        theirs = f"{WORKER}={worker_id}"
        for container in client.containers.list(all=True, ignore_removed=True, filters={"label": theirs}):
            with contextlib.suppress(NotFound):
                container.remove(force=True)


def remove_containers_of_agent(state_dir: Path) -> None:
    """The same for an agent that has ended, by what its journal says: the control plane may not answer any more.

    Docker may be about to make a container for an agent that was killed, so it is asked for a while.
    """
    worker_id = _worker_of(state_dir)
    if worker_id is None:
        return
    for _ in attempts(LATE_CONTAINER_SECONDS, 0.5):
        with contextlib.suppress(DockerException):
            remove_containers(worker_id)


def _worker_of(state_dir: Path) -> str | None:
    journal = state_dir / "journal.sqlite3"
    if not journal.exists():
        return None
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(journal)) as database:
        row = database.execute("SELECT value FROM meta WHERE key = 'worker_id'").fetchone()
        return str(row[0]) if row else None
    return None


def attempts(seconds: float, interval: float = 0.25) -> Iterator[None]:
    """One at a time, until `seconds` have passed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(interval)
