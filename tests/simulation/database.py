"""DynamoDB on its worse days: reads that lag, writes that are sent again, conflicts, throttling, and partial answers.

- Whatever is not read consistently may be what was a moment ago: a global index, a scan, a query, and an item.
- botocore sends a request again if no answer came. If only the answer was lost, the write has been done, and its second
  attempt meets its own result: a condition on what was read no longer holds. Transactions carry a token against that.
- A transaction is canceled where another one has its items just now, or where a table is written too often; a plain
  write that meets a transaction is refused. Nothing of it was done.
- A table that is written too often refuses a request, also after botocore's last attempt.
- A batch may be done in part, and names the rest. A page may end early, and then has a key to go on after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from botocore.exceptions import ClientError

from chalicelib.store import tables
from infra.local.dynamodb import Engine
from infra.local.dynamodb.attributes import Item
from infra.local.dynamodb.rows import Row
from infra.local.dynamodb.table import Key, Table
from tests.fixtures.dynamodb_peers import Answer, Client, Request, client_at

LAG = 20.0
"""Seconds, and `WRITES` of a table, that a lagging read is behind at most."""
WRITES = 6
THROTTLED = ("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded")
BATCH = 25


class RecentTable(Table):
    """Knows its last writes, so that it can be read as it was before them."""

    def __init__(self, request: Request, now: Callable[[], float]) -> None:
        super().__init__(request)
        self._now = now
        self._recent: deque[tuple[float, Key, Row | None]] = deque(maxlen=WRITES)

    def put(self, key: Key, row: Row | None) -> None:
        self._recent.append((self._now(), key, self.rows.get(key)))
        super().put(key, row)

    def load(self, rows: Iterable[tuple[Key, Row]]) -> None:
        """Another database is here from now on."""
        self._recent.clear()
        super().load(rows)

    @contextmanager
    def as_before(self, writes: int) -> Iterator[None]:
        """The rows inside are those before so many of the last writes, as far as those are recent enough."""
        undone = [each for each in list(self._recent)[-writes:] if self._now() - each[0] <= LAG]
        live = {key: self.rows.get(key) for _, key, _ in undone}
        for _, key, row in reversed(undone):
            super().put(key, row)
        try:
            yield
        finally:
            for key, row in live.items():
                super().put(key, row)


class Storage(Protocol):
    """What keeps the items: an engine in this process, or a database that listens somewhere."""

    client: Any

    def snapshot(self) -> Any: ...
    def restore(self, snapshot: Any) -> None: ...
    def empty(self) -> None: ...
    def stored(self, table_name: str) -> list[Item]: ...

    may_lag: bool
    """Whether it can be read `as_before`."""

    def as_before(self, table_name: str, writes: int) -> AbstractContextManager[None]: ...


class MemoryStorage(Engine):
    """The engine in memory, whose tables can be read as they were."""

    may_lag = True

    def __init__(self) -> None:
        super().__init__()
        self.now: Callable[[], float] = lambda: 0.0

    def as_before(self, table_name: str, writes: int) -> AbstractContextManager[None]:
        table = self.tables[table_name]
        assert isinstance(table, RecentTable)
        return table.as_before(writes)

    def new_table(self, request: Request) -> Table:
        return RecentTable(request, lambda: self.now())


class RemoteStorage:
    """A database that listens somewhere. Nothing else writes to it, and it never lags."""

    may_lag = False

    def __init__(self, url: str) -> None:
        self.client: Client = client_at(url)

    def snapshot(self) -> dict[str, list[Item]]:
        return {name: self.stored(name) for name in _key_names()}

    def restore(self, snapshot: dict[str, list[Item]]) -> None:
        self.empty()
        for name, items in snapshot.items():
            self._write(name, [{"PutRequest": {"Item": item}} for item in items])

    def empty(self) -> None:
        for name, keys in _key_names().items():
            found = self.stored(name)
            self._write(name, [{"DeleteRequest": {"Key": {key: item[key] for key in keys}}} for item in found])

    def stored(self, table_name: str) -> list[Item]:
        found: list[Item] = []
        request = {"TableName": table_name, "ConsistentRead": True}
        while True:
            page = self.client._make_api_call("Scan", request)
            found += page["Items"]
            if "LastEvaluatedKey" not in page:
                return found
            request = {**request, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def as_before(self, table_name: str, writes: int) -> AbstractContextManager[None]:
        return nullcontext()

    def _write(self, table_name: str, requests: list[Request]) -> None:
        for start in range(0, len(requests), BATCH):
            self.client._make_api_call(
                "BatchWriteItem", {"RequestItems": {table_name: requests[start : start + BATCH]}}
            )


def _key_names() -> dict[str, tuple[str, ...]]:
    """The key of each table; several models share one."""
    found = {}
    for model in tables.MODELS:
        range_key = model._range_key_attribute()
        names = [model._hash_key_attribute().attr_name, *([range_key.attr_name] if range_key else [])]
        found[model.Meta.table_name] = tuple(names)
    return found


class UnreliableDynamoDB:
    """In the place of botocore's client. `strikes` says whether a fault happens; a seed sets it.

    So does it set `choose` (a range's size to a number), `now`, and `before`, which receives every call and may raise.
    """

    _request_signer = None

    def __init__(self, storage: Storage | None = None) -> None:
        self.storage: Any = storage or MemoryStorage()
        self._ask: Callable[[str, Request], Answer] = self.storage.client._make_api_call
        self._tokens = 0
        self.calm()

    def calm(self) -> None:
        self.before: Callable[[str, Request], object] = lambda operation, request: None
        self.strikes: Callable[[str, float], bool] = lambda fault, chance: False
        self.choose: Callable[[int], int] = lambda size: 0
        self.at(lambda: 0.0)

    def at(self, now: Callable[[], float]) -> None:
        """Reads lag behind this clock."""
        self.storage.now = now

    def attach(self) -> None:
        """Every model reaches this database from here on."""
        for model in tables.Item.__subclasses__():
            model._connection = None
        tables.connection()._client = self  # type: ignore[assignment]

    def snapshot(self) -> Any:
        return self.storage.snapshot()

    def restore(self, snapshot: Any) -> None:
        self.storage.restore(snapshot)

    def items(self, model: type[tables.Item]) -> Iterable[Item]:
        """As they are stored, everything in the model's table."""
        found: list[Item] = self.storage.stored(model.Meta.table_name)
        return found

    def empty(self) -> None:
        self.storage.empty()

    def _make_api_call(self, operation: str, request: Request) -> Answer:
        self.before(operation, request)
        if self.strikes("request throttled", 0.002):
            raise _error(THROTTLED[self.choose(len(THROTTLED))], operation)
        match operation:
            case "PutItem" | "UpdateItem" | "DeleteItem":
                return self._write(operation, request)
            case "TransactWriteItems":
                return self._transact(request)
            case "BatchWriteItem":
                return self._write_batch(request)
            case "BatchGetItem":
                return self._read_batch(request)
            case "GetItem":
                return self._as_read(operation, request, request["TableName"], request)
            case "Query" | "Scan":
                return self._as_read(operation, self._cut(request), request["TableName"], request)
        return self._ask(operation, request)

    # Writes

    def _write(self, operation: str, request: Request) -> Answer:
        if self.strikes("write met a transaction", 0.002):
            raise _error("TransactionConflictException", operation)
        answer = self._ask(operation, request)
        if self.strikes("write sent again", 0.005):
            return self._ask(operation, request)
        return answer

    def _transact(self, request: Request) -> Answer:
        if self.strikes("transaction in conflict", 0.01):
            raise self._canceled("TransactionConflict", request)
        if self.strikes("transaction throttled", 0.003):
            raise self._canceled("ThrottlingError", request)
        if self.strikes("transaction sent again", 0.005):
            self._tokens += 1
            request = {**request, "ClientRequestToken": f"token {self._tokens}"}
            self._ask("TransactWriteItems", request)
        return self._ask("TransactWriteItems", request)

    def _canceled(self, reason: str, request: Request) -> ClientError:
        """One of the items is the cause; the others are not."""
        codes = ["None"] * len(request["TransactItems"])
        codes[self.choose(len(codes))] = reason
        reasons = [{"Code": code} for code in codes]
        return _error("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)

    def _write_batch(self, request: Request) -> Answer:
        ((table_name, wanted),) = request["RequestItems"].items()
        if len(wanted) < 2 or not self.strikes("writes left unprocessed", 0.03):
            return self._ask("BatchWriteItem", request)
        done = 1 + self.choose(len(wanted) - 1)
        answer = self._ask("BatchWriteItem", {**request, "RequestItems": {table_name: wanted[:done]}})
        return {**answer, "UnprocessedItems": {table_name: wanted[done:]}}

    # Reads

    def _as_read(self, operation: str, request: Request, table_name: str, asked: Request) -> Answer:
        """An answer that may lag, unless it was `asked` for consistently."""
        if asked.get("ConsistentRead") or not self.storage.may_lag:
            return self._ask(operation, request)
        if not self.strikes("read lagged" if operation in ("Query", "Scan") else "read of an item lagged", 0.1):
            return self._ask(operation, request)
        with self.storage.as_before(table_name, 1 + self.choose(WRITES)):
            return self._ask(operation, request)

    def _cut(self, request: Request) -> Request:
        """A page may end early, as it does after 1 MB."""
        if not self.strikes("page ended early", 0.03):
            return request
        return {**request, "Limit": min(1 + self.choose(3), request.get("Limit") or 3)}

    def _read_batch(self, request: Request) -> Answer:
        ((table_name, wanted),) = request["RequestItems"].items()
        keys = wanted["Keys"]
        if len(keys) < 2 or not self.strikes("reads left unprocessed", 0.03):
            return self._as_read("BatchGetItem", request, table_name, wanted)
        done = 1 + self.choose(len(keys) - 1)
        first = {**request, "RequestItems": {table_name: {**wanted, "Keys": keys[:done]}}}
        answer = self._as_read("BatchGetItem", first, table_name, wanted)
        return {**answer, "UnprocessedKeys": {table_name: {**wanted, "Keys": keys[done:]}}}


def _error(code: str, operation: str, **more: Any) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": code}, **more}
    return ClientError(response, operation)
