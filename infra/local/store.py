"""A data directory: who uses it, what was said once, and every item of the embedded database, one SQLite row each.

A write is on disk before it is answered (WAL with a sync at each commit), so neither `kill -9` nor a power cut takes
back what a caller was told.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from muster.files.schema import Schema

log = logging.getLogger(__name__)

Change = tuple[str, str, bytes | None]
"""Table, key, and the item as it now is; None for one that is gone."""

TABLES = """
CREATE TABLE IF NOT EXISTS items (
    table_name TEXT NOT NULL, key TEXT NOT NULL, item BLOB NOT NULL, PRIMARY KEY (table_name, key)
) WITHOUT ROWID
"""


def _number(connection: sqlite3.Connection) -> None:
    """0.1.0 wrote no version. Its table is that of version 1."""


SCHEMA = Schema(TABLES, (_number,))
"""Of the file, and not of the items in it: those are the app's own, and it reads what any release wrote."""


class DataInUse(Exception):
    """Another process has this data directory."""


class DataDirectory:
    """Only its owner may read it: it holds the keys of the models' own APIs. OSError where it cannot be made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock: int | None = None

    def lock(self) -> None:
        """Held until the process ends, however it ends. Raises DataInUse."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise DataInUse(f"{self.path} is in use by another muster server; stop it, or give another DATA") from error
        self._lock = descriptor

    @property
    def introduced(self) -> bool:
        """Whether the first secrets were shown."""
        return (self.path / "introduced").exists()

    def mark_introduced(self) -> None:
        (self.path / "introduced").touch(mode=0o600)

    def forget_introduction(self) -> None:
        """The secrets that were shown are gone with their database: the next start makes and shows new ones."""
        (self.path / "introduced").unlink(missing_ok=True)


class Store:
    """The items. One thread writes them, the one that commits; tables are read at the start.

    A file of an older release is upgraded. Raises NewerSchema; sqlite3.Error, OSError where it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        # Its journals get the mode that it has.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        kept = SCHEMA.prepare(self._connection, path)
        if kept is not None:
            log.warning("muster: %s is upgraded to version %d; as it was, it is kept as %s", path, SCHEMA.version, kept)

    def items(self, table: str) -> Iterator[bytes]:
        for (item,) in self._connection.execute("SELECT item FROM items WHERE table_name = ?", (table,)):
            yield item

    def get(self, table: str, key: str) -> bytes | None:
        row = self._connection.execute(
            "SELECT item FROM items WHERE table_name = ? AND key = ?", (table, key)
        ).fetchone()
        return row[0] if row else None

    def apply(self, changes: Iterable[Change]) -> None:
        """All of them or, with sqlite3.Error, none."""
        with self._connection as transaction:
            for table, key, item in changes:
                if item is None:
                    transaction.execute("DELETE FROM items WHERE table_name = ? AND key = ?", (table, key))
                else:
                    transaction.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", (table, key, item))

    def close(self) -> None:
        self._connection.close()
