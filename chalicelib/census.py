"""The whole fleet at once, for machines that look again and again: Prometheus, a gateway.

A scan reads a page of many items for what a batch charges for each, and may be a moment old, which halves that again.
What it costs grows with the fleet, and with nothing that piles up: the history of operations and events is not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib.fleet import Machine
from chalicelib.tables import Cold, Deployment, Hot, Operation, Queued, Slot


def workers() -> dict[str, Machine]:
    """Every worker by its id."""
    colds: dict[str, Cold] = {}
    hots: dict[str, Hot] = {}
    for item in _scan(Cold):
        part, worker_id = item["part"]["S"], item["worker_id"]["S"]
        if part == "cold":
            colds[worker_id] = Cold.from_raw_data(item)
        elif part == "hot":
            hots[worker_id] = Hot.from_raw_data(item)
    return {i: Machine(cold, hots[i]) for i, cold in sorted(colds.items()) if i in hots}


def _scan(model: type[Cold]) -> Iterator[dict[str, dict[str, str]]]:
    """Items as they are, of all the models of a table."""
    start = None
    while True:
        page = model._get_connection().scan(exclusive_start_key=start)
        yield from page["Items"]
        start = page.get("LastEvaluatedKey")
        if not start:
            return


def deployments() -> list[Deployment]:
    """Every deployment, in the order in which they were made."""
    return sorted(Deployment.scan(Deployment.spec.exists()), key=lambda each: str(each.rank))


def open_operations() -> list[Operation]:
    """Those that wait in a worker's queue, where an operation is from being asked for until it ends."""
    queued = [row.operation_id for row in Queued.scan(Slot.slot.startswith("O#"))]
    return list(Operation.batch_get(queued)) if queued else []
