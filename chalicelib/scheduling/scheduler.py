"""Placing the deployments that wait: choose a place, reserve it, and choose again if another function was faster.

    read the deployment ─► choose (choice.py) ─► reserve (reservation.py) ─► wake the worker
          ▲                     │ no place              │ a conflict: read the worker again
          │                     ▼                       │
          │               store the reasons             │
          └─────────────────────────────────────────────┘

A deployment without a place keeps waiting; the sweep tries again. One that is pinned reads its worker, any other the
index of free capacity (capacity_view.py), and where that shows no place the whole fleet (view_audit.py says when).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from chalicelib.fleet import scan
from chalicelib.fleet import workers as stored_workers
from chalicelib.fleet.workers import Worker
from chalicelib.scheduling import gpu_claims, reservation, view_audit
from chalicelib.scheduling.capacity_view import View
from chalicelib.scheduling.choice import choose, choose_by_stored_claims
from chalicelib.scheduling.placement import Place
from chalicelib.store import events, slots
from chalicelib.store.items import TransactionConflict, find, find_all, update_if
from chalicelib.store.tables import CapacityView, Deployment, Slot, WorkerRecord
from muster.api.structs import State

ATTEMPTS = 8
MAX_REASONS = 20


class _Fleet(State):
    """Workers that were read in full. `is_whole`: all that a deployment may go to, so that the reasons count."""

    workers: dict[str, Worker]
    is_whole: bool
    changed: set[str] = msgspec.field(default_factory=set)

    def choose(self, deployment: Deployment, now: float) -> Place | list[str]:
        if self.changed:
            for worker_id in self.changed:
                self.workers.pop(worker_id, None)
            self.workers |= stored_workers.several([*self.changed])
            self.changed.clear()
        return self._choose(deployment, now)

    def read_again(self, worker_id: str) -> None:
        """Before the next choice, if the worker is one of these."""
        self.changed |= {worker_id} & self.workers.keys()

    def _choose(self, deployment: Deployment, now: float) -> Place | list[str]:
        return choose(deployment, self.workers.values(), now)


class _Sample(_Fleet):
    """A few workers of a large fleet, for the reasons. Whether their claims outlived their slots is not asked."""

    def _choose(self, deployment: Deployment, now: float) -> Place | list[str]:
        return choose_by_stored_claims(deployment, self.workers.values(), now)


def place(deployment_id: str, now: float) -> None:
    """Give a waiting deployment a worker and its GPUs, or record why it has none yet."""
    pinned = _pinned([deployment_id])
    if deployment_id in pinned:
        _place(deployment_id, _of(pinned.values()), now)
        return
    view = view_audit.last()
    if view is not None and _place(deployment_id, View(), now):
        return
    if view is None or view_audit.is_small(view):
        _place(deployment_id, _Fleet(scan.candidates(consistent=True), is_whole=True), now)
    else:
        _place(deployment_id, _sample(), now)


def place_waiting(now: float, on: str) -> None:
    """Place every deployment that waits and may go to this worker, which changed."""
    waiting = _waiting()
    fleet = _Fleet(stored_workers.several([on]) if waiting else {}, is_whole=False)
    for deployment_id in waiting:
        _place(deployment_id, fleet, now)


def sweep(now: float) -> None:
    """Place every deployment that waits; before the first time, make the index of free capacity complete."""
    view = view_audit.last()
    waiting = _waiting()
    if view is None:
        _place_on_the_whole_fleet(waiting, now)
    elif waiting:
        _place_anywhere(waiting, view, now)


def confirm(slot: Slot, deployment: Deployment, now: float) -> None:
    """Claim the GPUs of a deployment that runs, and place the deployments that wait on those that it gave up."""
    if gpu_claims.confirm(slot, deployment):
        place_waiting(now, on=str(slot.worker_id))


def _waiting() -> list[str]:
    return [str(entry.deployment_id) for entry in Deployment.waiting_index.query("1")]


def _place_anywhere(waiting: list[str], view: CapacityView, now: float) -> None:
    """Place each on the worker that it is pinned to, or by the index; the rest by the whole fleet, if that is due."""
    pinned = _pinned(waiting)
    theirs = _of(pinned.values())
    index = View()
    left: list[str] = []
    for deployment_id in waiting:
        if deployment_id in pinned:
            _place(deployment_id, theirs, now)
        elif not _place(deployment_id, index, now):
            left.append(deployment_id)
        for worker_id in index.changed:
            theirs.read_again(worker_id)
    if left and view_audit.is_due(view, now):
        _place_on_the_whole_fleet(left, now)
    elif left:
        sample = _sample()
        for deployment_id in left:
            _place(deployment_id, sample, now)


def _place_on_the_whole_fleet(waiting: list[str], now: float) -> None:
    fleet = _Fleet(view_audit.compare(now), is_whole=True)
    for deployment_id in waiting:
        _place(deployment_id, fleet, now)


def _pinned(deployment_ids: list[str]) -> dict[str, str]:
    """The worker of each deployment that is pinned to one."""
    found = find_all(Deployment, deployment_ids)
    by_id = {str(deployment.deployment_id): gpu_claims.spec_of(deployment).worker_id for deployment in found}
    return {deployment_id: worker_id for deployment_id, worker_id in by_id.items() if worker_id is not None}


def _of(worker_ids: Iterable[str]) -> _Fleet:
    """The workers that deployments are pinned to: all that these may go to."""
    return _Fleet(stored_workers.several(list(worker_ids)), is_whole=True)


def _sample() -> _Fleet:
    """The first workers by name, for the reasons of a deployment that no worker has room for."""
    listed = WorkerRecord.listing.query("worker", limit=MAX_REASONS)
    return _Sample(stored_workers.several([str(entry.worker_id) for entry in listed]), is_whole=True)


def _place(deployment_id: str, source: _Fleet | View, now: float) -> bool:
    """Place the deployment if it waits; returns False if the source has no place for it, and stores why if it knows."""
    for _ in range(ATTEMPTS):
        deployment = find(Deployment, deployment_id)
        if deployment is None or deployment.waiting is None:
            return True
        if isinstance(source, _Fleet) and not source.is_whole and deployment.leaving in source.workers:
            # The worker that the deployment leaves has let go of it: by now it may go to any worker.
            place(deployment_id, now)
            return True
        found = source.choose(deployment, now)
        if isinstance(found, list):
            if isinstance(source, _Fleet) and source.is_whole:
                _explain(deployment, "waiting for a place: " + "; ".join(found[:MAX_REASONS]), now)
            return False
        if obstacle := reservation.obstacle(deployment, found, now):
            _explain(deployment, obstacle, now)
            return True
        worker = source.workers[found.worker_id]
        try:
            reservation.reserve(deployment, found, worker, now)
        except TransactionConflict:
            source.read_again(found.worker_id)
            continue
        _record_placed(deployment, found, worker, now)
        slots.wake(found.worker_id, now)
        source.read_again(found.worker_id)
        return True
    return True


def _record_placed(deployment: Deployment, place: Place, worker: Worker, now: float) -> None:
    gpus = f", GPU {', '.join(map(str, place.gpu_indexes))}" if place.gpu_indexes else ""
    about = events.About(deployment.deployment_id, deployment.name, worker.worker_id, worker.record.name)
    events.record(about, "placed", f"on {worker.record.name}{gpus}", events.CONTROL_PLANE, now)


def _explain(deployment: Deployment, message: str, now: float) -> None:
    """Store why the deployment waits. Its timeline has the first reason; later ones change with every worker."""
    if deployment.message == message:
        return
    is_first = not deployment.message
    explained = [Deployment.message.set(message), Deployment.version.add(1)]
    if update_if(deployment, explained, Deployment.version == deployment.version) and is_first:
        events.record(events.on(deployment), "waiting", message, events.CONTROL_PLANE, now)
