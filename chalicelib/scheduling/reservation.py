"""Give a deployment the place that was chosen: its item, its slot and the claims of the worker, in one transaction."""

from __future__ import annotations

import msgspec
from pynamodb.transactions import TransactWrite

from chalicelib.fleet import workers
from chalicelib.fleet.workers import Claims, Worker
from chalicelib.scheduling import gpu_claims
from chalicelib.scheduling.placement import Place
from chalicelib.store import slots
from chalicelib.store.items import transact
from chalicelib.store.tables import Deployment, Slot


def obstacle(deployment: Deployment, place: Place, now: float) -> str | None:
    """Why the deployment cannot move yet: the worker that it leaves is online and has not stopped it."""
    left = deployment.leaving
    worker = workers.several([left]).get(left) if left and left != place.worker_id else None
    slot = slots.get(left, deployment.deployment_id) if worker else None
    if worker and slot and slot.may_be_running and worker.online(now):
        return f"waiting until {worker.record.name} has stopped it"
    return None


def reserve(deployment: Deployment, place: Place, worker: Worker, now: float) -> None:
    """Store that the deployment is on `worker`, on the GPUs of `place`.

    Raises TransactionConflict if the deployment, its slot, the claims or the GPUs changed since they were read.
    """
    deployment_id = str(deployment.deployment_id)
    before = slots.get(worker.worker_id, deployment_id)
    claims = _claims_with(place, worker, deployment_id, before)
    intent = slots.Intent(place.worker_id, deployment_id, "deploy", int(deployment.generation))
    losers = {holder for index, holder in worker.claims.items() if claims.get(index) != holder} - {deployment_id}

    def build(transaction: TransactWrite) -> None:
        gpu_claims.write(transaction, worker.record, claims)
        for loser in losers:
            gpu_claims.check_slot_lets_go(transaction, worker.worker_id, loser)
        transaction.update(
            deployment,
            actions=[
                Deployment.worker_id.set(place.worker_id),
                Deployment.gpu_indexes.set(msgspec.json.encode(place.gpu_indexes).decode()),
                Deployment.waiting.remove(),
                Deployment.leaving.remove(),
                Deployment.message.remove(),
                Deployment.updated_at.set(now),
                Deployment.version.add(1),
            ],
            condition=Deployment.version == deployment.version,
        )
        slots.put(transaction, intent, before)

    transact(build)


def _claims_with(place: Place, worker: Worker, deployment_id: str, before: Slot | None) -> Claims:
    """The worker's claims once the deployment has the place."""
    claims = gpu_claims.valid([worker], deployment_id)[worker.worker_id]
    claims.update({str(index): deployment_id for index in place.gpu_indexes})
    if before is not None and before.may_be_running:  # until the new container runs, the old one may use its GPUs
        claims.update({index: holder for index, holder in worker.claims.items() if holder == deployment_id})
    return claims
