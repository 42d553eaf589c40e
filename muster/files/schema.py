"""A SQLite file's schema has a version, kept in the file as `user_version`.

no row of ours yet     ──► the tables are made, in one transaction
the current version    ──► used, if each table and column is there
an older version       ──► rehearsed on a copy in memory, then copied to a file beside it, then upgraded: each step is
                           one transaction that also writes the version that it leads to
a newer version        ──► NewerSchema, and the file stays as it is

A program that is killed during an upgrade leaves a file of one whole version; the next start goes on from there. The
agent's journal and the database of `infra.local` have such a schema each.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

Step = Callable[[sqlite3.Connection], object]
"""From one version to the next, by statements that need no transaction of their own."""


class NewerSchema(Exception):
    """The file is of a newer release: this one does not know what is in it, and must not write to it."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"schema {found}, and this one knows {known}")


@dataclass(frozen=True)
class Schema:
    """`tables` are statements that make the tables which are not there; `steps[n]` leads from version n to n + 1.

    Version 0 is what release 0.1.0 wrote, which kept no version.
    """

    tables: str
    steps: tuple[Step, ...]

    @property
    def version(self) -> int:
        return len(self.steps)

    def prepare(self, connection: sqlite3.Connection, path: Path, begin: str = "") -> Path | None:
        """Make the file at `path` one of the current version. Returns where the older version is kept, if it was one.

        `begin` are statements for a new file. Raises NewerSchema; DatabaseError where something is missing, before
        anything was changed; OperationalError or OSError where the upgrade cannot be written.
        """
        found = self.version_of(connection)
        if found == 0 and self.is_new(connection):
            connection.executescript(
                f"BEGIN IMMEDIATE; {self.tables}; {begin}; PRAGMA user_version = {self.version}; COMMIT"
            )
            found = self.version
        if found == self.version:
            self.check(connection)
            return None
        self.verify(connection)
        kept = _kept(connection, path, found)
        self._upgrade(connection)
        return kept

    def version_of(self, connection: sqlite3.Connection) -> int:
        """Raises NewerSchema; DatabaseError where it is none."""
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if found > self.version:
            raise NewerSchema(found, self.version)
        if found < 0:
            raise sqlite3.DatabaseError(f"its version is {found}")
        return found

    def is_new(self, connection: sqlite3.Connection) -> bool:
        """Whether nothing was stored yet: 0.1.0 made its tables one after the other, and may have been cut off."""
        there = _tables(connection)
        return there <= self._expected().keys() and not any(
            connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in there
        )

    def verify(self, connection: sqlite3.Connection) -> None:
        """Raises as `prepare` would for what is in the file, which stays as it is."""
        if self.version_of(connection) == self.version:
            self.check(connection)
        else:
            self.rehearsed(connection).close()

    def check(self, connection: sqlite3.Connection) -> None:
        """Raises DatabaseError if a table or column of the current version is missing, or no row could be stored."""
        for table, columns in self._expected().items():
            if table not in _tables(connection):
                raise sqlite3.DatabaseError(f"it has no table {table}")
            found = _columns(connection, table)
            for name, column in columns.items():
                if name not in found:
                    raise sqlite3.DatabaseError(f"its table {table} has no column {name}")
                if found[name].key != column.key:
                    raise sqlite3.DatabaseError(f"the key of its table {table} is another one")
            for name, stored in sorted(found.items()):
                if stored.is_required and not (name in columns and columns[name].is_required):
                    raise sqlite3.DatabaseError(f"its table {table} requires the column {name}, which may be absent")

    def rehearsed(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """A copy in memory, upgraded. Raises as `prepare` does; the file itself stays as it is."""
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        try:
            copy.row_factory = connection.row_factory
            connection.backup(copy)
            self._upgrade(copy)
            self.check(copy)
        except BaseException:
            copy.close()
            raise
        return copy

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        for version in range(self.version_of(connection), self.version):
            with _transaction(connection):
                self.steps[version](connection)
                connection.execute(f"PRAGMA user_version = {version + 1}")

    def _expected(self) -> dict[str, dict[str, _Column]]:
        with closing(sqlite3.connect(":memory:")) as model:
            model.executescript(self.tables)
            return {table: _columns(model, table) for table in sorted(_tables(model))}


@dataclass(frozen=True)
class _Column:
    """`key`: its place in the primary key, from 1; 0 where it has none. `is_required`: no row can leave it out."""

    key: int
    is_required: bool


def _tables(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    return {str(row[0]) for row in rows}


def _columns(connection: sqlite3.Connection, table: str) -> dict[str, _Column]:
    rows = connection.execute('SELECT name, pk, "notnull" AND dflt_value IS NULL FROM pragma_table_info(?)', (table,))
    return {str(name): _Column(int(key), bool(is_required)) for name, key, is_required in rows}


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # an interrupt too
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _kept(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """The whole file as it is, beside it and on the disk, readable by its owner alone."""
    kept = path.with_name(f"{path.name}.version-{version}")
    new = kept.with_name(f"{kept.name}.new")
    _remove(new)  # of an upgrade that was cut off
    try:
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(new)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # all of it in one file
        _sync(new)
        os.replace(new, kept)
        _sync(path.parent)
    except BaseException:
        _remove(new)
        raise
    return kept


def _remove(new: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        new.with_name(new.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
