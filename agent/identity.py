"""What makes this agent this agent: the folder that it alone holds, and the worker that it is."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


class StateError(Exception):
    """The state folder cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Identity:
    """A worker as the control plane knows it since the last registration."""

    worker_id: str
    token: str = field(repr=False)
    session: int


class StateDir:
    """The agent's folder, readable by its user alone and held by one agent at a time.

    Raises StateError when another agent holds it or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parked: str | None = None
        try:
            path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            path.chmod(PRIVATE_FOLDER)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        except OSError as error:
            raise StateError(f"cannot use the state folder {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StateError(f"another agent uses {path}; give each its own --state-dir") from error

    def close(self) -> None:
        os.close(self._lock)

    def check(self) -> None:
        """Raises StateError when somebody deleted the folder: what is written into it from now on is lost."""
        try:
            there = os.path.samestat(os.stat(self.path / "lock"), os.fstat(self._lock))
        except (FileNotFoundError, NotADirectoryError):
            there = False
        if not there:
            raise StateError(f"the state folder {self.path} is gone: start the agent again, which begins a new one")

    @property
    def parked(self) -> str | None:
        """Why this agent is parked, if it is. Parked is for good: only an operator's --rejoin ends it."""
        try:
            return self._parked or self._marker.read_text().strip() or "parked"
        except (FileNotFoundError, NotADirectoryError):
            return None

    def park(self, reason: str) -> None:
        """Raises OSError where that cannot be written down; then it holds for this process alone."""
        self._parked = reason
        private_file(self._marker).write_text(reason + "\n")

    def unpark(self) -> None:
        self._parked = None
        self._marker.unlink(missing_ok=True)

    @property
    def _marker(self) -> Path:
        return self.path / "parked"


def private_file(path: Path) -> Path:
    """`path`, existing, and for our user's eyes only."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE))
    path.chmod(PRIVATE_FILE)
    return path
