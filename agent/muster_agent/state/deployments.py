"""What is journaled of each deployment: the latest intent, and how far the agent is with it."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

import msgspec

from muster.api.lifecycle import Status
from muster.api.messages import Deploy, Intent, Report, Stop
from muster_agent.state.db import Database, JournalFull, put_meta
from muster_agent.state.outbox import Outbox


class Receipt(Enum):
    """What an intent that arrived is to what is journaled."""

    NEW = "new"
    REPEATED = "repeated"
    STALE = "stale"


class Crashes(msgspec.Struct, frozen=True):
    """Failures in a row, as the journal keeps them; `times` counts the last ones, which had the same cause.

    `next_start` is in seconds of CLOCK_MONOTONIC, in the boot `boot_id`; `wait` are the seconds from the last failure
    until then.
    """

    in_a_row: int
    error_code: str
    times: int
    wait: float
    next_start: float
    boot_id: str


@dataclass(frozen=True)
class Record:
    """`container_id` is the instance that is expected to be there, `report` the last one made of this generation;
    `attempts` counts actions that began and did not end, `crashes` the failures in a row."""

    command: Deploy | Stop
    status: Status | None = None
    container_id: str | None = None
    port: int | None = None
    restarts: int = 0
    attempts: int = 0
    report: Report | None = None
    crashes: Crashes | None = None

    @property
    def deployment_id(self) -> str:
        return self.command.deployment_id

    @property
    def at_rest(self) -> bool:
        """Whether this generation came to its end: nothing is started for it any more."""
        return self.status in (Status.STOPPED, Status.ERROR)


class _Kept(Report):
    """A report as the journal keeps it. The crashes are beside it, and in no column of their own: a journal of an older
    agent, also one on a disk that cannot be written, needs no upgrade, and an older agent reads this one."""

    crashes: Crashes | None = None


class DeploymentsTable:
    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    def accept(self, command: Deploy | Stop) -> Receipt:
        """Journal an intent unless what is there is as new. Raises JournalFull."""

        def change(connection: sqlite3.Connection) -> Receipt:
            row = connection.execute(
                "SELECT generation FROM deployments WHERE deployment_id = ?", (command.deployment_id,)
            ).fetchone()
            if row and row["generation"] >= command.generation:
                return Receipt.REPEATED if row["generation"] == command.generation else Receipt.STALE
            # The container that is there, if any, is of an older intent: nobody will call its end a crash.
            connection.execute(
                "INSERT OR REPLACE INTO deployments (deployment_id, generation, command, port)"
                " VALUES (?, ?, ?, (SELECT port FROM deployments WHERE deployment_id = ?))",
                (command.deployment_id, command.generation, msgspec.json.encode(command), command.deployment_id),
            )
            return Receipt.NEW

        return self._database.write(change, urgent=isinstance(command, Stop))

    def get(self, deployment_id: str) -> Record | None:
        rows = self._database.read("SELECT * FROM deployments WHERE deployment_id = ?", deployment_id)
        return _record(rows[0]) if rows else None

    def all(self) -> list[Record]:
        return [_record(row) for row in self._database.read("SELECT * FROM deployments ORDER BY deployment_id")]

    def save(self, record: Record, report: Report | None = None) -> None:
        """Journal how far it is, and `report` for the spool with it. Only reports that say no more than how far a
        download is take each other's place."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE deployments SET status = ?, container_id = ?, port = ?, restarts = ?, attempts = ?, report = ?"
                " WHERE deployment_id = ? AND generation = ?",
                (
                    record.status,
                    record.container_id,
                    record.port,
                    record.restarts,
                    record.attempts,
                    _encoded(record),
                    record.deployment_id,
                    record.command.generation,
                ),
            )
            if report is not None:
                # How far it is, and no more.
                passing = report.progress is not None and report.error_code is None
                replaces = f"{record.deployment_id} {record.command.generation} {report.status}" if passing else None
                self._outbox.insert(connection, record.deployment_id, report, replaces)

        try:
            self._database.write(change, urgent=isinstance(record.command, Stop))
        except JournalFull:
            # The work goes on from the actor's memory; after a restart it is found again from the instances' labels.
            if report is not None:
                self._outbox.hold(record.deployment_id, report)
        if report is not None:
            self._outbox.arrived.set()

    def begin_run(self, host_run: str) -> None:
        """After the host started anew, that instances are gone is no crash, and no command's fault.

        A daemon that is down ran in the last run, and is not seen in this one: whether its containers ended with it is
        not known before it is back. An agent that does not start cannot be asked to free the disk: the reserve is for
        this too.
        """
        last = self._database.meta("host_run") or ""
        if last.startswith(f"{host_run}:"):
            return

        def change(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE deployments SET container_id = NULL, attempts = 0")
            put_meta(connection, "host_run", host_run)

        if last != host_run:
            with suppress(JournalFull):  # what is gone then counts as crashed once, which restarts it as well
                self._database.write(change, urgent=True)

    def forgive(self) -> None:
        """The agent ends because it was asked to: no command is to blame."""
        self._database.write(lambda connection: connection.execute("UPDATE deployments SET attempts = 0"))

    def clear(self) -> None:
        """Another worker's deployments are none of ours."""

        def change(connection: sqlite3.Connection) -> None:
            for table in ("deployments", "operations", "spool"):
                connection.execute(f"DELETE FROM {table}")

        self._database.write(change)


def _encoded(record: Record) -> bytes:
    if record.report is None:
        return msgspec.json.encode(None)
    return msgspec.json.encode(_Kept(**msgspec.structs.asdict(record.report), crashes=record.crashes))


def _record(row: sqlite3.Row) -> Record:
    kept = msgspec.json.decode(row["report"], type=_Kept | None) if row["report"] else None
    return Record(
        command=msgspec.json.decode(row["command"], type=Intent),
        status=Status(row["status"]) if row["status"] else None,
        container_id=row["container_id"],
        port=row["port"],
        restarts=row["restarts"],
        attempts=row["attempts"],
        report=Report(**{name: getattr(kept, name) for name in Report.__struct_fields__}) if kept else None,
        crashes=kept.crashes if kept else None,
    )
