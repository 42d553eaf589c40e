"""Operations that were accepted, and their results: what makes each run once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import msgspec

from muster.api.messages import (
    ContainerLogs,
    DeleteImage,
    DeleteModel,
    DiskUsage,
    ListContainers,
    ListImages,
    ListModels,
    OperationCommand,
    Prune,
    Result,
)
from muster_agent.state.db import Database, JournalFull
from muster_agent.state.outbox import Outbox

MAX_KEPT_RESULTS = 500
"""Results kept to answer a repeat with."""
_READS = (ListImages, ListContainers, ListModels, ContainerLogs, DiskUsage)


def only_looks(command: OperationCommand) -> bool:
    """It changes nothing, so it may run twice."""
    return isinstance(command, _READS) or (isinstance(command, Prune) and command.dry_run)


def frees_space(command: OperationCommand) -> bool:
    return isinstance(command, Prune | DeleteImage | DeleteModel) and not only_looks(command)


@dataclass(frozen=True)
class Accepted:
    """`deadline` in seconds of CLOCK_BOOTTIME, in the boot `OperationsTable.boot_id`; `result` once there is one."""

    command: OperationCommand
    deadline: float
    begun: bool
    result: Result | None


class OperationsTable:
    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox
        self._unwritten: set[str] = set()

    def accept(self, command: OperationCommand, deadline: float) -> Accepted | None:
        """Journal a new one and return None, or return the one that is there. Raises JournalFull.

        What looks at a full host, or frees it, is taken even where nothing can be written any more: nothing else would
        help, and what is gone can be removed twice. An operation that was journaled before is returned then, too.
        """
        if command.command_id in self._unwritten:
            return Accepted(command, deadline, begun=True, result=None)

        def change(connection: sqlite3.Connection) -> Accepted | None:
            row = connection.execute("SELECT * FROM operations WHERE command_id = ?", (command.command_id,)).fetchone()
            if row:
                return _accepted(row)
            connection.execute(
                "INSERT INTO operations (command_id, command, deadline) VALUES (?, ?, ?)",
                (command.command_id, msgspec.json.encode(command), deadline),
            )
            connection.execute(
                "DELETE FROM operations WHERE result IS NOT NULL AND rowid <= (SELECT max(rowid) FROM operations) - ?",
                (MAX_KEPT_RESULTS,),
            )
            return None

        try:
            return self._database.write(change, urgent=frees_space(command))
        except JournalFull:  # a read-only disk begins no transaction, even where there is nothing to write
            if (known := self._known(command.command_id)) is not None:
                return known
            if not only_looks(command) and not frees_space(command):
                raise
            self._unwritten.add(command.command_id)
            return None

    def _known(self, command_id: str) -> Accepted | None:
        rows = self._database.read("SELECT * FROM operations WHERE command_id = ?", command_id)
        return _accepted(rows[0]) if rows else None

    def begin(self, command_id: str) -> None:
        """From here on it counts as run, whatever becomes of it. Raises JournalFull."""
        if command_id in self._unwritten:
            return
        statement = "UPDATE operations SET begun = 1 WHERE command_id = ?"
        self._database.write(lambda connection: connection.execute(statement, (command_id,)), urgent=True)

    def finish(self, command_id: str, result: Result) -> None:
        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE operations SET result = ? WHERE command_id = ?", (msgspec.json.encode(result), command_id)
            )
            self._outbox.insert(connection, command_id, result, command_id)

        try:
            self._database.write(change)
        except JournalFull:
            self._outbox.hold(command_id, result)
        self._outbox.arrived.set()

    def progress(self, command_id: str, result: Result) -> None:
        """A result that is none yet; a later one, or the result itself, takes its place."""

        def change(connection: sqlite3.Connection) -> None:
            self._outbox.insert(connection, command_id, result, command_id)

        try:
            self._database.write(change)
        except JournalFull:
            return
        self._outbox.arrived.set()

    @property
    def boot_id(self) -> str | None:
        """The boot of the host that the deadlines count from; None for an older agent's, which were epoch seconds."""
        return self._database.meta("deadlines_boot")

    def begin_boot(self, boot_id: str) -> None:
        """From here on, accepted deadlines are of this boot. What is open from another one must be answered before."""
        with suppress(JournalFull):  # the next start then takes them for another boot's, and runs none
            self._database.set_meta(deadlines_boot=boot_id)

    def all(self) -> list[Accepted]:
        return [_accepted(row) for row in self._database.read("SELECT * FROM operations ORDER BY rowid")]

    def unfinished(self) -> list[Accepted]:
        rows = self._database.read("SELECT * FROM operations WHERE result IS NULL ORDER BY rowid")
        return [_accepted(row) for row in rows]

    def add_pulled(self, image_id: str) -> None:
        """Remember that this agent pulled it, so that it may prune it. Raises JournalFull."""
        self._database.write(
            lambda connection: connection.execute("INSERT OR IGNORE INTO pulled VALUES (?)", (image_id,)), urgent=True
        )

    @contextmanager
    def room(self) -> Iterator[None]:
        """While the caller frees space: on a full disk even Docker needs some to forget an image."""
        self._database.give_up_reserve()
        try:
            yield
        finally:
            self._database.restore_reserve()

    def pulled(self) -> frozenset[str]:
        return frozenset(row["image_id"] for row in self._database.read("SELECT image_id FROM pulled"))


def _accepted(row: sqlite3.Row) -> Accepted:
    return Accepted(
        command=msgspec.json.decode(row["command"], type=OperationCommand),
        deadline=row["deadline"],
        begun=bool(row["begun"]),
        result=msgspec.json.decode(row["result"], type=Result) if row["result"] else None,
    )
