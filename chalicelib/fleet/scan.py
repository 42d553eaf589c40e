"""The whole fleet at once, for placement and for readers that poll: Prometheus, a gateway.

A scan reads a page of many items for what a batch charges for each, and may be a moment old, which halves that again.
What it costs grows with the fleet, and with nothing that piles up: the history of operations and events is not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pynamodb.attributes import Attribute

from chalicelib.fleet.workers import HEARTBEAT_SHOWN, RECORD_SHOWN, Worker, is_online
from chalicelib.store.tables import Deployment, Operation, Queued, Slot, WorkerHeartbeat, WorkerRecord

HEARTBEAT_ATTRIBUTES = (
    WorkerHeartbeat.worker_id,
    WorkerHeartbeat.last_seen,
    WorkerHeartbeat.status,
    WorkerHeartbeat.interval,
    WorkerHeartbeat.down_since,
    WorkerHeartbeat.drains,
)
RECORD_ATTRIBUTES = (
    *(
        WorkerRecord.worker_id,
        WorkerRecord.part,
        WorkerRecord.name,
        WorkerRecord.gpu_info,
        WorkerRecord.labels,
        WorkerRecord.draining,
    ),
    *(WorkerRecord.claims, WorkerRecord.occupied, WorkerRecord.down, WorkerRecord.drains),
    *(WorkerRecord.open, WorkerRecord.room, WorkerRecord.free),
)


def workers() -> dict[str, Worker]:
    """Every worker by its id, in no order that means anything."""
    return _joined(
        WorkerHeartbeat.scan(WorkerHeartbeat.gone.does_not_exist()), WorkerRecord.scan(WorkerRecord.part == "cold")
    )


def shown_workers() -> dict[str, Worker]:
    """Every worker with what operators are shown of it."""
    records = WorkerRecord.scan(WorkerRecord.part == "cold", attributes_to_get=RECORD_SHOWN)
    return _joined(shown_heartbeats().values(), records)


def shown_heartbeats() -> dict[str, WorkerHeartbeat]:
    """Every worker's heartbeat by its id, with what operators are shown of it."""
    found = WorkerHeartbeat.scan(WorkerHeartbeat.gone.does_not_exist(), attributes_to_get=HEARTBEAT_SHOWN)
    return {str(heartbeat.worker_id): heartbeat for heartbeat in found}


def candidates(consistent: bool) -> dict[str, Worker]:
    """The same with no more than placement asks of them. `consistent`: as they are now, for twice as much."""
    heartbeats = WorkerHeartbeat.scan(
        WorkerHeartbeat.gone.does_not_exist(),
        consistent_read=consistent,
        attributes_to_get=_names(HEARTBEAT_ATTRIBUTES),
    )
    records = WorkerRecord.scan(
        WorkerRecord.part == "cold", consistent_read=consistent, attributes_to_get=_names(RECORD_ATTRIBUTES)
    )
    return _joined(heartbeats, records)


def online(now: float) -> set[str]:
    """The ids of the workers that are online, by the small table of heartbeats alone."""
    found = WorkerHeartbeat.scan(WorkerHeartbeat.gone.does_not_exist(), attributes_to_get=_names(HEARTBEAT_ATTRIBUTES))
    return {str(heartbeat.worker_id) for heartbeat in found if is_online(heartbeat, now)}


def _joined(heartbeats: Iterable[WorkerHeartbeat], records: Iterable[WorkerRecord]) -> dict[str, Worker]:
    by_id = {str(heartbeat.worker_id): heartbeat for heartbeat in heartbeats}
    return {i: Worker(record, by_id[i]) for record in records if (i := str(record.worker_id)) in by_id}


def _names(attributes: Iterable[Attribute[Any]]) -> list[str]:
    return [attribute.attr_name for attribute in attributes]


def joined_with(digest: bytes, segment: int, segments: int) -> list[WorkerHeartbeat]:
    """The workers of one segment that a registration token of this digest opens at this moment; no more than ids."""
    joined = WorkerHeartbeat.joined == digest
    names = _names((WorkerHeartbeat.worker_id,))
    return list(
        WorkerHeartbeat.scan(
            joined, segment=segment, total_segments=segments, consistent_read=True, attributes_to_get=names
        )
    )


def deployments() -> list[Deployment]:
    """Every deployment, in the order in which they were made."""
    return sorted(Deployment.scan(Deployment.spec.exists()), key=lambda deployment: str(deployment.rank))


def holding() -> Iterator[Slot]:
    """The slots that say that their deployment may use its GPUs, as they are now."""
    found: Iterator[Slot] = Slot.scan(Slot.slot.startswith("D#") & (Slot.holds_gpus == True), consistent_read=True)  # noqa: E712
    return found


def open_operations() -> list[Operation]:
    """Those that wait in a worker's queue, where an operation is from being asked for until it ends."""
    queued = [row.operation_id for row in Queued.scan(Slot.slot.startswith("O#"))]
    return list(Operation.batch_get(queued)) if queued else []
