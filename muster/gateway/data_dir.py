"""The folder of one gateway: readable by its user alone, held by one process, and written so that a crash leaves either
the old file or the new one.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


class DataError(Exception):
    """The folder cannot be used; the message says what to do."""


class DataDir:
    """Raises DataError if another gateway holds the folder, or it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        except OSError as error:
            advice = "give a folder that can be written: --data"
            raise DataError(f"cannot use {path}: {error.strerror}; {advice}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise DataError(f"another gateway uses {path}; give each gateway its own --data") from error

    def close(self) -> None:
        """Let another process have the folder. Harmless when repeated."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def write_privately(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file, readable by its owner alone. Raises OSError; the old file stays then."""
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()  # of a write that was cut off, or somebody's link
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        _sync(path.parent)
    except BaseException:  # an interrupt too
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
