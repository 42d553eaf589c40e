"""What an error of SQLite says of its file: it is damaged, or it cannot be written. An error may mean both.

From Python 3.11 on, an error has SQLite's result code. On Python 3.10 it has only a class and a message, so `code_of`
reads the code from the message. One message may stand for several extended codes: a database that was deleted or moved
(READONLY_DBMOVED) has the message of one that may not be written (READONLY). A program that must tell these apart
compares the file with the one that it opened (`OpenedFile`). A file that another process cut off shows at the next
read, with the message of CORRUPT.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path

ERROR = 1
PERM = 3
BUSY = 5
READONLY = 8
IOERR = 10
CORRUPT = 11
FULL = 13
CANTOPEN = 14
PROTOCOL = 15
FORMAT = 24
NOTADB = 26
READONLY_DBMOVED = READONLY | 4 << 8
IOERR_SHORT_READ = IOERR | 2 << 8

HAS_CODES = sys.version_info >= (3, 11)
"""Whether Python gives an error its code."""

_MESSAGES = {
    PERM: r"access permission denied",
    BUSY: r"database is locked",
    READONLY: r"attempt to write a readonly database",
    IOERR: r"disk I/O error",
    CORRUPT: r"database disk image is malformed|malformed database schema.*",
    FULL: r"database or disk is full",
    CANTOPEN: r"unable to open database file",
    PROTOCOL: r"locking protocol",
    NOTADB: r"file is (?:encrypted or is )?not a database",
}
"""The whole message of each code. FORMAT has none: no SQLite of today reports it."""
_NOT_TEXT = "Could not decode to UTF-8"
"""How the message of an error begins that Python raises itself, for text that is not UTF-8. It has no code."""

UNWRITABLE = frozenset(
    {
        FULL,
        IOERR,
        READONLY,
        CANTOPEN,  # the rollback journal, on a disk that became read-only
        PERM,
        BUSY,
        PROTOCOL,
    }
)
_DAMAGED = frozenset({CORRUPT, NOTADB, FORMAT})
_GONE = frozenset({READONLY_DBMOVED, IOERR_SHORT_READ})


@dataclass(frozen=True)
class OpenedFile:
    """The identity of a database file when it was opened."""

    path: Path
    device: int
    inode: int

    @classmethod
    def at(cls, path: Path) -> OpenedFile:
        """Raises OSError."""
        found = os.stat(path)
        return cls(path, found.st_dev, found.st_ino)

    def is_gone(self) -> bool:
        """Whether the file was deleted or moved away, or another one is in its place."""
        try:
            return OpenedFile.at(self.path) != self
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False  # the disk is at fault


def code_of(error: sqlite3.Error) -> int | None:
    """SQLite's result code, extended where Python has it; None for an error that Python raised itself."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code if code is not None or HAS_CODES else code_of_message(error)


def code_of_message(error: sqlite3.Error) -> int | None:
    """The code that belongs to the error's class and message, not extended. `code_of` needs it on Python 3.10."""
    message = str(error)
    for code, pattern in _MESSAGES.items():
        if re.fullmatch(pattern, message, re.DOTALL):
            return code
    if not isinstance(error, sqlite3.OperationalError) or message.startswith(_NOT_TEXT):
        return None
    return ERROR


def primary_code_of(error: sqlite3.Error) -> int | None:
    code = code_of(error)
    return None if code is None else code & 0xFF


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is at fault: it is damaged, cut off, or was deleted under its reader."""
    code = code_of(error)
    if code is None:  # raised by Python itself: text that is not UTF-8
        return isinstance(error, sqlite3.OperationalError)
    return (
        code & 0xFF in _DAMAGED
        or code in _GONE
        or (code == ERROR and re.search(r"no such (?:table|column)|has no column|malformed", str(error)) is not None)
    )


def is_unwritable(error: sqlite3.Error) -> bool:
    return primary_code_of(error) in UNWRITABLE
