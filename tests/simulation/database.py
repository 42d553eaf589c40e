"""DynamoDB on its worse days: indexes and scans that lag, writes that are sent again, requests that are throttled.

- A global index, and a scan that is not consistent, may show what was a moment ago.
- botocore sends a request again if no answer came. If only the answer was lost, the write has been done, and its second
  attempt meets its own result: a condition on what was read no longer holds. Transactions carry a token against that.
- A table that is written too often refuses a request, also after botocore's last attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from tests.fixtures.dynamodb_expressions import Item
from tests.fixtures.memory_dynamodb import Key, MemoryDynamoDB, Request, Rows, Table, _error

LAG = 20.0
"""Seconds, and `WRITES` of a table, that a lagging read is behind at most."""
WRITES = 6
THROTTLED = ("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded")


class RecentTable(Table):
    """Knows its last writes, so that it can be read as it was before them."""

    def __init__(self, request: Request, now: Callable[[], float]) -> None:
        super().__init__(request)
        self._now = now
        self._recent: deque[tuple[float, Key, Item | None]] = deque(maxlen=WRITES)

    def put(self, key: Key, item: Item | None) -> None:
        self._recent.append((self._now(), key, self.get(key)))
        super().put(key, item)

    def forget(self) -> None:
        """Another database is here from now on."""
        self._recent.clear()

    def before(self, writes: int) -> dict[Any, Rows] | None:
        """Its rows before so many of the last writes; None where none is recent enough."""
        undone = [each for each in list(self._recent)[-writes:] if self._now() - each[0] <= LAG]
        if not undone:
            return None
        partitions = {hash_: dict(rows) for hash_, rows in self.partitions.items()}
        for _, key, item in reversed(undone):
            rows = partitions.setdefault(key[0], {})
            if item is None:
                rows.pop(key, None)
            else:
                rows[key] = item
        return partitions


class UnreliableDynamoDB(MemoryDynamoDB):
    """`strikes` says whether a fault happens; a seed sets it, `choose` (a range's size to a number), and `now`."""

    def __init__(self) -> None:
        super().__init__()
        self.calm()

    def calm(self) -> None:
        self.strikes: Callable[[str, float], bool] = lambda fault, chance: False
        self.choose: Callable[[int], int] = lambda size: 0
        self.now: Callable[[], float] = lambda: 0.0

    def restore(self, snapshot: dict[str, dict[Any, Rows]]) -> None:
        super().restore(snapshot)
        self._forget()

    def empty(self) -> None:
        super().empty()
        self._forget()

    def _forget(self) -> None:
        for table in self.tables.values():
            assert isinstance(table, RecentTable)
            table.forget()

    def _make_api_call(self, operation: str, request: Request) -> dict[str, Any]:
        if self.strikes("request throttled", 0.002):
            raise _error(THROTTLED[self.choose(len(THROTTLED))], operation)
        return super()._make_api_call(operation, request)

    def _CreateTable(self, request: Request) -> dict[str, Any]:
        self.tables[request["TableName"]] = RecentTable(request, lambda: self.now())
        return {}

    def _alone(self, operation: str, kind: str, request: Request) -> dict[str, Any]:
        answer = super()._alone(operation, kind, request)
        if self.strikes("write sent again", 0.005):
            return super()._alone(operation, kind, request)
        return answer

    def _Query(self, request: Request) -> dict[str, Any]:
        return self._as_read(request, "IndexName" in request, super()._Query)

    def _Scan(self, request: Request) -> dict[str, Any]:
        return self._as_read(request, not request.get("ConsistentRead"), super()._Scan)

    def _as_read(self, request: Request, may_lag: bool, read: Callable[[Request], dict[str, Any]]) -> dict[str, Any]:
        if not (may_lag and self.strikes("read lagged", 0.1)):
            return read(request)
        table = self.tables[request["TableName"]]
        assert isinstance(table, RecentTable)
        live, before = table.partitions, table.before(1 + self.choose(WRITES))
        table.partitions = before if before is not None else live
        try:
            return read(request)
        finally:
            table.partitions = live
