"""Which worker and which GPUs a waiting deployment gets: from the deployment, the fleet and its claims to a place."""

from __future__ import annotations

from collections.abc import Iterable

from chalicelib.fleet.workers import Claims, Worker
from chalicelib.scheduling import gpu_claims, placement
from chalicelib.store.tables import Deployment


def choose(deployment: Deployment, workers: Iterable[Worker], now: float) -> placement.Place | list[str]:
    """A place for the deployment, or one reason a worker. Slots are read only if the claims leave no room.

    The worker that the deployment leaves is asked first, because the weights are there.
    """
    workers = list(workers)
    home = [worker for worker in workers if worker.worker_id == deployment.leaving and worker.online(now)]
    for group in (home, workers):
        found = _place(deployment, group, {}, now)
        if isinstance(found, placement.Place):
            return found
    hopeful = [worker for worker in workers if _has_room_without_claims(deployment, worker, now)]
    return _place(deployment, workers, gpu_claims.valid(hopeful, deployment.deployment_id), now)


def choose_by_stored_claims(
    deployment: Deployment, workers: Iterable[Worker], now: float
) -> placement.Place | list[str]:
    """A place on one of the workers, or the reasons why not, if each claim that is stored holds its GPU."""
    return _place(deployment, list(workers), {}, now)


def need_of(deployment: Deployment) -> placement.Need:
    spec = gpu_claims.spec_of(deployment)
    return placement.Need(spec.gpus if isinstance(spec.gpus, int) else tuple(spec.gpus), spec.worker_id, spec.selector)


def candidate(worker: Worker, claims: Claims, deployment: Deployment, now: float) -> placement.Candidate:
    """The worker as placement sees it. GPUs that the deployment itself claims are free."""
    own = deployment.deployment_id
    unclaimed = (index for index in worker.devices if claims.get(str(index), own) == own)
    free = tuple(index for index in unclaimed if index not in worker.unusable)
    return placement.Candidate(
        worker_id=worker.worker_id,
        name=worker.record.name,
        online=worker.online(now),
        draining=worker.draining(),
        labels=worker.labels,
        devices=worker.devices,
        free=free,
        unusable=worker.unusable,
        mig=worker.mig,
    )


def _place(
    deployment: Deployment, workers: list[Worker], valid: dict[str, Claims], now: float
) -> placement.Place | list[str]:
    """A place by the claims in `valid`, and for a worker that it lacks by all claims that are stored."""
    candidates = [candidate(worker, valid.get(worker.worker_id, worker.claims), deployment, now) for worker in workers]
    return placement.place(need_of(deployment), candidates)


def _has_room_without_claims(deployment: Deployment, worker: Worker, now: float) -> bool:
    return isinstance(_place(deployment, [worker], {worker.worker_id: {}}, now), placement.Place)
