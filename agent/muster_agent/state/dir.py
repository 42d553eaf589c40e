"""What makes this agent this agent: the folder that it alone holds, and the worker that it is."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
from contextlib import suppress
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
            self._lock = _held(path)
        except OSError as error:
            raise refused(Path(error.filename or path), error) from error
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
        except OSError:  # a disk that does not answer has not lost the folder
            return
        if not there:
            raise StateError(f"the state folder {self.path} is gone: start the agent again, which begins a new one")

    @property
    def parked(self) -> str | None:
        """Why this agent is parked, if it is. Parked is for good: only an operator's --rejoin ends it."""
        try:
            return self._parked or self._marker.read_text(errors="replace").strip() or "parked"
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return f"{self._marker} is there, and cannot be read ({error.strerror})"

    def park(self, reason: str) -> None:
        """Raises OSError where that cannot be written down; then it holds for this process alone."""
        self._parked = reason
        private_file(self._marker).write_text(reason + "\n")

    def unpark(self) -> None:
        """Raises StateError where the marker cannot be removed."""
        self._parked = None
        try:
            self._marker.unlink(missing_ok=True)
        except OSError as error:
            raise refused(self._marker, error) from error

    @property
    def _marker(self) -> Path:
        return self.path / "parked"


def refused(path: Path, error: OSError) -> StateError:
    """Why `path` cannot be used, its owner, and what to do, in one sentence."""
    folder = path if path.is_dir() else path.parent
    if error.errno == errno.EROFS:
        advice = "its file system is read-only: remount it, or give another --state-dir"
    elif error.errno in (errno.EACCES, errno.EPERM):
        user = owner_name(os.geteuid())
        mend = f"run the agent as that user, or `chown -R {user} {folder}`"
        advice = f"permission denied to {user}, and it belongs to {owner(path)}: {mend}"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "its disk is full: free some space, or give another --state-dir"
    elif error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        advice = f"{(error.strerror or '').lower()}: move it away, or give another --state-dir"
    else:
        advice = f"{error.strerror}: check its disk, or give another --state-dir"
    return StateError(f"cannot use {path} of the state folder: {advice}")


def owner(path: Path) -> str:
    """The owner of `path`, or of its nearest parent that can be examined."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            return owner_name(folder.stat().st_uid)
    return "another user"


def owner_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _held(path: Path) -> int:
    """Returns the descriptor of the lock's file. On a read-only disk an existing file is used. Raises OSError."""
    lock = path / "lock"
    try:
        path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        path.chmod(PRIVATE_FOLDER)
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        if error.errno != errno.EROFS or not lock.exists():
            raise
        return os.open(lock, os.O_RDONLY | os.O_CLOEXEC)


def private_file(path: Path) -> Path:
    """`path`, existing, and for our user's eyes only."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE))
    path.chmod(PRIVATE_FILE)
    return path
