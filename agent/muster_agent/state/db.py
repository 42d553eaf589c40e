"""The agent's memory: a small SQLite file in which every change is on the disk before the call returns.

`Database` is one connection under one lock; `records`, `ledger` and `spool` are what is kept in it, one idea each.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from uuid import uuid4

from muster.files import sqlite_errors
from muster.files.sqlite_errors import OpenedFile, is_damage, is_unwritable, primary_code_of
from muster_agent.state import db_file
from muster_agent.state.dir import StateError
from muster_agent.state.reserve import Reserve

log = logging.getLogger(__name__)
T = TypeVar("T")

MIN_FREE_DISK_BYTES = 64 * 1024
"""Bytes of free disk below which a change may not fit."""

NO_ROOM = "No room on the worker's disk to journal this: prune, or delete models and images, then try again"


class JournalFull(Exception):
    """Nothing could be written; what was to be written is not there. `full`: for want of space."""

    def __init__(self, message: str, full: bool = True) -> None:
        super().__init__(message)
        self.full = full

    @property
    def error_code(self) -> str:
        """The error code of a command that could not be journaled; `command_message` its message."""
        return "DISK_FULL" if self.full else "STATE_UNAVAILABLE"

    @property
    def command_message(self) -> str:
        return NO_ROOM if self.full else f"The worker cannot journal this: {self}"


class JournalDamaged(StateError):
    """The file was damaged or deleted under this process, which has to begin a new one."""


class Database:
    """Opens the file, or makes a new one; a damaged one is kept under another name and counts as lost.

    `trouble` is why the last change could not be written; None when it was. Raises StateError where the journal can
    neither be opened nor begun.
    """

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self.path = path
        self.trouble: str | None = None
        self._damage: str | None = None
        self._reserve = reserve
        self._lock = Lock()
        self._use(db_file.opened(path))
        if db_file.is_copy(self.connection) and reserve.give_up():  # an older agent's, on a full disk
            self.connection.close()
            self._use(db_file.opened(path))
        if db_file.is_copy(self.connection):
            self.trouble = f"the journal {path} was opened on a read-only disk, or cannot be upgraded there"
        self._begin()

    def begin_anew(self, why: str) -> None:
        """What is in the file cannot be used, although the file is whole. Raises StateError."""
        with self._lock:
            self.connection.close()
            self._use(db_file.begun_anew(self.path, why))
            self._damage = None
        self._begin()

    def _use(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._file: OpenedFile | None = None
        if not db_file.is_copy(connection):
            with suppress(OSError):
                self._file = OpenedFile.at(self.path)

    def _begin(self) -> None:
        self._reserve.restore()
        if self.meta("journal_id") is None:
            with suppress(JournalFull):  # a copy on a read-only disk always has one
                self.set_meta(journal_id=uuid4().hex)

    @property
    def journal_id(self) -> str:
        """Changes exactly when what was journaled was lost."""
        return self.meta("journal_id") or ""

    def meta(self, key: str) -> str | None:
        rows = self.read("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0]["value"]) if rows else None

    def set_meta(self, *, urgent: bool = False, **values: str | None) -> None:
        """None forgets. What is so already is not written: an agent starts on a full disk too.

        `urgent` as in `write`. Raises JournalFull.
        """
        news = {key: value for key, value in values.items() if self.meta(key) != value}

        def change(connection: sqlite3.Connection) -> None:
            for key, value in news.items():
                put_meta(connection, key, value)

        if news:
            self.write(change, urgent=urgent)

    def read(self, statement: str, *parameters: Any) -> list[sqlite3.Row]:
        """Raises JournalDamaged."""
        with self._lock:
            try:
                return self.connection.execute(statement, parameters).fetchall()
            except sqlite3.DatabaseError as error:
                raise self._classified(error) from error

    def write(self, change: Callable[[sqlite3.Connection], T], *, urgent: bool = False) -> T:
        """Run `change` as one transaction that is on the disk when this returns.

        `urgent` is for what frees space, and for who this worker is: it may use up the reserve. Raises JournalFull,
        JournalDamaged.
        """
        with self._lock:
            try:
                return self._transaction(change)
            except JournalFull as error:
                if not (urgent and error.full and self._reserve.give_up()):
                    raise
                log.warning("the disk is full; the agent's own reserve was given up to journal this command")
                return self._transaction(change)

    def give_up_reserve(self) -> None:
        self._reserve.give_up()

    def restore_reserve(self) -> None:
        self._reserve.restore()

    def check(self) -> None:
        """Raises JournalDamaged where any thread has found that it is."""
        if self._damage is not None:
            raise JournalDamaged(self._damage)

    def find_trouble(self) -> str | None:
        """Why changes cannot be written at the moment, or None. Writes only if the last write failed.

        A journal that was opened on a read-only disk is opened for writing as soon as that is possible.
        """
        found = unwritable(self.path)
        if found is None and self.trouble is not None:
            with suppress(JournalFull, StateError):
                self._open_again()
                self.write(lambda connection: put_meta(connection, "written_again", uuid4().hex))
            found = self.trouble
        return found

    def _open_again(self) -> None:
        with self._lock:
            if db_file.is_copy(self.connection):
                fresh = db_file.opened(self.path)
                self.connection.close()
                self._use(fresh)

    def close(self) -> None:
        with self._lock:
            self.connection.close()

    def _transaction(self, change: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            result = change(self.connection)
            self.connection.execute("COMMIT")
        except BaseException as error:  # an interrupt too: the next change must not join this transaction
            self._roll_back()
            if isinstance(error, sqlite3.DatabaseError):
                raise self._classified(error) from error
            raise
        self.trouble = None
        return result

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            with suppress(sqlite3.DatabaseError):  # the first error is the one to tell
                self.connection.execute("ROLLBACK")

    def _classified(self, error: sqlite3.DatabaseError) -> Exception:
        if is_damage(error) or self._is_gone(error):
            self._damage = f"the journal {self.path} is damaged or was deleted ({error})"
            return JournalDamaged(self._damage)
        if is_unwritable(error):
            self.trouble = (
                f"the journal {self.path} cannot be written: {error}: free some space there, or check its disk"
            )
            return JournalFull(unwritable(self.path) or self.trouble, full=_is_full(error, self.path))
        return error

    def _is_gone(self, error: sqlite3.DatabaseError) -> bool:
        """Whether the file was deleted or replaced. Only from Python 3.11 on, the error's code already says so."""
        return primary_code_of(error) == sqlite_errors.READONLY and self._file is not None and self._file.is_gone()


def _is_full(error: sqlite3.DatabaseError, path: Path) -> bool:
    """A full disk also shows as an I/O error, where it is found only when what was written is to reach it."""
    if primary_code_of(error) == sqlite_errors.IOERR:
        with suppress(OSError):
            disk = os.statvfs(path.parent)
            return disk.f_bavail * disk.f_frsize < 16 * MIN_FREE_DISK_BYTES
    return primary_code_of(error) == sqlite_errors.FULL


def unwritable(path: Path) -> str | None:
    """What is seen to keep files beside `path` from being written; None where nothing is."""
    try:
        disk = os.statvfs(path.parent)
    except OSError as error:
        return f"the state folder {path.parent} cannot be looked at: {error.strerror}: check its disk"
    if disk.f_flag & os.ST_RDONLY:
        return (
            f"the state folder {path.parent} is on a read-only file system: see `dmesg` for errors of its disk, and"
            f" remount it (`mount -o remount,rw`); until then this worker takes no commands"
        )
    if disk.f_bavail * disk.f_frsize < MIN_FREE_DISK_BYTES:
        return (
            f"the disk of the state folder {path.parent} is full: free some space (prune, or delete models and images);"
            " until then this worker takes no commands but those that free space"
        )
    return None


def put_meta(connection: sqlite3.Connection, key: str, value: str | None) -> None:
    if value is None:
        connection.execute("DELETE FROM meta WHERE key = ?", (key,))
    else:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
