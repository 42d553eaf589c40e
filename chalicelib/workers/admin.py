"""What operators do with workers: look, label, drain, declare lost, remove."""

from __future__ import annotations

import contextlib
import zlib

import msgspec
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from chalicelib.auth.tokens import Principal
from chalicelib.deployments import losses, publication
from chalicelib.fleet import address_claims, conditions, workers
from chalicelib.fleet.workers import Machine
from chalicelib.scheduling import scheduler
from chalicelib.store import events, paging, slots
from chalicelib.store import usage as usage_figures
from chalicelib.store.items import find, find_all, retrying, transact, update_if
from chalicelib.store.tables import Cold, Conditions, Deployment, Hot, Provisional, Refusals, Seen, Slot, WorkerName
from chalicelib.store.times import when
from chalicelib.workers.registration import name_key
from muster.api import messages as m
from muster.api import resources as r
from muster.api.errors import ApiError
from muster.api.lifecycle import LIVE
from muster.api.resolving import Resolve, resolve

REPORT_AGE = 300.0


def get(worker_id: str, now: float) -> r.Worker:
    """One worker as operators see it. Raises WORKER_NOT_FOUND."""
    machine = workers.get(worker_id)
    return view(machine, find(Seen, worker_id, "seen"), _held({worker_id: machine}, now)[worker_id], now)


def list_(query: r.PageQuery, now: float) -> r.Workers:
    """A page of workers, by name."""
    colds, next_token = paging.page(Cold, "worker", query)
    ids = [str(cold.worker_id) for cold in colds]
    machines = workers.several(ids)
    seen = {str(s.worker_id): s for s in find_all(Seen, [(i, "seen") for i in ids])}
    held = _held(machines, now)
    return r.Workers([view(machines[i], seen.get(i), held[i], now) for i in ids if i in machines], next_token)


def _held(machines: dict[str, Machine], now: float) -> dict[str, list[conditions.Held]]:
    """The conditions of each worker: those that are stored, and what follows from the addresses of others."""
    conflicts = publication.conflicts(machines, now)
    reported = conditions.of(machines.values())
    return {worker_id: conditions.merged(held, conflicts.get(worker_id)) for worker_id, held in reported.items()}


def view(machine: Machine, seen: Seen | None, held: list[conditions.Held], now: float) -> r.Worker:
    """The worker as the API shows it. `seen` is its last report in full; `held` are its conditions."""
    cold, hot = machine.cold, machine.hot
    disk, usage = usage_figures.unpack(bytes(hot.usage) if hot.usage else None)
    if disk:
        disk.as_of = _rfc3339(hot.last_seen)
        disk.paths = _paths(seen)
    status = "offline" if not machine.online(now) else "draining" if machine.draining() else "online"
    return r.Worker(
        worker_id=machine.worker_id,
        name=cold.name,
        status=status,  # type: ignore[arg-type]
        last_seen=when(hot.last_seen),
        registered_at=when(cold.registered_at),
        labels=machine.labels,
        draining=machine.draining(),
        address=cold.address,
        address_pinned=address_claims.is_pinned(cold),
        gpu_info=machine.gpu_info,
        gpu_usage=usage,
        gpu_claims=machine.claims,
        system_info=msgspec.json.decode(cold.system_info, type=m.SystemInfo),
        agent_version=cold.agent_version,
        session=int(hot.session),
        disk=disk,
        orphans=msgspec.json.decode(seen.orphans, type=list[str]) if seen and seen.orphans else [],
        next_heartbeat_in=workers.interval(hot.activity_at, now),
        due_in=None if status == "offline" else workers.due_in(hot, now),
        ephemeral=cold.ephemeral,
        conditions=conditions.views(held),
    )


def last_images(worker_id: str, now: float) -> m.Images | None:
    """The images that the worker last listed, if that was under 5 minutes ago."""
    seen = find(Seen, worker_id, "seen")
    if not seen or not seen.images or not seen.images_at or now - seen.images_at > REPORT_AGE:
        return None
    images = msgspec.json.decode(zlib.decompress(bytes(seen.images)), type=list[m.Image])
    return m.Images(images, _rfc3339(seen.images_at))


def last_disk(machine: Machine, now: float) -> m.Disk | None:
    """The disk usage of the worker's last heartbeat, if that was under 5 minutes ago."""
    disk, _ = usage_figures.unpack(bytes(machine.hot.usage) if machine.hot.usage else None)
    if disk is None or now - machine.hot.last_seen > REPORT_AGE:
        return None
    disk.as_of = _rfc3339(machine.hot.last_seen)
    disk.paths = _paths(find(Seen, machine.worker_id, "seen"))
    return disk


def _paths(seen: Seen | None) -> list[m.DiskPath] | None:
    return msgspec.json.decode(seen.paths, type=list[m.DiskPath]) if seen and seen.paths else None


def _rfc3339(epoch: float) -> str:
    return when(epoch).isoformat().replace("+00:00", "Z")


def patch(worker_id: str, body: r.WorkerPatch, by: Principal, now: float, resolve: Resolve = resolve) -> r.Worker:
    """Raises INVALID_REQUEST for an address whose endpoints would never be shown."""
    if body.address is not msgspec.UNSET:
        address_claims.refuse(body.address, strictly=True, resolve=resolve)
    machine = workers.get(worker_id)
    patched = set(msgspec.json.decode(machine.cold.patched, type=list[str]))
    actions: list[Action] = []
    if body.labels is not msgspec.UNSET:
        actions.append(Cold.labels.set(msgspec.json.encode(body.labels).decode()))
        patched.add("labels")
    if body.draining is not msgspec.UNSET:
        actions.append(Cold.draining.set(body.draining))
    if body.address is not msgspec.UNSET:
        actions.append(Cold.address.set(body.address) if body.address else Cold.address.remove())
        patched.add("address")
    if actions:
        actions.append(Cold.patched.set(msgspec.json.encode(sorted(patched)).decode()))
        if not update_if(machine.cold, actions, Cold.name.exists()):
            workers.get(worker_id)
        address_claims.note(worker_id, now, resolve)
        _tell_changes(machine, body, by, now)
        scheduler.place_waiting(now, on=worker_id)
    return get(worker_id, now)


def _tell_changes(machine: Machine, body: r.WorkerPatch, by: Principal, now: float) -> None:
    if body.draining is not msgspec.UNSET:
        draining = ("draining", "nothing new is placed here") if body.draining else ("undrained", "open again")
        events.record(machine.about, *draining, by.label, now)
    changed = [name for name in ("labels", "address") if getattr(body, name) is not msgspec.UNSET]
    if changed:
        events.record(machine.about, "changed", ", ".join(changed), by.label, now)


def lose(worker_id: str, by: Principal, now: float) -> r.LostWorker:
    """An operator says that it will not come back: its deployments are lost. If it does come back, so do they."""
    machine = workers.get(worker_id)
    message = f"{by.label} declared {machine.cold.name} lost"
    loss = losses.Loss(worker_id, "WORKER_LOST", message)
    held = [slot.deployment_id for slot in slots.of_worker(worker_id)[0]]
    lost = [deployment_id for deployment_id in held if losses.mark_lost(deployment_id, loss, now)]
    events.record(machine.about, "lost", message, by.label, now)
    slots.wake(worker_id, now)
    return r.LostWorker(**msgspec.structs.asdict(get(worker_id, now)), deployments_lost=lost)


def live_deployments(worker_id: str) -> list[Deployment]:
    """Those that this worker has or should have. Slots of what it lost or gave up do not count."""
    ids = [slot.deployment_id for slot in slots.of_worker(worker_id)[0]]
    return [d for d in find_all(Deployment, ids) if d.worker_id == worker_id and d.status in LIVE]


def remove(worker_id: str, force: bool, by: str, now: float) -> r.RemovedWorker:
    """Forget a worker. Raises WORKER_NOT_EMPTY unless `force`, which leaves its containers running and names them."""
    machine = workers.get(worker_id)
    live = live_deployments(worker_id)
    if live and not force:
        names = ", ".join(sorted(str(d.name) for d in live)[:20])
        message = f"it has live deployments ({names}): stop them, or remove it with ?force=true"
        raise ApiError("WORKER_NOT_EMPTY", message)
    seen = find(Seen, worker_id, "seen")
    was = msgspec.structs.asdict(view(machine, seen, _held({worker_id: machine}, now)[worker_id], now))
    listed = set(msgspec.json.decode(seen.active, type=list[str])) if seen and seen.active else set()
    containers = {str(d.deployment_id): str(d.container_id or d.deployment_id) for d in live}
    left = sorted(containers.get(each, each) for each in listed | containers.keys())
    loss = losses.Loss(worker_id, "WORKER_REMOVED", f"{by} removed {machine.cold.name}")
    _lose_all(live, loss, now)
    retrying(lambda: _tombstone(workers.get(worker_id)))
    _lose_all(live_deployments(worker_id), loss, now)  # one may have been placed here meanwhile
    _sweep_up(machine.cold)
    events.record(machine.about, "removed", f"by {by}", by, now)
    return r.RemovedWorker(**was, containers_left=left)


def _lose_all(deployments: list[Deployment], loss: losses.Loss, now: float) -> None:
    for deployment in deployments:
        losses.mark_lost(deployment.deployment_id, loss, now)


def _tombstone(machine: Machine) -> None:
    """What is left: the digests of its tokens, so that the host is told why it is turned away."""
    hot = machine.hot
    known = b"".join(bytes(each) for each in (hot.digest, hot.previous, hot.used, hot.joined, hot.retired) if each)
    gone: list[Action] = [
        Hot.gone.set(True),
        Hot.retired.set(known),
        Hot.digest.remove(),
        Hot.previous.remove(),
        Hot.used.remove(),
        Hot.joined.remove(),
    ]

    def build(transaction: TransactWrite) -> None:
        transaction.update(hot, actions=gone, condition=Hot.digest == bytes(hot.digest))
        transaction.delete(machine.cold)
        transaction.delete(WorkerName(name_key(machine.cold.name), part="name"))

    transact(build)


def _sweep_up(cold: Cold) -> None:
    worker_id = str(cold.worker_id)
    deployment_slots, queued = slots.of_worker(worker_id)
    with Slot.batch_write() as batch:
        for slot in [*(row.slot for row in deployment_slots), *(row.slot for row in queued)]:
            batch.delete(Slot(worker_id, slot))
    Seen(worker_id, part="seen").delete()
    Conditions(worker_id, part="conditions").delete()
    Provisional(worker_id).delete()
    Refusals(worker_id).delete()
    address_claims.forget(cold)


def forget(hot: Hot, now: float) -> None:
    """Remove a silent worker that joined to be forgotten, unless it was heard of since, or somebody was quicker."""
    latest = find(Hot, hot.worker_id)
    if latest is None or latest.last_seen != hot.last_seen:
        return
    with contextlib.suppress(ApiError):  # WORKER_NOT_FOUND: removed meanwhile
        remove(hot.worker_id, True, "the control plane", now)
