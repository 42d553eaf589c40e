"""Counts what a database charges for: the units that the engine itself accounts for each call, where botocore has it.

PynamoDB asks for them with every call. The engine's arithmetic is held against ours in tests/cost/test_cost.py.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from botocore.handlers import BUILTIN_HANDLERS

from tests.cost.use import Use

WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}


class Meter:
    """`use`: of the database, and of this process's processor time, while it was metered."""

    def __init__(self) -> None:
        self._charged: list[tuple[str, float]] | None = None
        self.use = Use()
        BUILTIN_HANDLERS.append(("after-call.dynamodb", self))

    def __call__(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if self._charged is not None:
            account = parsed.get("ConsumedCapacity") or []
            tables = account if isinstance(account, list) else [account]
            self._charged.append((model.name, sum(each["CapacityUnits"] for each in tables)))

    @contextlib.contextmanager
    def metered(self) -> Iterator[None]:
        self._charged, cpu = [], time.process_time()
        try:
            yield
        finally:
            cpu, charged = time.process_time() - cpu, self._charged
            self._charged = None
            writes = sum(units for operation, units in charged if operation in WRITES)
            reads = sum(units for operation, units in charged if operation not in WRITES)
            self.use = Use(writes, reads, calls=len(charged), cpu=cpu)


METER = Meter()
"""Botocore knows of it before it makes its first client."""
