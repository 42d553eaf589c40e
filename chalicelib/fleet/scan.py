"""The whole fleet at once, for placement and for machines that look again and again: Prometheus, a gateway.

A scan reads a page of many items for what a batch charges for each, and may be a moment old, which halves that again.
What it costs grows with the fleet, and with nothing that piles up: the history of operations and events is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pynamodb.attributes import Attribute

from chalicelib.fleet.workers import Machine
from chalicelib.store.tables import Cold, Deployment, Hot, Operation, Queued, Slot

HOT = (Hot.worker_id, Hot.last_seen, Hot.status, Hot.interval)
COLD = (
    *(Cold.worker_id, Cold.part, Cold.name, Cold.gpu_info, Cold.labels, Cold.draining),
    *(Cold.claims, Cold.occupied),
)


def workers() -> dict[str, Machine]:
    """Every worker by its id, in no order that means anything."""
    return _joined(Hot.scan(Hot.gone.does_not_exist()), Cold.scan(Cold.part == "cold"))


def candidates(consistent: bool) -> dict[str, Machine]:
    """The same with no more than placement asks of them. `consistent`: as they are now, for twice as much."""
    hots = Hot.scan(Hot.gone.does_not_exist(), consistent_read=consistent, attributes_to_get=_names(HOT))
    colds = Cold.scan(Cold.part == "cold", consistent_read=consistent, attributes_to_get=_names(COLD))
    return _joined(hots, colds)


def _joined(hots: Iterable[Hot], colds: Iterable[Cold]) -> dict[str, Machine]:
    by_id = {str(each.worker_id): each for each in hots}
    return {i: Machine(cold, by_id[i]) for cold in colds if (i := str(cold.worker_id)) in by_id}


def _names(attributes: Iterable[Attribute[Any]]) -> list[str]:
    return [each.attr_name for each in attributes]


def joined_with(digest: bytes, segment: int, segments: int) -> list[Hot]:
    """The workers of one segment that a registration token of this digest opens at this moment; no more than ids."""
    joined = Hot.joined == digest
    names = _names((Hot.worker_id,))
    return list(
        Hot.scan(joined, segment=segment, total_segments=segments, consistent_read=True, attributes_to_get=names)
    )


def deployments() -> list[Deployment]:
    """Every deployment, in the order in which they were made."""
    return sorted(Deployment.scan(Deployment.spec.exists()), key=lambda each: str(each.rank))


def holding() -> Iterator[Slot]:
    """The slots that say that their deployment may use its GPUs, as they are now."""
    found: Iterator[Slot] = Slot.scan(Slot.slot.startswith("D#") & (Slot.holds == True), consistent_read=True)  # noqa: E712
    return found


def open_operations() -> list[Operation]:
    """Those that wait in a worker's queue, where an operation is from being asked for until it ends."""
    queued = [row.operation_id for row in Queued.scan(Slot.slot.startswith("O#"))]
    return list(Operation.batch_get(queued)) if queued else []
