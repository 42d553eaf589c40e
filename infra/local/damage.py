"""Whether the files of a data directory can be read, checked before a server opens them.

    its version    is not that of a newer release                                else the server does not start
    the database   SQLite finds every page in order, and every item is one       else the server does not start
    its log (WAL)  every change that was answered is there                       else it starts with what is left

A damaged file is copied first, under a name with the time: nothing that might be salvaged is overwritten.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import msgspec

from infra.local.store import SCHEMA
from muster.files.schema import NewerSchema
from muster.files.sqlite_errors import is_damage, is_unwritable

WAL_MAGIC = 0x377F0682
"""The last bit says whether checksums are of big-endian words. https://www.sqlite.org/fileformat2.html#walformat"""
HEADER, FRAME = struct.Struct(">8I"), struct.Struct(">6I")
MAX_UINT32 = 0xFFFFFFFF


class Damaged(Exception):
    """The database cannot be used. The message says what is wrong, where the copy is, and what to do."""


class Newer(Exception):
    """A newer release wrote the database. The message says what to do; nothing was changed or copied."""


def check(database: Path, now: float, was_used: bool = False) -> str | None:
    """A warning where changes are lost with a damaged log. `now`: epoch seconds.

    Raises Damaged, Newer; OSError, sqlite3.Error if the disk is full or read-only.

    `was_used`: a server has stored something in the database, so that an empty one is damaged. Only the owner of the
    data directory's lock may call it: no server uses the database.
    """
    if not database.exists() or not (database.stat().st_size or was_used):
        return None
    _refuse_newer(database)
    lost = _lost(log_of(database))
    copies = keep(database, now) if lost else []  # before SQLite opens it, which drops what it cannot read
    problem = _problem(database, was_used)
    if problem:
        copies = copies or keep(database, now)
        raise Damaged(
            f"{database} is damaged ({problem}), and the server does not start. Copies: {_names(copies)}. "
            f"Put a backup in its place: python -m infra.local restore FILE --data {database.parent}; "
            f"without one, move {database.name}* away to begin with an empty control plane"
        )
    if lost:
        return (
            f"the log of {database} was damaged ({lost}): the last changes before the server stopped are lost. "
            f"Copies of both files: {_names(copies)}"
        )
    return None


def _refuse_newer(database: Path) -> None:
    """Raises Newer. A connection that cannot write leaves the log as it is, which any other takes over when it ends."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
            SCHEMA.version_of(connection)
    except NewerSchema as error:
        raise Newer(
            f"{database} was written by a newer release ({error}), and the server does not start: install that release "
            f"again, or put a backup of this release in its place: python -m infra.local restore FILE --data "
            f"{database.parent}; without one, move {database.name}* away to begin with an empty control plane"
        ) from error
    except sqlite3.Error:
        return  # damaged, which is found below


def log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def keep(database: Path, now: float) -> list[Path]:
    """Copies of the database and its log beside them, readable by their owner alone. Raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    copies = []
    for path in (database, log_of(database)):
        if path.exists():
            copy = path.with_name(f"{path.name}.damaged-{stamp}")
            copy.touch(mode=0o600)
            try:
                shutil.copyfile(path, copy)
            except OSError:
                copy.unlink()  # half a copy is none
                raise
            copies.append(copy)
    return copies


def _names(copies: list[Path]) -> str:
    return ", ".join(map(str, copies))


def _problem(database: Path, was_used: bool) -> str | None:
    """In a few words, what keeps the database from being read."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                return " ".join(str(said).split())
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'items'").fetchone():
                is_new = not was_used and not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
                return None if is_new else "it has no items"
            SCHEMA.verify(connection)
            for table, key, item in connection.execute("SELECT table_name, key, item FROM items"):
                if not _is_item(item):
                    return f"an item of {table} cannot be read: {key}"
    except sqlite3.Error as error:
        if is_unwritable(error) and not is_damage(error):
            raise  # SQLite needs room beside the database to read it
        return str(error)
    return None


def _is_item(stored: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(stored), dict)
    except (msgspec.DecodeError, TypeError):
        return False


def _lost(log: Path) -> str | None:
    """In a few words, what is wrong with a log that had more answered changes than SQLite will find in it.

    SQLite reads the log up to its first bad frame. After a crash that is the end of the one transaction that was being
    written, and nobody was answered. Two commits behind a bad frame are more than a crash leaves.
    """
    content = log.read_bytes() if log.exists() else b""
    if len(content) < HEADER.size:
        return None
    magic, _, page_size, _, *salts_and_sum = HEADER.unpack_from(content)
    is_big = bool(magic & 1)
    if magic & ~1 != WAL_MAGIC or _checksum(content[:24], (0, 0), is_big) != tuple(salts_and_sum[2:]):
        return "its header cannot be read" if len(content) > HEADER.size else None
    commits_behind, total = 0, tuple(salts_and_sum[2:])
    is_good = True
    for frame, page in _frames(content, page_size):
        _, size, *salts, first, second = FRAME.unpack(frame)
        if salts != salts_and_sum[:2]:
            break  # left over from before the log was reset
        total = _checksum(frame[:8] + page, total, is_big) if is_good else total
        is_good = is_good and total == (first, second)
        commits_behind += not is_good and size > 0
    return f"{commits_behind} changes follow a frame that cannot be read" if commits_behind > 1 else None


def _frames(content: bytes, page_size: int) -> Iterator[tuple[bytes, bytes]]:
    """The header and the page of each whole frame."""
    for start in range(HEADER.size, len(content) - FRAME.size - page_size + 1, FRAME.size + page_size):
        page = start + FRAME.size
        yield content[start:page], content[page : page + page_size]


def _checksum(content: bytes, before: tuple[int, ...], is_big: bool) -> tuple[int, ...]:
    """SQLite's own, of pairs of 32-bit words."""
    first, second = before
    words = struct.unpack(f"{'>' if is_big else '<'}{len(content) // 4}I", content)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & MAX_UINT32
        second = (second + odd + first) & MAX_UINT32
    return first, second
