"""Placing the deployments that wait: choose a place, reserve it, and choose again if another function was faster.

    read the deployment ─► choose (choice.py) ─► reserve (reservation.py) ─► wake the worker
          ▲                     │ no place              │ a conflict: read the worker again
          │                     ▼                       │
          │               store the reasons             │
          └─────────────────────────────────────────────┘

A deployment without a place keeps waiting; the sweep tries again.
"""

from __future__ import annotations

from chalicelib.fleet import scan
from chalicelib.fleet import workers as stored_workers
from chalicelib.fleet.workers import Worker
from chalicelib.scheduling import gpu_claims, reservation
from chalicelib.scheduling.choice import choose
from chalicelib.scheduling.placement import Place
from chalicelib.store import events, slots
from chalicelib.store.items import TransactionConflict, find, find_all, update_if
from chalicelib.store.tables import Deployment, Slot
from muster.api.structs import Value

ATTEMPTS = 8
MAX_REASONS = 20


class _Fleet(Value, frozen=True):
    """The workers to choose from. `is_whole`: they are all that a deployment may go to, so that the reasons count."""

    workers: dict[str, Worker]
    is_whole: bool

    def read_again(self, worker_id: str) -> None:
        self.workers.pop(worker_id, None)
        self.workers.update(stored_workers.several([worker_id]))


def place(deployment_id: str, now: float) -> None:
    """Give a waiting deployment a worker and its GPUs, or record why it has none yet."""
    _place(deployment_id, _fleet_for([deployment_id], consistent=True), now)


def place_waiting(now: float, on: str | None = None) -> None:
    """Place every deployment that waits: on the whole fleet, or `on` the one worker that changed."""
    waiting = [str(entry.deployment_id) for entry in Deployment.waiting_index.query("1")]
    if not waiting:
        return
    fleet = _Fleet(stored_workers.several([on]), is_whole=False) if on else _fleet_for(waiting)
    for deployment_id in waiting:
        worker_id = _place(deployment_id, fleet, now)
        if worker_id and worker_id in fleet.workers:
            fleet.read_again(worker_id)


def confirm(slot: Slot, deployment: Deployment, now: float) -> None:
    """Claim the GPUs of a deployment that runs, and place the deployments that wait on those that it gave up."""
    if gpu_claims.confirm(slot, deployment):
        place_waiting(now, on=str(slot.worker_id))


def _fleet_for(deployment_ids: list[str], consistent: bool = False) -> _Fleet:
    """The workers that the deployments are pinned to; if one of them is not pinned, the whole fleet, read in pages."""
    pinned_to = [gpu_claims.spec_of(deployment).worker_id for deployment in find_all(Deployment, deployment_ids)]
    if None in pinned_to:
        return _Fleet(scan.candidates(consistent), is_whole=True)
    return _Fleet(stored_workers.several([worker_id for worker_id in pinned_to if worker_id]), is_whole=True)


def _place(deployment_id: str, fleet: _Fleet, now: float) -> str | None:
    """Place the deployment if it waits; returns the worker that it was given."""
    for _ in range(ATTEMPTS):
        deployment = find(Deployment, deployment_id)
        if deployment is None or deployment.waiting is None:
            return None
        if not fleet.is_whole and deployment.leaving in fleet.workers:
            # The worker that the deployment leaves has let go of it: by now it may go to any worker.
            fleet = _fleet_for([deployment_id], consistent=True)
            continue
        found = choose(deployment, fleet.workers.values(), now)
        if isinstance(found, list):
            if fleet.is_whole:
                _explain(deployment, "waiting for a place: " + "; ".join(found[:MAX_REASONS]), now)
            return None
        if obstacle := reservation.obstacle(deployment, found, now):
            _explain(deployment, obstacle, now)
            return None
        worker = fleet.workers[found.worker_id]
        try:
            reservation.reserve(deployment, found, worker, now)
        except TransactionConflict:
            fleet.read_again(found.worker_id)
            continue
        _record_placed(deployment, found, worker, now)
        slots.wake(found.worker_id, now)
        return found.worker_id
    return None


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
