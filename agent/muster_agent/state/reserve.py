"""Disk space kept back, so that a full disk can still be told to free some."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from muster_agent.state.dir import private_file

RESERVE_BYTES = 16 * 1024 * 1024


class Reserve(Protocol):
    def give_up(self) -> bool:
        """Free the space. False when there was none left."""

    def restore(self) -> None:
        """Take it again, where there is room."""


class ReserveFile:
    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size

    def give_up(self) -> bool:
        try:
            held = self._path.exists() and self._path.stat().st_size > 0
            self._path.unlink(missing_ok=True)
        except OSError:  # on a read-only disk, or somebody else's
            return False
        return held

    def restore(self) -> None:
        try:
            with private_file(self._path).open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError:
            # No room for it now: what there is belongs to those who filled the disk, until they free some.
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
