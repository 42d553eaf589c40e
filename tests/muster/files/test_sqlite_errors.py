"""What an error of SQLite says of its file."""

from __future__ import annotations

import sqlite3

import pytest

from muster.files.sqlite_errors import is_damage, is_unwritable


def error(code: int | None, message: str = "") -> sqlite3.Error:
    made = sqlite3.OperationalError(message)
    if code is not None:
        made.sqlite_errorcode = code
    return made


@pytest.mark.parametrize(
    ("code", "message", "damage", "cannot_write"),
    [
        (sqlite3.SQLITE_CORRUPT, "", True, False),
        (sqlite3.SQLITE_NOTADB, "", True, False),
        (sqlite3.SQLITE_READONLY_DBMOVED, "", True, True),
        (sqlite3.SQLITE_IOERR_SHORT_READ, "", True, True),
        (sqlite3.SQLITE_ERROR, "no such table: meta", True, False),
        (sqlite3.SQLITE_ERROR, "table spool has no column named replaces", True, False),
        (None, "Could not decode to UTF-8 column 'value'", True, False),
        (sqlite3.SQLITE_ERROR, 'near "x": syntax error', False, False),
        (sqlite3.SQLITE_FULL, "", False, True),
        (sqlite3.SQLITE_READONLY, "", False, True),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "", False, True),
        (sqlite3.SQLITE_CANTOPEN, "", False, True),
        (sqlite3.SQLITE_IOERR_WRITE, "", False, True),
        (sqlite3.SQLITE_BUSY, "", False, True),
        (sqlite3.SQLITE_CONSTRAINT, "", False, False),
    ],
)
def test_an_error_is_the_files_or_the_disks_or_the_programs(
    code: int | None, message: str, damage: bool, cannot_write: bool
) -> None:
    assert (is_damage(error(code, message)), is_unwritable(error(code, message))) == (damage, cannot_write)
