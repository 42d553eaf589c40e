"""What an error of SQLite says of its file: it is damaged, or it cannot be written. An error may mean both."""

from __future__ import annotations

import re
import sqlite3

UNWRITABLE = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,  # the rollback journal, on a disk that became read-only
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_GONE = frozenset({sqlite3.SQLITE_READONLY_DBMOVED, sqlite3.SQLITE_IOERR_SHORT_READ})


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is at fault: it is damaged, cut off, or was deleted under its reader."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by Python itself: text that is not UTF-8
        return isinstance(error, sqlite3.OperationalError)
    return (
        code & 0xFF in _DAMAGED
        or code in _GONE
        or (
            code == sqlite3.SQLITE_ERROR
            and re.search(r"no such (?:table|column)|has no column|malformed", str(error)) is not None
        )
    )


def is_unwritable(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in UNWRITABLE
