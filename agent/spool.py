"""Reports and results on their way out: in order, and still there after a restart."""

from __future__ import annotations

import sqlite3
from collections import deque
from dataclasses import dataclass
from threading import Event
from typing import Any, Literal

import msgspec

from agent.journal import Database, JournalFull, put_meta
from chalicelib.contract.messages import Report, Result

MOST = 1000
"""Kept while the control plane is away; the oldest go first."""


@dataclass(frozen=True)
class Entry:
    id: int
    kind: Literal["status", "result"]
    about: str
    body: dict[str, Any]


class Spool:
    """`arrived` is set whenever there is something new to send."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sequence = int(database.meta("sequence") or 0)
        # What could not be journaled because the disk is full. It is said all the same, if the agent lives to say it.
        self._held: deque[Entry] = deque(maxlen=MOST)
        self._held_id = 0
        self._delivered = 0
        self.arrived = Event()

    def insert(self, connection: sqlite3.Connection, about: str, body: Report | Result, replaces: str | None) -> None:
        """As part of a transaction; call `arrived.set()` after it. A later one of the same `replaces` takes the place
        of one not sent yet."""
        kind, encoded = self._encode(body)
        put_meta(connection, "sequence", str(self._sequence))
        connection.execute("DELETE FROM spool WHERE replaces = ?", (replaces,))
        connection.execute(
            "INSERT INTO spool (kind, about, body, replaces) VALUES (?, ?, ?, ?)", (kind, about, encoded, replaces)
        )
        connection.execute("DELETE FROM spool WHERE id <= (SELECT max(id) FROM spool) - ?", (MOST,))

    def hold(self, about: str, body: Report | Result) -> None:
        """Send it from memory: there was no room to write it down."""
        kind, encoded = self._encode(body)
        self._held_id -= 1
        self._held.append(Entry(self._held_id, kind, about, msgspec.json.decode(encoded)))
        self.arrived.set()

    def put(self, about: str, body: Report | Result) -> None:
        try:
            self._database.write(lambda connection: self.insert(connection, about, body, None))
            self.arrived.set()
        except JournalFull:
            self.hold(about, body)

    def first(self) -> Entry | None:
        rows = self._database.read("SELECT * FROM spool WHERE id > ? ORDER BY id LIMIT 1", self._delivered)
        if rows:
            row = rows[0]
            return Entry(row["id"], row["kind"], row["about"], msgspec.json.decode(row["body"]))
        return self._held[0] if self._held else None

    def done(self, entry: Entry) -> None:
        if entry.id < 0:
            self._held.popleft()
            return
        # Also where the disk is too full to forget it: what comes after it is not held up.
        self._delivered = entry.id
        self._database.write(lambda connection: connection.execute("DELETE FROM spool WHERE id <= ?", (entry.id,)))

    def _encode(self, body: Report | Result) -> tuple[Literal["status", "result"], bytes]:
        """A report gets the next sequence: it grows for as long as the journal lives."""
        fields = {name: value for name, value in msgspec.to_builtins(body).items() if value is not None}
        if isinstance(body, Report):
            self._sequence += 1
            fields["sequence"] = self._sequence
            return "status", msgspec.json.encode(fields)
        return "result", msgspec.json.encode(fields)
