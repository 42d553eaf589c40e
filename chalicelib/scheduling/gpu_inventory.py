"""The GPUs of a worker as its heartbeats report them, and the timeline's line about each change."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from chalicelib.fleet import capacity, workers
from chalicelib.scheduling import scheduler
from chalicelib.store import events
from chalicelib.store.items import find, retrying, transact
from chalicelib.store.tables import WorkerRecord
from muster.api import messages as m


def follow(worker_id: str, info: m.GpuInfo | None, occupied: workers.Claims, now: float) -> bool:
    """Store a heartbeat's GPUs: the inventory, if it has one, and the unknown instances that use them.

    Records the changes, places what waits, and returns whether anything changed; without a change it costs one read.
    Raises TransactionConflict if others keep writing the item: the worker then repeats its report.
    """

    def attempt() -> WorkerRecord | None:
        record = find(WorkerRecord, worker_id, "cold")
        if record is None:
            return None
        news = dict(_changes(record, info, occupied))
        if not news:
            return None
        actions = capacity.changed(record, **news)
        transact(lambda write: write.update(record, actions=actions, condition=capacity.unchanged(record)))
        return record

    before: WorkerRecord | None = retrying(attempt)
    if before is None:
        return False
    if info is not None:
        about = events.About(worker_id=worker_id, worker_name=str(before.name))
        record(about, _decoded(before.gpu_info), info, now)
    scheduler.place_waiting(now, on=worker_id)
    return True


def _changes(
    record: WorkerRecord, info: m.GpuInfo | None, occupied: workers.Claims
) -> Iterator[tuple[str, str | None]]:
    """The names and the new values of the record's attributes that change."""
    if info is not None and _decoded(record.gpu_info) != info:
        yield "gpu_info", msgspec.json.encode(info).decode()
    if workers.read_occupied(record) != occupied:
        yield "occupied", workers.write_claims(occupied) if occupied else None


def occupied(body: m.Heartbeat, known: Collection[str]) -> workers.Claims:
    """Device index to an instance that uses it and is none of the `known`, the deployments with a slot on the worker.

    An instance whose devices the client does not report may use any of them.
    """
    told = {orphan.deployment_id: orphan.gpus for orphan in body.orphans or []}
    found: workers.Claims = {}
    # An orphan stays one, even if a deployment with its id was placed on this worker meanwhile.
    for deployment_id in sorted({*body.active_deployments}.difference(known) | told.keys()):
        for index in [workers.ANY_DEVICE] if (gpus := told.get(deployment_id)) is None else map(str, gpus):
            found.setdefault(index, deployment_id)
    return found


def _decoded(text: str) -> m.GpuInfo:
    return msgspec.json.decode(text, type=m.GpuInfo)


def record(about: events.About, before: m.GpuInfo, now_there: m.GpuInfo, now: float) -> None:
    """Record one line of the worker's timeline if a device was added, removed, lost, found again, or replaced."""
    changes = "; ".join(changed(before, now_there))
    if changes:
        events.record(about, "gpus_changed", changes, f"worker {about.worker_name}", now)


def changed(before: m.GpuInfo, after: m.GpuInfo) -> Iterator[str]:
    """The differences, one clause for each index. A device's new name or driver version is not a change."""
    was, is_ = ({device.index: device for device in info.devices} for info in (before, after))
    if not was and not is_ and before.count != after.count:
        yield f"{after.count} GPUs, {before.count} before"
    for index in sorted(was.keys() | is_.keys()):
        old, new = was.get(index), is_.get(index)
        if new is None:
            yield f"GPU {index}{_named(old)} is gone"
        elif old is None:
            yield f"GPU {index}{_named(new)} is {'lost' if new.lost else 'there'}"
        elif new.lost != old.lost:
            yield f"GPU {index}{_named(new)} is {'lost' if new.lost else 'back'}"
        elif new.uuid and old.uuid and new.uuid != old.uuid:
            yield f"GPU {index} is {new.uuid} now, in place of {old.uuid}"


def _named(device: m.GpuDevice | None) -> str:
    return f" ({device.uuid})" if device is not None and device.uuid else ""
