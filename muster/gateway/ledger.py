"""What each API key used of each model on each day: sums that only grow, on disk and then at the control plane.

    add ──► in memory ── every half second, one transaction ──► on disk ── every minute ──► control plane ──► confirmed

A sum is reported under the ledger's id, and replaces the one of the same ledger, key, model, and day: a report that is
sent twice counts once. Only what is on disk is reported, so that no sum is ever smaller after a restart. A ledger whose
file was lost or damaged begins again with a new id, and the control plane adds ledgers up. A gateway that is killed
loses what it counted since the last transaction: SYNC_SECONDS and the time of one write, together less than a second.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from muster.api.gateways import UsageReport, UsageSum
from muster.files.schema import NewerSchema
from muster.files.sqlite_errors import is_unwritable
from muster.gateway.data_dir import DataError
from muster.gateway.ledger_file import Key, LedgerFile, Row, Sums

log = logging.getLogger(__name__)

SYNC_SECONDS = 0.5
MAX_ROWS = 100_000
"""Sums that are remembered. Beyond them the oldest are dropped, those that were confirmed first."""
DROPPED_AT_ONCE = 1_000
KEPT_DAYS = 2
"""Days for which a confirmed sum stays: a request that began before midnight may end after it."""
MAX_SUM = 2**53
SUMS_PER_REPORT = 100
DAY_SECONDS = 86400


class Ledger:
    """All methods may be called from any thread. `wall`: epoch seconds. Raises DataError if the file cannot be used."""

    def __init__(self, path: Path, wall: Callable[[], float] = time.time) -> None:
        self._path, self._wall = path, wall
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._file, self.ledger_id, self._rows = _opened(path)
        self._tokens: Counter[tuple[str, str]] = Counter()
        for (key_id, _, day), row in self._rows.items():
            self._tokens[key_id, day] += row.sums[1] + row.sums[2]
        self._dirty: set[Key] = set()
        self._looked_for_old = ""
        self._problem: str | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # Counting

    def add(
        self,
        key_id: str,
        model: str,
        day: str,
        *,
        requests: int = 0,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
    ) -> None:
        """Count what a request used. `day` is in UTC, as 2026-12-31. It never waits for the disk."""
        key = key_id, model, day
        with self._lock:
            row = self._rows.get(key)
            if row is None:
                if len(self._rows) >= MAX_ROWS:
                    self._make_room()
                row = self._rows[key] = Row()
            row.sums = _sum(row.sums, (requests, prompt_tokens, completion_tokens))
            self._tokens[key_id, day] += max(0, prompt_tokens) + max(0, completion_tokens)
            self._dirty.add(key)

    def tokens_of_day(self, key_id: str, day: int) -> int:
        """The tokens of all models that the key used on a day. `day`: days since the epoch."""
        text = time.strftime("%Y-%m-%d", time.gmtime(day * DAY_SECONDS))
        with self._lock:
            return self._tokens.get((key_id, text), 0)

    # The disk

    def start(self, seconds: float = SYNC_SECONDS) -> None:
        """Write what changed every so many seconds, until `close`."""
        self._thread = threading.Thread(target=self._sync, args=(seconds,), name="ledger", daemon=True)
        self._thread.start()

    def _sync(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            self.flush()

    def flush(self) -> bool:
        """Write what changed. Returns whether all of it is on disk; a failure is logged once, and tried again."""
        with self._writing:
            with self._lock:
                self._drop_old()
                dirty, self._dirty = self._dirty, set()
                changed = {key: self._rows[key].copy() for key in dirty if key in self._rows}
                gone = [key for key in dirty if key not in self._rows]
            if not dirty:
                return True
            try:
                self._write(changed, gone)
            except (sqlite3.Error, OSError) as error:
                with self._lock:
                    self._dirty |= dirty
                self._told(str(error))
                return False
            self._told(None)
            with self._lock:
                for key, row in changed.items():
                    if key in self._rows:
                        self._rows[key].synced = row.sums
            return True

    def close(self) -> None:
        """Write what is left. Harmless when repeated."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.flush()
        with self._writing:
            self._file.close()

    # Reports

    def reports(self) -> list[UsageReport]:
        """Reports of all sums that are on disk, and that the control plane does not have."""
        with self._lock:
            sums = [UsageSum(*key, *row.synced) for key, row in self._rows.items() if row.synced != row.confirmed]
        return [
            UsageReport(self.ledger_id, sums[start : start + SUMS_PER_REPORT])
            for start in range(0, len(sums), SUMS_PER_REPORT)
        ]

    def confirm(self, report: UsageReport) -> None:
        """The control plane has these sums."""
        with self._lock:
            for each in report.sums:
                key = each.key_id, each.model, each.day
                if key in self._rows:
                    self._rows[key].confirmed = each.requests, each.prompt_tokens, each.completion_tokens
                    self._dirty.add(key)
            self._looked_for_old = ""

    # Inside

    def _write(self, changed: dict[Key, Row], gone: list[Key]) -> None:
        """Raises sqlite3.Error, OSError. A file that was lost meanwhile is made again, with all that is in memory."""
        if self._file.is_lost():
            log.warning("%s is gone or damaged, and is written again", self._path)
            self._file.close()
            _put_aside(self._path)
            with self._lock:
                changed, gone = {key: row.copy() for key, row in self._rows.items()}, []
            self._file = LedgerFile(self._path)
            self._file.begin(self.ledger_id)
        self._file.write(changed, gone)

    def _told(self, problem: str | None) -> None:
        if problem == self._problem:
            return
        if problem is None:
            log.info("usage is written to %s again", self._path)
        else:
            log.error("usage cannot be written to %s, and stays in memory: %s", self._path, problem)
        self._problem = problem

    def _drop_old(self) -> None:
        oldest = time.strftime("%Y-%m-%d", time.gmtime(self._wall() - KEPT_DAYS * DAY_SECONDS))
        if oldest == self._looked_for_old:
            return
        self._looked_for_old = oldest
        for key in [key for key, row in self._rows.items() if key[2] < oldest and row.is_confirmed]:
            self._drop(key)

    def _make_room(self) -> None:
        order = sorted(self._rows, key=lambda key: (not self._rows[key].is_confirmed, key[2]))
        unreported = sum(not self._rows[key].is_confirmed for key in order[:DROPPED_AT_ONCE])
        for key in order[:DROPPED_AT_ONCE]:
            self._drop(key)
        if unreported:
            log.error("the ledger is full: %d of its oldest sums were dropped before they were reported", unreported)

    def _drop(self, key: Key) -> None:
        _, prompt, completion = self._rows.pop(key).sums
        of_day = key[0], key[2]
        self._tokens[of_day] -= prompt + completion
        if self._tokens[of_day] <= 0:
            del self._tokens[of_day]
        self._dirty.add(key)


def _sum(sums: Sums, more: Sums) -> Sums:
    """Each of them never falls, and fits what the control plane takes."""
    requests, prompt, completion = (min(MAX_SUM, old + max(0, new)) for old, new in zip(sums, more, strict=True))
    return requests, prompt, completion


def _opened(path: Path) -> tuple[LedgerFile, str, dict[Key, Row]]:
    """The file, the ledger's id, and what is in it. One that is damaged is put aside. Raises DataError."""
    for is_last in (False, True):
        file = None
        try:
            file = LedgerFile(path)
            ledger_id = file.begin(uuid.uuid4().hex)
            return file, ledger_id, file.rows()
        except NewerSchema as error:
            if file is not None:
                file.close()
            raise DataError(f"{path} was written by a newer release: run that one, or give another --data") from error
        except (sqlite3.Error, OSError, ValueError) as error:
            if file is not None:
                file.close()
            is_blameless = isinstance(error, OSError) or (isinstance(error, sqlite3.Error) and is_unwritable(error))
            if is_last or is_blameless:
                raise DataError(f"cannot use {path}: {error}; free some space, or give another --data") from error
            log.warning("%s is damaged (%s): a new ledger begins, and usage that was not reported is lost", path, error)
            _put_aside(path)
    raise AssertionError("the loop returns or raises")


def _put_aside(path: Path) -> None:
    """Keep the damaged file beside the new one; only the latest such file is kept."""
    with suppress(OSError):
        path.replace(path.with_name(f"{path.name}.damaged"))
    for suffix in ("-wal", "-shm", "-journal"):
        with suppress(OSError):
            path.with_name(path.name + suffix).unlink()
