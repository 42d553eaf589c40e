"""Reports and results on their way out: in order for each deployment and operation, and still there after a restart.

What a smaller version of a report left out (shrink.py) stays behind as its *rest*: the whole report again, to be
delivered when the network takes it, unless the deployment has something newer to report by then.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, Literal

import msgspec

from muster.api.messages import Report, Result
from muster_agent.state.db import Database, JournalFull, put_meta

MAX_ENTRIES = 1000
"""Kept while the control plane is away, and as many again in memory where the disk is full."""
REST = "rest\n"
"""What `replaces` of a rest begins with, before the deployment's id."""

Kind = Literal["status", "result"]
Key = tuple[Kind, str]
"""What is in one order: the kind of an entry, and the deployment or operation that it is about."""


@dataclass(frozen=True)
class Head:
    """The next entry of its deployment or operation."""

    id: int
    kind: Kind
    about: str
    is_rest: bool = False

    @property
    def key(self) -> Key:
        return self.kind, self.about


@dataclass(frozen=True)
class Entry(Head):
    body: dict[str, Any] = field(default_factory=dict)


class Outbox:
    """`arrived` is set whenever there is something new to send. One thread sends; any thread adds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._numbering = Lock()
        self._sequence = int(database.meta("sequence") or 0)
        # What could not be journaled because the disk is full. It is said all the same, if the agent lives to say it.
        self._held: dict[int, Entry] = {}
        self._held_id = 0
        self._delivered: set[int] = set()
        self._tried: set[int] = set()
        self.arrived = Event()

    def insert(self, connection: sqlite3.Connection, about: str, body: Report | Result, replaces: str | None) -> None:
        """As part of a transaction; call `arrived.set()` after it. A later one of the same `replaces` takes the place
        of one not sent yet, and a report that of its deployment's rest."""
        kind, encoded = self._encode(body)
        put_meta(connection, "sequence", str(self._sequence))
        connection.execute("DELETE FROM spool WHERE replaces = ?", (replaces,))
        if kind == "status":
            connection.execute("DELETE FROM spool WHERE replaces = ?", (REST + about,))
        _add(connection, kind, about, encoded, replaces)
        _evict(connection)

    def hold(self, about: str, body: Report | Result) -> None:
        """Send it from memory: there was no room to write it down."""
        kind, encoded = self._encode(body)
        with self._numbering:
            self._held_id -= 1
            entry = Entry(self._held_id, kind, about, body=msgspec.json.decode(encoded))
            self._held = _bounded({**self._held, entry.id: entry})
        self.arrived.set()

    def take_back(self, about: str, generation: int) -> bool:
        """Drop what is held of a generation of a deployment. False when nothing is, or its delivery was tried."""
        with self._numbering:
            found = {
                id
                for id, entry in self._held.items()
                if entry.about == about and entry.body.get("generation") == generation
            }
            if not found or found & self._tried:
                return False
            self._held = {id: entry for id, entry in self._held.items() if id not in found}
        return True

    def holds(self, about: str) -> bool:
        """Whether anything of it is held in memory."""
        return any(entry.about == about for entry in self._held.values())

    def put(self, about: str, body: Report | Result) -> None:
        try:
            self._database.write(lambda connection: self.insert(connection, about, body, None))
            self.arrived.set()
        except JournalFull:
            self.hold(about, body)

    def heads(self) -> list[Head]:
        """The next entry of each deployment and operation, the oldest first. A rest comes after everything else."""
        found: dict[Key, Head] = {}
        journaled = self._database.read("SELECT id, kind, about, replaces FROM spool ORDER BY id")
        entries = [_head(row) for row in journaled if row["id"] not in self._delivered]
        for entry in [*entries, *self._held.values()]:
            if entry.key not in found or found[entry.key].is_rest:
                found[entry.key] = entry
        return sorted(found.values(), key=lambda entry: (entry.is_rest, entry.id < 0, abs(entry.id)))

    def load(self, head: Head) -> Entry | None:
        """The whole entry, for delivery; None when it was replaced or dropped meanwhile."""
        if head.id < 0:
            with self._numbering:
                self._tried.add(head.id)
                return self._held.get(head.id)
        rows = self._database.read("SELECT body FROM spool WHERE id = ?", head.id)
        if not rows:
            return None
        return Entry(head.id, head.kind, head.about, head.is_rest, msgspec.json.decode(rows[0]["body"]))

    def all(self) -> list[Entry]:
        """Everything that is journaled, the oldest first. Raises DecodeError, ValidationError."""
        rows = self._database.read("SELECT * FROM spool ORDER BY id")
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        return [Entry(row["id"], row["kind"], row["about"], _head(row).is_rest, decode(row["body"])) for row in rows]

    def first(self) -> Entry | None:
        heads = self.heads()
        return self.load(heads[0]) if heads else None

    def done(self, entry: Entry, rest: dict[str, Any] | None = None) -> None:
        """Forget an entry that was delivered or dropped. `rest` is the whole report, where a smaller version was
        delivered. Raises JournalFull, after which the entry is not sent again by this process."""
        if entry.id < 0:
            with self._numbering:
                self._held = {id: held for id, held in self._held.items() if id != entry.id}
                self._tried &= self._held.keys()
            return
        self._delivered.add(entry.id)

        def change(connection: sqlite3.Connection) -> None:
            for id in self._delivered:
                connection.execute("DELETE FROM spool WHERE id = ?", (id,))
            if rest is not None:
                self._keep_rest(connection, entry, rest)

        self._database.write(change)
        self._delivered.clear()

    def _keep_rest(self, connection: sqlite3.Connection, entry: Entry, rest: dict[str, Any]) -> None:
        newer = connection.execute("SELECT 1 FROM spool WHERE kind = ? AND about = ?", entry.key).fetchone()
        if newer or any(held.key == entry.key for held in self._held.values()):
            return
        with self._numbering:
            self._sequence += 1
            encoded = msgspec.json.encode(rest | {"sequence": self._sequence})
        put_meta(connection, "sequence", str(self._sequence))
        _add(connection, entry.kind, entry.about, encoded, REST + entry.about)

    def _encode(self, body: Report | Result) -> tuple[Kind, bytes]:
        """A report gets the next sequence: it grows for as long as the journal lives."""
        fields = {name: value for name, value in msgspec.to_builtins(body).items() if value is not None}
        if isinstance(body, Report):
            with self._numbering:
                self._sequence += 1
                fields["sequence"] = self._sequence
            return "status", msgspec.json.encode(fields)
        return "result", msgspec.json.encode(fields)


def _add(connection: sqlite3.Connection, kind: Kind, about: str, encoded: bytes, replaces: str | None) -> None:
    connection.execute(
        "INSERT INTO spool (kind, about, body, replaces) VALUES (?, ?, ?, ?)", (kind, about, encoded, replaces)
    )


def _evict(connection: sqlite3.Connection) -> None:
    """Keep MAX_ENTRIES. Rests go first, then the oldest of whatever has the most entries, so that no deployment's last
    report is pushed out by another's."""
    surplus = connection.execute("SELECT count(*) FROM spool").fetchone()[0] - MAX_ENTRIES
    if surplus > 0:
        connection.execute(
            "DELETE FROM spool WHERE id IN (SELECT id FROM (SELECT id, kind, substr(ifnull(replaces, ''), 1, 5) = ? AS"
            " is_rest, row_number() OVER (PARTITION BY kind, about ORDER BY id DESC) AS depth FROM spool)"
            " ORDER BY is_rest DESC, depth DESC, kind = 'status', id LIMIT ?)",
            (REST, surplus),
        )


def _bounded(held: dict[int, Entry]) -> dict[int, Entry]:
    """The same for what is held in memory."""
    if len(held) <= MAX_ENTRIES:
        return held
    most = Counter(entry.key for entry in held.values()).most_common(1)[0][0]
    oldest = next(entry.id for entry in held.values() if entry.key == most)
    return {id: entry for id, entry in held.items() if id != oldest}


def _head(row: sqlite3.Row) -> Head:
    return Head(row["id"], row["kind"], row["about"], (row["replaces"] or "").startswith(REST))
