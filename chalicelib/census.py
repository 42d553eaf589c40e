"""The whole fleet at once, for machines that look again and again: Prometheus, a gateway.

A scan reads a page of many items for what a batch charges for each, and may be a moment old, which halves that again.
What it costs grows with the fleet, and with nothing that piles up: the history of operations and events is not read.
"""

from __future__ import annotations

from chalicelib.fleet import Machine
from chalicelib.tables import Cold, Deployment, Hot, Operation, Queued, Slot


def workers() -> dict[str, Machine]:
    """Every worker by its id, in no order that means anything."""
    hots = {str(each.worker_id): each for each in Hot.scan(Hot.gone.does_not_exist())}
    colds = {str(each.worker_id): each for each in Cold.scan(Cold.part == "cold")}
    return {i: Machine(cold, hots[i]) for i, cold in sorted(colds.items()) if i in hots}


def deployments() -> list[Deployment]:
    """Every deployment, in the order in which they were made."""
    return sorted(Deployment.scan(Deployment.spec.exists()), key=lambda each: str(each.rank))


def open_operations() -> list[Operation]:
    """Those that wait in a worker's queue, where an operation is from being asked for until it ends."""
    queued = [row.operation_id for row in Queued.scan(Slot.slot.startswith("O#"))]
    return list(Operation.batch_get(queued)) if queued else []
