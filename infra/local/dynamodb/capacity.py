"""The capacity units that DynamoDB would charge for a request."""

from __future__ import annotations

from typing import Any

from infra.local.dynamodb.rows import Row
from infra.local.dynamodb.table import Table

READ_BYTES, WRITE_BYTES = 4096, 1024
"""Bytes that one unit pays for."""
Units = dict[str, float]
"""Units by the index that they were used for, "" for the table itself."""


def read_units(size: int, is_consistent: bool) -> float:
    """Units of a read of so many bytes, and at least that of the smallest."""
    units = max(1, -(-size // READ_BYTES))
    return float(units) if is_consistent else units / 2


def write_units(table: Table, before: Row | None, after: Row | None) -> Units:
    """Units of a write that makes of a row another one."""
    size = max(before.size if before else 0, after.size if after else 0)
    units: Units = {"": float(max(1, -(-size // WRITE_BYTES)))}
    for index in table.indexes.values():
        if sizes := index.written(before, after):
            units[index.name] = float(sum(max(1, -(-size // WRITE_BYTES)) for size in sizes))
    return units


def report(request: dict[str, Any], table: str, units: Units, factor: int = 1) -> dict[str, Any] | None:
    """The ConsumedCapacity of an answer; None if the request does not want it."""
    wanted = request.get("ReturnConsumedCapacity")
    if wanted is None or wanted == "NONE":
        return None
    account: dict[str, Any] = {"TableName": table, "CapacityUnits": sum(units.values()) * factor}
    if wanted == "INDEXES":
        account["Table"] = {"CapacityUnits": units.get("", 0.0) * factor}
        indexes = {name: {"CapacityUnits": used * factor} for name, used in units.items() if name}
        if indexes:
            account["GlobalSecondaryIndexes"] = indexes
    return account


def add(total: Units, units: Units) -> None:
    for name, used in units.items():
        total[name] = total.get(name, 0.0) + used
