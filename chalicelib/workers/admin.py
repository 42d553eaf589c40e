"""What operators do with workers: look, label, drain, declare lost, remove."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Iterator

import msgspec
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from chalicelib.auth.tokens import Principal
from chalicelib.deployments import losses, publication
from chalicelib.fleet import address_claims, capacity, conditions, workers
from chalicelib.fleet.workers import Worker
from chalicelib.scheduling import scheduler
from chalicelib.store import events, paging, slots
from chalicelib.store.items import TransactionConflict, find, find_all, retrying, transact, update_if
from chalicelib.store.tables import (
    Conditions,
    Deployment,
    Provisional,
    Refusals,
    Slot,
    WorkerHeartbeat,
    WorkerName,
    WorkerRecord,
    WorkerReport,
)
from chalicelib.store.times import when
from chalicelib.workers.registration import name_key
from muster.api import messages as m
from muster.api import resources as r
from muster.api import usage as usage_figures
from muster.api.errors import ApiError
from muster.api.lifecycle import LIVE
from muster.api.resolving import Resolve, resolve

MAX_REPORT_AGE_SECONDS = 300.0


def get(worker_id: str, now: float) -> r.Worker:
    """One worker as operators see it. Raises WORKER_NOT_FOUND."""
    worker = workers.get(worker_id)
    return view(worker, find(WorkerReport, worker_id, "seen"), _held({worker_id: worker}, now)[worker_id], now)


def list_(query: r.PageQuery, now: float) -> r.Workers:
    """A page of workers, by name."""
    records, next_token = paging.page(WorkerRecord, "worker", query, attributes=workers.RECORD_SHOWN)
    workers_by_id = workers.with_heartbeats(records, workers.HEARTBEAT_SHOWN)
    seen = {str(report.worker_id): report for report in _reports(workers_by_id)}
    held = _held(workers_by_id, now)
    found = [view(worker, seen.get(i), held[i], now) for i, worker in workers_by_id.items()]
    return r.Workers(found, next_token)


def _reports(worker_ids: Iterable[str]) -> Iterator[WorkerReport]:
    """What `view` shows of reports. They may be a moment old, which halves the price: no operator changes them."""
    shown = workers.stored_names(WorkerReport.worker_id, WorkerReport.part, WorkerReport.orphans, WorkerReport.paths)
    keys = [(worker_id, "seen") for worker_id in worker_ids]
    return iter(WorkerReport.batch_get(keys, consistent_read=False, attributes_to_get=shown)) if keys else iter(())


def _held(workers_by_id: dict[str, Worker], now: float) -> dict[str, list[conditions.Held]]:
    """The conditions of each worker: those that are stored, and what follows from the addresses of others."""
    conflicts = publication.conflicts(workers_by_id, now)
    reported = conditions.of(workers_by_id.values())
    return {worker_id: conditions.merged(held, conflicts.get(worker_id)) for worker_id, held in reported.items()}


def view(worker: Worker, seen: WorkerReport | None, held: list[conditions.Held], now: float) -> r.Worker:
    """The worker as the API shows it. `seen` is its last report in full; `held` are its conditions."""
    record, heartbeat = worker.record, worker.heartbeat
    disk, usage = usage_figures.unpack(bytes(heartbeat.usage) if heartbeat.usage else None)
    if disk:
        disk.as_of = _rfc3339(heartbeat.last_seen)
        disk.paths = _paths(seen)
    status = "offline" if not worker.online(now) else "draining" if worker.draining() else "online"
    return r.Worker(
        worker_id=worker.worker_id,
        name=record.name,
        status=status,  # type: ignore[arg-type]
        last_seen=when(heartbeat.last_seen),
        registered_at=when(record.registered_at),
        labels=worker.labels,
        draining=worker.draining(),
        address=record.address,
        address_pinned=address_claims.is_pinned(record),
        gpu_info=worker.gpu_info,
        gpu_usage=usage,
        gpu_claims=worker.claims,
        system_info=msgspec.json.decode(record.system_info, type=m.SystemInfo),
        agent_version=record.agent_version,
        session=int(heartbeat.session),
        disk=disk,
        orphans=msgspec.json.decode(seen.orphans, type=list[str]) if seen and seen.orphans else [],
        next_heartbeat_in=workers.interval(heartbeat.activity_at, now),
        due_in=None if status == "offline" else workers.due_in(heartbeat, now),
        ephemeral=record.ephemeral,
        conditions=conditions.views(held),
    )


def last_images(worker_id: str, now: float) -> m.Images | None:
    """The images that the worker last listed, if that was under 5 minutes ago."""
    seen = find(WorkerReport, worker_id, "seen")
    if not seen or not seen.images or not seen.images_at or now - seen.images_at > MAX_REPORT_AGE_SECONDS:
        return None
    images = msgspec.json.decode(zlib.decompress(bytes(seen.images)), type=list[m.Image])
    return m.Images(images, _rfc3339(seen.images_at))


def last_disk(worker: Worker, now: float) -> m.Disk | None:
    """The disk usage of the worker's last heartbeat, if that was under 5 minutes ago."""
    disk, _ = usage_figures.unpack(bytes(worker.heartbeat.usage) if worker.heartbeat.usage else None)
    if disk is None or now - worker.heartbeat.last_seen > MAX_REPORT_AGE_SECONDS:
        return None
    disk.as_of = _rfc3339(worker.heartbeat.last_seen)
    disk.paths = _paths(find(WorkerReport, worker.worker_id, "seen"))
    return disk


def _paths(seen: WorkerReport | None) -> list[m.DiskPath] | None:
    return msgspec.json.decode(seen.paths, type=list[m.DiskPath]) if seen and seen.paths else None


def _rfc3339(epoch: float) -> str:
    return when(epoch).isoformat().replace("+00:00", "Z")


def patch(worker_id: str, body: r.WorkerPatch, by: Principal, now: float, resolve: Resolve = resolve) -> r.Worker:
    """Raises INVALID_REQUEST for an address whose endpoints would never be shown."""
    if body.address is not msgspec.UNSET:
        address_claims.refuse(body.address, strictly=True, resolve=resolve)
    worker: Worker | None = retrying(lambda: _store_patch(worker_id, body))
    if worker is not None:
        address_claims.note(worker_id, now, resolve)
        _tell_changes(worker, body, by, now)
        scheduler.place_waiting(now, on=worker_id)
    return get(worker_id, now)


def _store_patch(worker_id: str, body: r.WorkerPatch) -> Worker | None:
    """Returns the worker, or None where nothing is to change. Raises TransactionConflict, WORKER_NOT_FOUND."""
    worker = workers.get(worker_id)
    patched = set(msgspec.json.decode(worker.record.patched, type=list[str]))
    actions: list[Action] = []
    if body.labels is not msgspec.UNSET:
        actions.append(WorkerRecord.labels.set(msgspec.json.encode(body.labels).decode()))
        patched.add("labels")
    if body.draining is not msgspec.UNSET:
        actions += capacity.changed(worker.record, draining=body.draining)
    if body.address is not msgspec.UNSET:
        actions.append(WorkerRecord.address.set(body.address) if body.address else WorkerRecord.address.remove())
        patched.add("address")
    if not actions:
        return None
    actions.append(WorkerRecord.patched.set(msgspec.json.encode(sorted(patched)).decode()))
    if not update_if(worker.record, actions, WorkerRecord.name.exists() & capacity.unchanged(worker.record)):
        raise TransactionConflict
    return worker


def _tell_changes(worker: Worker, body: r.WorkerPatch, by: Principal, now: float) -> None:
    if body.draining is not msgspec.UNSET:
        draining = ("draining", "nothing new is placed here") if body.draining else ("undrained", "open again")
        events.record(worker.about, *draining, by.label, now)
    changed = [name for name in ("labels", "address") if getattr(body, name) is not msgspec.UNSET]
    if changed:
        events.record(worker.about, "changed", ", ".join(changed), by.label, now)


def lose(worker_id: str, by: Principal, now: float) -> r.LostWorker:
    """An operator says that it will not come back: its deployments are lost. If it does come back, so do they."""
    worker = workers.get(worker_id)
    message = f"{by.label} declared {worker.record.name} lost"
    loss = losses.Loss(worker_id, "WORKER_LOST", message)
    held = [slot.deployment_id for slot in slots.of_worker(worker_id)[0]]
    lost = [deployment_id for deployment_id in held if losses.mark_lost(deployment_id, loss, now)]
    events.record(worker.about, "lost", message, by.label, now)
    slots.wake(worker_id, now)
    return r.LostWorker(**msgspec.structs.asdict(get(worker_id, now)), deployments_lost=lost)


def live_deployments(worker_id: str) -> list[Deployment]:
    """Those that this worker has or should have. Slots of what it lost or gave up do not count."""
    ids = [slot.deployment_id for slot in slots.of_worker(worker_id)[0]]
    return [d for d in find_all(Deployment, ids) if d.worker_id == worker_id and d.status in LIVE]


def remove(worker_id: str, force: bool, by: str, now: float) -> r.RemovedWorker:
    """Forget a worker. Raises WORKER_NOT_EMPTY unless `force`, which leaves its containers running and names them."""
    worker = workers.get(worker_id)
    live = live_deployments(worker_id)
    if live and not force:
        names = ", ".join(sorted(str(d.name) for d in live)[:20])
        message = f"it has live deployments ({names}): stop them, or remove it with ?force=true"
        raise ApiError("WORKER_NOT_EMPTY", message)
    seen = find(WorkerReport, worker_id, "seen")
    was = msgspec.structs.asdict(view(worker, seen, _held({worker_id: worker}, now)[worker_id], now))
    listed = set(msgspec.json.decode(seen.active, type=list[str])) if seen and seen.active else set()
    containers = {str(d.deployment_id): str(d.container_id or d.deployment_id) for d in live}
    left = sorted(containers.get(deployment_id, deployment_id) for deployment_id in listed | containers.keys())
    loss = losses.Loss(worker_id, "WORKER_REMOVED", f"{by} removed {worker.record.name}")
    _lose_all(live, loss, now)
    retrying(lambda: _tombstone(workers.get(worker_id)))
    _lose_all(live_deployments(worker_id), loss, now)  # one may have been placed here meanwhile
    _sweep_up(worker.record)
    events.record(worker.about, "removed", f"by {by}", by, now)
    return r.RemovedWorker(**was, containers_left=left)


def _lose_all(deployments: list[Deployment], loss: losses.Loss, now: float) -> None:
    for deployment in deployments:
        losses.mark_lost(deployment.deployment_id, loss, now)


def _tombstone(worker: Worker) -> None:
    """What is left: the digests of its tokens, so that the host is told why it is turned away."""
    heartbeat = worker.heartbeat
    known = b"".join(
        bytes(digest)
        for digest in (heartbeat.digest, heartbeat.previous, heartbeat.used, heartbeat.joined, heartbeat.retired)
        if digest
    )
    gone: list[Action] = [
        WorkerHeartbeat.gone.set(True),
        WorkerHeartbeat.retired.set(known),
        WorkerHeartbeat.digest.remove(),
        WorkerHeartbeat.previous.remove(),
        WorkerHeartbeat.used.remove(),
        WorkerHeartbeat.joined.remove(),
    ]

    def build(transaction: TransactWrite) -> None:
        transaction.update(heartbeat, actions=gone, condition=WorkerHeartbeat.digest == bytes(heartbeat.digest))
        transaction.delete(worker.record)
        transaction.delete(WorkerName(name_key(worker.record.name), part="name"))

    transact(build)


def _sweep_up(record: WorkerRecord) -> None:
    worker_id = str(record.worker_id)
    deployment_slots, queued = slots.of_worker(worker_id)
    with Slot.batch_write() as batch:
        for slot in [*(row.slot for row in deployment_slots), *(row.slot for row in queued)]:
            batch.delete(Slot(worker_id, slot))
    WorkerReport(worker_id, part="seen").delete()
    Conditions(worker_id, part="conditions").delete()
    Provisional(worker_id).delete()
    Refusals(worker_id).delete()
    address_claims.forget(record)


def forget(heartbeat: WorkerHeartbeat, now: float) -> None:
    """Remove a silent worker that joined to be forgotten, unless it was heard of since, or somebody was quicker."""
    latest = find(WorkerHeartbeat, heartbeat.worker_id)
    if latest is None or latest.last_seen != heartbeat.last_seen:
        return
    with contextlib.suppress(ApiError):  # WORKER_NOT_FOUND: removed meanwhile
        remove(heartbeat.worker_id, True, "the control plane", now)
