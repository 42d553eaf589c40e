"""The agent's memory: a small SQLite file in which every change is on the disk before the call returns.

`Database` is one connection under one lock; `records`, `ledger` and `spool` are what is kept in it, one idea each.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from uuid import uuid4

from agent.identity import private_file
from agent.reserve import Reserve

log = logging.getLogger(__name__)
T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deployments (
    deployment_id TEXT PRIMARY KEY, generation INTEGER NOT NULL, command BLOB NOT NULL, status TEXT,
    container_id TEXT, port INTEGER, restarts INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    report BLOB);
CREATE TABLE IF NOT EXISTS operations (
    command_id TEXT PRIMARY KEY, command BLOB NOT NULL, deadline REAL NOT NULL, begun INTEGER NOT NULL DEFAULT 0,
    result BLOB);
CREATE TABLE IF NOT EXISTS spool (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, about TEXT NOT NULL, body BLOB NOT NULL, replaces TEXT);
CREATE TABLE IF NOT EXISTS pulled (image_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS saved_logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, instance_id TEXT NOT NULL, name TEXT NOT NULL, deployment_id TEXT NOT NULL,
    saved_at REAL NOT NULL);
"""

UNWRITABLE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY})


class JournalFull(Exception):
    """Nothing could be written; what was to be written is not there."""


class Database:
    """Opens the file, or makes a new one; a broken one is put aside and counts as lost."""

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self._reserve = reserve
        self._lock = Lock()
        try:
            self.connection = _open(path)
        except sqlite3.DatabaseError:
            aside = path.with_suffix(".broken")
            log.exception("the journal cannot be read; it is put aside as %s, and this agent begins anew", aside)
            path.replace(aside)
            self.connection = _open(path)
        reserve.restore()
        if self.meta("journal_id") is None:
            self.set_meta(journal_id=uuid4().hex)

    @property
    def journal_id(self) -> str:
        """Changes exactly when what was journaled was lost."""
        return self.meta("journal_id") or ""

    def meta(self, key: str) -> str | None:
        rows = self.read("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0]["value"]) if rows else None

    def set_meta(self, **values: str | None) -> None:
        """None forgets. What is so already is not written: an agent starts on a full disk too. Raises JournalFull."""
        news = {key: value for key, value in values.items() if self.meta(key) != value}

        def change(connection: sqlite3.Connection) -> None:
            for key, value in news.items():
                put_meta(connection, key, value)

        if news:
            self.write(change)

    def read(self, statement: str, *parameters: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self.connection.execute(statement, parameters).fetchall()

    def write(self, change: Callable[[sqlite3.Connection], T], *, urgent: bool = False) -> T:
        """Run `change` as one transaction that is on the disk when this returns.

        `urgent` is for what frees space: it may use up the reserve. Raises JournalFull.
        """
        with self._lock:
            try:
                return self._transaction(change)
            except JournalFull:
                if not (urgent and self._reserve.give_up()):
                    raise
                log.warning("the disk is full; the agent's own reserve was given up to journal this command")
                return self._transaction(change)

    def give_up_reserve(self) -> None:
        self._reserve.give_up()

    def restore_reserve(self) -> None:
        self._reserve.restore()

    def close(self) -> None:
        with self._lock:
            self.connection.close()

    def _transaction(self, change: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            result = change(self.connection)
            self.connection.execute("COMMIT")
            return result
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in UNWRITABLE:
                raise JournalFull(str(error)) from error
            raise


def put_meta(connection: sqlite3.Connection, key: str, value: str | None) -> None:
    if value is None:
        connection.execute("DELETE FROM meta WHERE key = ?", (key,))
    else:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(private_file(path), isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous = FULL")
    if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("quick_check failed")
    connection.executescript(SCHEMA)
    return connection
