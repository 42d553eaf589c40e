"""The ledger's SQLite file: one row for each key, model, and day, and the id of the ledger."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from muster.files.schema import Schema
from muster.files.sqlite_errors import OpenedFile
from muster.gateway.data_dir import PRIVATE_FILE

Key = tuple[str, str, str]
"""The id of an API key, a model, and a day."""
Sums = tuple[int, int, int]
"""Requests, prompt tokens, completion tokens."""
ZERO: Sums = (0, 0, 0)

SCHEMA = Schema(
    """
    CREATE TABLE IF NOT EXISTS ledger (ledger_id TEXT PRIMARY KEY NOT NULL);
    CREATE TABLE IF NOT EXISTS sums (
        key_id TEXT NOT NULL,
        model TEXT NOT NULL,
        day TEXT NOT NULL,
        requests INTEGER NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL,
        confirmed_requests INTEGER NOT NULL,
        confirmed_prompt_tokens INTEGER NOT NULL,
        confirmed_completion_tokens INTEGER NOT NULL,
        PRIMARY KEY (key_id, model, day)
    ) WITHOUT ROWID
    """,
    steps=(),
)


@dataclass
class Row:
    """`synced` is on disk; `confirmed` has arrived at the control plane."""

    sums: Sums = ZERO
    synced: Sums = ZERO
    confirmed: Sums = ZERO

    @property
    def is_confirmed(self) -> bool:
        return self.sums == self.confirmed

    def copy(self) -> Row:
        return Row(self.sums, self.synced, self.confirmed)


class LedgerFile:
    """Every method raises sqlite3.Error or OSError. A transaction is on disk when its method returns."""

    def __init__(self, path: Path) -> None:
        """Raises NewerSchema too."""
        self._path = path
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE))
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            SCHEMA.prepare(self._connection, path)
            self._opened = OpenedFile.at(path)
        except BaseException:
            self._connection.close()
            raise

    def begin(self, ledger_id: str) -> str:
        """The id of the ledger in the file, which is `ledger_id` for a new one."""
        self._connection.execute("INSERT INTO ledger SELECT ? WHERE NOT EXISTS (SELECT 1 FROM ledger)", (ledger_id,))
        return str(self._connection.execute("SELECT ledger_id FROM ledger").fetchone()[0])

    def rows(self) -> dict[Key, Row]:
        """Raises ValueError for what no ledger has written."""
        found = {}
        for key_id, model, day, *figures in self._connection.execute("SELECT * FROM sums"):
            if not all(isinstance(figure, int) and figure >= 0 for figure in figures):
                raise ValueError(f"the sums of key {key_id} are no counts")
            sums = figures[0], figures[1], figures[2]
            found[str(key_id), str(model), str(day)] = Row(sums, sums, (figures[3], figures[4], figures[5]))
        return found

    def write(self, changed: Mapping[Key, Row], gone: Sequence[Key]) -> None:
        """Store and delete these rows in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(
                "INSERT OR REPLACE INTO sums VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(*key, *row.sums, *row.confirmed) for key, row in changed.items()],
            )
            self._connection.executemany("DELETE FROM sums WHERE key_id = ? AND model = ? AND day = ?", gone)
            self._connection.execute("COMMIT")
        except BaseException:  # an interrupt too
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def is_lost(self) -> bool:
        """Whether the file was deleted, or another one is in its place."""
        return self._opened.is_gone()

    def close(self) -> None:
        """Harmless when repeated."""
        self._connection.close()
