"""The whole state as one file, taken while the server runs, and put back where none does.

SQLite copies a database in use without stopping its writer; a copy of the files themselves might lack the newest of it.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from infra.local.damage import keep as keep_damaged
from infra.local.store import SCHEMA, DataDirectory
from muster.files.schema import NewerSchema

DATABASE = "muster.sqlite3"


class NoBackup(Exception):
    """This is not one, or there is nothing to make one of."""


def backup(data: Path) -> bytes:
    """What is acknowledged at this moment, as a database of SQLite. Raises NoBackup."""
    path = data / DATABASE
    if not path.exists():
        raise NoBackup(f"{path} is not there: nothing was ever kept in this directory")
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(":memory:")) as copy:
            source.backup(copy)
            content = copy.serialize()
    except sqlite3.Error as error:
        raise NoBackup(f"{path} cannot be read ({error}): keep the backups that you have") from error
    with _written(Path(tempfile.gettempdir()), content) as name:
        _count(name)  # a backup that cannot be restored is none
    return content


def keep(content: bytes, path: Path) -> None:
    """In the place of an older backup, but not before all of it is on the disk. Raises OSError."""
    if path.exists() and not path.is_file():
        path.write_bytes(content)  # a device, or a pipe
        return
    with _written(path.resolve().parent, content) as name:
        os.replace(name, path.resolve())


@contextmanager
def _written(folder: Path, content: bytes) -> Iterator[str]:
    """A file to be moved to its place, for its owner alone: models' keys are in it."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix="muster-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def restore(data: DataDirectory, content: bytes, now: float) -> int:
    """Put `content` in the place of all there is, and say how many items it has. All of it happens, or nothing.

    A damaged database is copied first. `now`: epoch seconds. Raises DataInUse while a server runs; NoBackup, OSError.
    """
    data.lock()
    with _written(data.path, content) as name:
        items = _count(name)
        _refuse_unusable(name)
        database = data.path / DATABASE
        # What the old database has not yet taken over from its log must not be read into the new one.
        try:
            # A connection that may write would first delete a log that belongs to no database.
            with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as old:
                old.execute("SELECT count(*) FROM sqlite_master")
            with closing(sqlite3.connect(database)) as old:
                old.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error:
            keep_damaged(database, now)
            for ending in ("-wal", "-shm"):
                database.with_name(database.name + ending).unlink(missing_ok=True)
        os.replace(name, database)
    data.mark_introduced()  # its credentials came with it
    return items


def _refuse_unusable(path: str) -> None:
    """Raises NoBackup for one that this release could not open."""
    try:
        with closing(sqlite3.connect(path)) as found:
            SCHEMA.verify(found)
    except NewerSchema as error:
        raise NoBackup(f"this backup is of a newer release ({error}): restore it with that release") from error
    except sqlite3.Error as error:
        raise NoBackup(f"this is no backup of Muster: {error}") from error


def _count(path: str) -> int:
    """Raises NoBackup for what is damaged, or somebody else's."""
    try:
        with closing(sqlite3.connect(path)) as found:
            (said,) = found.execute("PRAGMA integrity_check").fetchone()
            (items,) = found.execute("SELECT count(*) FROM items").fetchone()
    except sqlite3.Error as error:
        raise NoBackup(f"this is no backup of Muster: {error}") from error
    if said != "ok":
        raise NoBackup(f"this backup is damaged: {said}")
    return int(items)
