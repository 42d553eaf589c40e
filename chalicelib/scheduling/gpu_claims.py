"""Which deployment holds which GPU of a worker.

A claim is JSON in the worker's record and changes in the same transaction as the deployment and its slot. A claim
that outlived its slot (a function was killed before it could release) is ignored and overwritten: nothing is reserved
for ever. A release is conditional on the slot not holding its GPUs at that moment: where a start came in between, the
claims read as before.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec
from pynamodb.transactions import TransactWrite

from chalicelib.fleet import capacity, scan
from chalicelib.fleet.workers import Claims, Worker, read_claims, write_claims
from chalicelib.store import slots
from chalicelib.store.items import TransactionConflict, find, find_all, transact, update_if
from chalicelib.store.tables import Deployment, Slot, WorkerRecord
from muster.api import resources as r

MAX_BATCH_KEYS = 100
"""Keys that one request names; more slots are cheaper found among all of them."""
ATTEMPTS = 16


def spec_of(deployment: Deployment) -> r.NewDeployment:
    return msgspec.json.decode(deployment.spec, type=r.NewDeployment)


def indexes(deployment: Deployment, worker_id: str | None = None) -> list[int]:
    """The GPUs that the deployment was placed on; with `worker_id`, only if the deployment is on that worker."""
    if worker_id not in (None, deployment.worker_id):
        return []
    return msgspec.json.decode(deployment.gpu_indexes, type=list[int])


def release(worker_id: str, deployment_id: str) -> None:
    """Free the GPUs that the deployment held on the worker, unless its slot holds them again or it held none."""

    def slot_lets_go(transaction: TransactWrite) -> None:
        check_slot_lets_go(transaction, worker_id, deployment_id)

    for _ in range(ATTEMPTS):
        record = find(WorkerRecord, worker_id, "cold")
        claims = read_claims(record) if record else {}
        left = {index: holder for index, holder in claims.items() if holder != deployment_id}
        if record is None or left == claims:
            return
        slot = slots.get(worker_id, deployment_id)
        if (slot is not None and slot.holds_gpus) or _rewrite(record, left, slot_lets_go):
            return


def confirm(slot: Slot, deployment: Deployment) -> bool:
    """Claim the GPUs of a deployment that runs; returns whether that freed GPUs that it held before.

    A GPU that was given to another deployment meanwhile stays with that deployment. If the deployment was changed
    meanwhile, its claims stay as they are: they are for the newer generation.
    """
    if not slot.holds_gpus:
        update_if(slot, [Slot.holds_gpus.set(True)], slots.unchanged(slot))
    own = slot.deployment_id

    def same_generation(transaction: TransactWrite) -> None:
        transaction.condition_check(Deployment, own, condition=Deployment.generation == deployment.generation)

    for _ in range(ATTEMPTS):
        record = find(WorkerRecord, slot.worker_id, "cold")
        claims = read_claims(record) if record else {}
        others = {index: holder for index, holder in claims.items() if holder != own}
        wanted = {str(index): own for index in indexes(deployment)} | others
        if record is None or wanted == claims:
            return False
        if _rewrite(record, wanted, same_generation):
            return bool(claims.keys() - wanted.keys())
    return False


def valid(workers: list[Worker], own: str) -> dict[str, Claims]:
    """The claims of other deployments than `own` whose slots hold their GPUs, by worker."""
    keys = {(w.worker_id, f"D#{holder}") for w in workers for holder in w.claims.values() if holder != own}
    read = find_all(Slot, sorted(keys)) if len(keys) <= MAX_BATCH_KEYS else scan.holding()
    holding = {(slot.worker_id, slot.deployment_id) for slot in read if slot.holds_gpus}
    return {
        worker.worker_id: {i: holder for i, holder in worker.claims.items() if (worker.worker_id, holder) in holding}
        for worker in workers
    }


def write(transaction: TransactWrite, record: WorkerRecord, claims: Claims) -> None:
    """Add a write of the worker's claims, on condition that its free capacity is as it was read in `record`."""
    actions = capacity.changed(record, claims=write_claims(claims))
    transaction.update(record, actions=actions, condition=capacity.unchanged(record))


def check_slot_lets_go(transaction: TransactWrite, worker_id: str, deployment_id: str) -> None:
    transaction.condition_check(Slot, worker_id, f"D#{deployment_id}", condition=slots.LETS_GO)


def _rewrite(record: WorkerRecord, claims: Claims, check: Callable[[TransactWrite], object]) -> bool:
    """Store the claims; returns False if the claims were no longer as read, or the condition of `check` was false."""

    def build(transaction: TransactWrite) -> None:
        write(transaction, record, claims)
        check(transaction)

    with suppress(TransactionConflict):
        transact(build)
        return True
    return False
