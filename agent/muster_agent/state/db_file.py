"""The journal's file: opened and checked; where it is damaged, kept under another name, and a new one is begun.

readable and whole       ──► opened, in one transaction where the schema is not there yet
of an older agent        ──► kept as journal.sqlite3.version-<number>, and upgraded (muster/files/schema.py)
of a newer agent         ──► StateError: nothing is lost, and this agent must not write to it
damaged, or without a    ──► kept as journal.sqlite3.damaged-<date>, and a new one is begun with what identifies this
table or column              worker, as far as that can still be read
on a read-only disk, or  ──► a copy is opened, which can be read; every write fails until the disk can be written
the upgrade has no room
"""

from __future__ import annotations

import errno
import logging
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from muster.files.schema import NewerSchema, Schema
from muster.files.sqlite_errors import is_unwritable
from muster_agent.state.dir import StateError, private_file, refused

log = logging.getLogger(__name__)

TABLES = """
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


def _number(connection: sqlite3.Connection) -> None:
    """0.1.0 wrote no version. Its tables are those of version 1."""


SCHEMA = Schema(TABLES, (_number,))
VERSION = SCHEMA.version

KEPT_DAMAGED_FILES = 5
"""Damaged files that are kept, the newest."""
BESIDE = ("-journal", "-wal", "-shm")
"""Suffixes of the files that SQLite may leave beside a database, and that belong to it."""

IDENTITY = {
    "worker_id": re.compile(r"[!-~]{1,128}"),
    "token": re.compile(r"[!-~]{1,512}"),
    "token_before_rejoin": re.compile(r"[!-~]{1,512}"),
    "name": re.compile(r"[^\x00-\x1f\x7f]{1,256}"),
    "named_by": re.compile(r"owner"),
    "past_workers": re.compile(r"[!-~]{1,128}(?: [!-~]{1,128})*"),
    "boots": re.compile(r"[0-9a-f]{32}(?: [0-9a-f]{32})*"),
    "gpus": re.compile(r"\[.{0,65536}\]"),
}
"""The keys that make a new journal the same worker's, with its GPU indexes, and the form of each valid value."""


def opened(path: Path) -> sqlite3.Connection:
    """The journal at `path`, made where there is none, and begun anew where it is damaged. Raises StateError."""
    try:
        return _opened(path)
    except sqlite3.DatabaseError as error:
        return begun_anew(path, str(error))


def begun_anew(path: Path, why: str) -> sqlite3.Connection:
    """Keep the file under another name, and begin a new one. Raises StateError where that is not possible."""
    identity = _identity(path)
    kept = path.with_name(f"{path.name}.damaged-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}")
    try:
        for suffix in ("", *BESIDE):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
        for old in damaged(path)[:-KEPT_DAMAGED_FILES]:
            for suffix in ("", *BESIDE):
                old.with_name(old.name + suffix).unlink(missing_ok=True)
        connection = _opened(path)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", identity.items())
    except (OSError, sqlite3.DatabaseError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StateError(
            f"the journal {path} is damaged ({why}), and no new one can be begun ({reason}): check the disk, then move"
            f" the file away or give another --state-dir"
        ) from error
    log.error("the journal %s is damaged (%s): it is kept as %s, and this agent begins a new one", path, why, kept)
    return connection


def is_copy(connection: sqlite3.Connection) -> bool:
    """Whether it is a copy of a file on a read-only disk, or of an older one that cannot be upgraded there."""
    return bool(connection.execute("PRAGMA database_list").fetchone()["file"] == "")


def damaged(path: Path) -> list[Path]:
    """The damaged files that were kept, the oldest first."""
    found = path.parent.glob(f"{path.name}.damaged-*Z")
    try:
        return sorted(found)
    except OSError:
        return []


def _opened(path: Path) -> sqlite3.Connection:
    """Raises StateError; DatabaseError where it is damaged."""
    try:
        was_used = path.exists() and path.with_name("reserve").exists()
        if was_used and path.stat().st_size == 0:
            raise sqlite3.DatabaseError("the file is empty")
        connection = _connected(private_file(path))
    except OSError as error:
        if error.errno != errno.EROFS or not path.exists():
            raise refused(path, error) from error
        return _copied(path)
    try:
        _check(connection, path)
        if was_used and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise sqlite3.DatabaseError("it has no tables")
        return _prepared(connection, path)
    except BaseException:  # an interrupt too: an open connection would keep the file's lock
        connection.close()
        raise


def _copied(path: Path) -> sqlite3.Connection:
    """What a file on a read-only disk holds, with what a killed process left to roll back. Nothing can be written."""
    try:
        with tempfile.TemporaryDirectory(prefix="muster-journal-") as folder:
            copy = Path(folder) / path.name
            for suffix in ("", *BESIDE):
                with suppress(FileNotFoundError):
                    shutil.copyfile(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
            with closing(_connected(copy)) as whole:
                _check(whole, path)
                connection = SCHEMA.rehearsed(whole)
    except OSError as error:
        raise refused(path, error) from error
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connected(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA quick_check").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"quick_check: {' '.join(str(found).split())}"[:300])
    try:
        SCHEMA.version_of(connection)
    except NewerSchema as error:
        raise StateError(
            f"the journal {path} was written by a newer agent ({error}): install that release again, or give another"
            " --state-dir; moving the file away begins a new journal, and this host then has to register again"
        ) from error


def _prepared(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """The journal in its current version. One that cannot be upgraded for want of a disk is copied, as it should be.

    Raises StateError where there is no journal yet and none can be begun; DatabaseError.
    """
    is_new = SCHEMA.is_new(connection)
    try:
        kept = SCHEMA.prepare(connection, path, f"INSERT OR IGNORE INTO meta VALUES ('journal_id', '{uuid4().hex}')")
    except (OSError, sqlite3.OperationalError) as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error) and not is_unwritable(error):
            raise
        if is_new:
            raise StateError(
                f"no journal can be begun: {error}: free some space there, or give another --state-dir"
            ) from error
        log.error("the journal %s is of an older agent, and cannot be upgraded: %s: free some space there", path, error)
        copy = SCHEMA.rehearsed(connection)
        copy.execute("PRAGMA query_only = ON")
        connection.close()
        return copy
    if kept is not None:
        log.info("the journal %s is upgraded to version %d; as it was, it is kept as %s", path, VERSION, kept)
    return connection


def _identity(path: Path) -> dict[str, str]:
    """The values of a damaged journal that identify this worker, as far as they can be read and have their form."""
    query = f"SELECT key, value FROM meta WHERE key IN ({', '.join('?' * len(IDENTITY))})"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as connection:
            rows = connection.execute(query, tuple(IDENTITY)).fetchall()
    except sqlite3.Error:
        return {}
    return {key: value for key, value in rows if isinstance(value, str) and IDENTITY[key].fullmatch(value)}
