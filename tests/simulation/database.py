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

from chalicelib.store import tables
from infra.local.dynamodb import Engine
from infra.local.dynamodb.attributes import Item
from infra.local.dynamodb.refusals import Refused
from infra.local.dynamodb.table import Key, Row, Table

Request = dict[str, Any]
LAG = 20.0
"""Seconds, and `WRITES` of a table, that a lagging read is behind at most."""
WRITES = 6
THROTTLED = ("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded")
SENT_AGAIN = {"PutItem", "UpdateItem", "DeleteItem"}


class RecentTable(Table):
    """Knows its last writes, so that it can be read as it was before them."""

    def __init__(self, request: Request, now: Callable[[], float]) -> None:
        super().__init__(request)
        self._now = now
        self._recent: deque[tuple[float, Key, Row | None]] = deque(maxlen=WRITES)

    def put(self, key: Key, row: Row | None) -> None:
        self._recent.append((self._now(), key, self.rows.get(key)))
        super().put(key, row)

    def load(self, rows: dict[Key, Row]) -> None:
        """Another database is here from now on."""
        self._recent.clear()
        super().load(rows)

    def before(self, writes: int) -> Table | None:
        """The table before so many of the last writes; None where none is recent enough."""
        undone = [entry for entry in list(self._recent)[-writes:] if self._now() - entry[0] <= LAG]
        if not undone:
            return None
        older = self.copy()
        for _, key, row in reversed(undone):
            older.put(key, row)
        return older


class UnreliableDynamoDB(Engine):
    """`strikes` says whether a fault happens; a seed sets it, `choose` (a range's size to a number), and `now`."""

    def __init__(self) -> None:
        super().__init__()
        self.calm()

    def calm(self) -> None:
        self.strikes: Callable[[str, float], bool] = lambda fault, chance: False
        self.choose: Callable[[int], int] = lambda size: 0
        self.now: Callable[[], float] = lambda: 0.0

    def items(self, model: type[tables.Item]) -> list[Item]:
        """As they are stored, everything in the model's table."""
        return self.stored(model.Meta.table_name)

    def new_table(self, request: Request) -> Table:
        return RecentTable(request, lambda: self.now())

    def perform(self, operation: str, request: Request) -> dict[str, Any]:
        if self.strikes("request throttled", 0.002):
            raise Refused(THROTTLED[self.choose(len(THROTTLED))], "slow down")
        if _may_lag(operation, request) and self.strikes("read lagged", 0.1):
            return self._read_late(operation, request)
        answer = super().perform(operation, request)
        if operation in SENT_AGAIN and self.strikes("write sent again", 0.005):
            return super().perform(operation, request)
        return answer

    def _read_late(self, operation: str, request: Request) -> dict[str, Any]:
        name = request["TableName"]
        live = self.tables[name]
        assert isinstance(live, RecentTable)
        self.tables[name] = live.before(1 + self.choose(WRITES)) or live
        try:
            return super().perform(operation, request)
        finally:
            self.tables[name] = live


def _may_lag(operation: str, request: Request) -> bool:
    if operation == "Query":
        return "IndexName" in request
    return operation == "Scan" and not request.get("ConsistentRead")
