"""DynamoDB inside this process: one operation at a time, in memory, and with a store on disk before it is answered."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import RLock

import msgspec

from infra.local.dynamodb import catalog, reads, writes
from infra.local.dynamodb.attributes import Item, size_of_item
from infra.local.dynamodb.client import Client
from infra.local.dynamodb.group_commit import Callback, GroupCommit, end_process
from infra.local.dynamodb.reads import Answer, Request
from infra.local.dynamodb.refusals import Refused
from infra.local.dynamodb.rows import Row, UnpackedRows
from infra.local.dynamodb.stored_items import decoded, encoded, key_text
from infra.local.dynamodb.table import Key, Table
from infra.local.dynamodb.writes import Change
from infra.local.store import Store

READS = {
    "GetItem": reads.get_item,
    "BatchGetItem": reads.batch_get_item,
    "TransactGetItems": reads.transact_get_items,
    "Query": reads.query,
    "Scan": reads.scan,
    "DescribeTable": catalog.describe_table,
    "ListTables": catalog.list_tables,
    "UpdateTimeToLive": catalog.update_time_to_live,
    "DescribeTimeToLive": catalog.describe_time_to_live,
}
WRITES = {
    "PutItem": writes.put_item,
    "UpdateItem": writes.update_item,
    "DeleteItem": writes.delete_item,
    "BatchWriteItem": writes.batch_write_item,
}
SAME_REQUEST = 600.0
"""Seconds in which a ClientRequestToken stands for the transaction that it was first used for."""
Snapshot = dict[str, dict[Key, Row]]


class Engine:
    """Thread-safe. Without a store it lives in memory alone.

    `client` takes the place of botocore's. `before` is called with each operation and its request, and may raise.
    A subclass may override `perform` and `new_table`.
    """

    def __init__(
        self,
        store: Store | None = None,
        end: Callable[[], None] = end_process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`end` is called when the disk can no longer be trusted."""
        self.tables: dict[str, Table] = {}
        self.lock = RLock()
        self.client = Client(self)
        self.before: Callable[[str, Request], object] | None = None
        self._store, self._clock = store, clock
        self._unpacked = UnpackedRows()
        self._tokens: dict[str, tuple[float, bytes, Answer]] = {}
        self.commits: GroupCommit[Change] | None = None
        if store is not None:
            self.commits = GroupCommit(self.lock, self._write, self._undo, end)

    def attach(self) -> None:
        """Let every PynamoDB model reach this engine from here on."""
        from chalicelib.store import tables  # not before the environment is set that it reads

        for model in tables.Item.__subclasses__():
            model._connection = None
        tables.connection()._client = self.client  # type: ignore[assignment]

    def perform(self, operation: str, request: Request) -> Answer:
        """The answer to one request; the caller holds the lock. Raises Refused, and then nothing was changed."""
        write = WRITES.get(operation)
        if write is not None:
            return write(self.tables, request, self.apply)
        read = READS.get(operation)
        if read is not None:
            return read(self.tables, request)
        if operation == "TransactWriteItems":
            return self._transact(request)
        if operation == "CreateTable":
            return catalog.create_table(self.tables, request, self._made)
        if operation == "DeleteTable":
            return self._delete_table(request)
        raise NotImplementedError(f"the embedded database does not know {operation}")

    def new_table(self, request: Request) -> Table:
        """An empty table. Raises Refused."""
        return Table(request)

    def apply(self, changes: list[Change]) -> None:
        """Make changes that were checked, all of them. The caller holds the lock."""
        for table, key, _, after in changes:
            table.put(key, after)
        if self.commits is not None and changes:
            self.commits.stage(changes)

    # Durability

    @property
    def sequence(self) -> int:
        """Of the last change that was made."""
        return self.commits.sequence if self.commits is not None else 0

    def when_durable(self, sequence: int, callback: Callback) -> None:
        """Call back once: with None when all changes up to `sequence` are on disk, or with the error if they failed.

        The calling thread or the committer's calls it. It must not block, and must not raise.
        """
        if self.commits is None:
            callback(None)
        else:
            self.commits.when_durable(sequence, callback)

    def flush(self) -> None:
        """Returns once everything that was done is on disk. Raises CommitFailed."""
        if self.commits is not None:
            self.commits.wait(self.commits.sequence)

    def close(self) -> None:
        """Write what is left, and end the thread that writes. The store stays open."""
        if self.commits is not None:
            self.commits.close()

    def _write(self, group: list[Change]) -> None:
        """The last state of each item of a group, in one transaction."""
        assert self._store is not None, "only an engine with a store commits"
        last = {(change.table.name, change.key): change for change in group}
        written = [(c, encoded(c.after.item) if c.after else None) for c in last.values()]
        self._store.apply([(c.table.name, key_text(c.table, c.key), stored) for c, stored in written])
        for change, stored in written:
            if change.after is not None and stored is not None:
                change.after.on_disk(stored, self._unpacked)

    def _undo(self, changes: Iterable[Change]) -> None:
        self._tokens.clear()
        for table, key, before, _ in changes:
            table.put(key, before)

    # Time to live

    def sweep(self, now: float) -> None:
        """Delete the items whose time to live has ended, as DynamoDB does in its own time. `now`: epoch seconds."""
        with self.lock:
            self.apply(
                [
                    Change(table, key, row, None)
                    for table in self.tables.values()
                    for key, row in table.expired(now).items()
                ]
            )
        self.flush()

    # All items at once

    def snapshot(self) -> Snapshot:
        """All items as they are now."""
        with self.lock:
            return {name: table.rows.copy() for name, table in self.tables.items()}

    def restore(self, snapshot: Snapshot) -> None:
        """Make all items those of a snapshot. Only of an engine that lives in memory."""
        assert self._store is None, "the store keeps what it has"
        with self.lock:
            for name, rows in snapshot.items():
                self.tables[name].load(rows.items())

    def empty(self) -> None:
        """Remove all items. Only of an engine that lives in memory."""
        assert self._store is None, "the store keeps what it has"
        with self.lock:
            for table in self.tables.values():
                table.load(())

    def stored(self, table_name: str) -> list[Item]:
        """All items of a table, as they are stored."""
        with self.lock:
            return [row.item for row in self.tables[table_name].rows.values()]

    # Operations that need more than the tables

    def _made(self, request: Request) -> Table:
        """A new table, with what is on disk."""
        table = self.new_table(request)
        if self._store is not None:
            with _no_collection():
                table.load(self._read(table))
        return table

    def _read(self, table: Table) -> Iterator[tuple[Key, Row]]:
        assert self._store is not None, "only an engine with a store reads one"
        for stored in self._store.items(table.name):
            item = decoded(stored)
            row = Row(item, size_of_item(item))
            row.on_disk(stored, self._unpacked)
            yield table.key_of_item(item), row

    def _delete_table(self, request: Request) -> Answer:
        described = catalog.describe_table(self.tables, request)["Table"]
        table = self.tables[request["TableName"]]
        self.apply([Change(table, key, row, None) for key, row in table.rows.items()])
        del self.tables[table.name]
        return {"TableDescription": described | {"TableStatus": "DELETING"}}

    def _transact(self, request: Request) -> Answer:
        """A transaction. Of two with the same token, the second gets the answer of the first, and does nothing."""
        token = request.get("ClientRequestToken")
        if token is None:
            return writes.transact_write_items(self.tables, request, self.apply)
        now, content = self._clock(), msgspec.json.encode(request["TransactItems"])
        self._tokens = {name: kept for name, kept in self._tokens.items() if now - kept[0] < SAME_REQUEST}
        if token in self._tokens:
            _, first, answer = self._tokens[token]
            if first != content:
                raise Refused(
                    "IdempotentParameterMismatchException",
                    "The request uses the same client token as a previous, but non-identical request.",
                )
            return answer
        answer = writes.transact_write_items(self.tables, request, self.apply)
        self._tokens[token] = (now, content, answer)
        return answer


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector, which would look at everything again for each few thousand items that are read.

    What was read is no cycle, and the collector leaves it alone afterwards too.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
