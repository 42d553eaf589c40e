"""Deployments that count as lost: the control plane concludes from a worker's silence that a deployment ended there.

A deployment that moved to another worker, and left only a stop on this one, is not lost with it. If a container may
still run, the deployment holds its GPUs on that worker until the worker shows that the container is gone
(docs/adr/0027).
"""

from __future__ import annotations

from collections.abc import Sequence

from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from chalicelib.deployments import intents, serving
from chalicelib.scheduling import gpu_claims
from chalicelib.store import events, slots
from chalicelib.store.items import find, grow, retrying, transact
from chalicelib.store.tables import Deployment, Slot, WorkerHeartbeat
from muster.api.lifecycle import LIVE, Status
from muster.api.structs import Value


class Loss(Value, frozen=True):
    """`error_code` is WORKER_LOST, CONTAINER_LOST or WORKER_REMOVED."""

    worker_id: str
    error_code: str
    message: str


def mark_lost(deployment_id: str, loss: Loss, now: float, silent_since: float | None = None) -> bool:
    """Store the loss; returns False if the deployment was not alive on that worker.

    With `silent_since`, the time of the worker's last heartbeat, only if the worker sent no heartbeat since then.
    """

    def attempt() -> Deployment | None:
        deployment = _alive(deployment_id, loss.worker_id)
        if deployment is None or (silent_since is not None and not _is_silent(loss.worker_id, silent_since)):
            return None
        slot = slots.get(loss.worker_id, deployment_id)

        def build(transaction: TransactWrite) -> None:
            _write_lost(transaction, deployment, loss, now)
            if slot is not None:
                unchanged = slots.unchanged(slot)
                transaction.save(_as_lost(slot, now), condition=unchanged)
            if silent_since is not None:
                transaction.condition_check(
                    WorkerHeartbeat, loss.worker_id, condition=WorkerHeartbeat.last_seen == silent_since
                )

        transact(build)
        return deployment

    return _concluded(retrying(attempt), loss, now)


def mark_lost_and_stop(deployment_id: str, loss: Loss, now: float) -> bool:
    """Store the loss and leave a stop in the slot; returns False if the deployment was not alive on that worker.

    The stop counts as sent, so that a worker that does not list the deployment never receives it.
    """

    def attempt() -> Deployment | None:
        deployment = _alive(deployment_id, loss.worker_id)
        if deployment is None:
            return None
        slot = slots.get(loss.worker_id, deployment_id)
        generation = grow(deployment.generation, now)

        def build(transaction: TransactWrite) -> None:
            stopped = [Deployment.generation.set(generation), Deployment.desired.set("stopped")]
            _write_lost(transaction, deployment, loss, now, stopped)
            if slot is not None:
                unchanged = slots.unchanged(slot)
                transaction.save(_as_sent_stop(_as_lost(slot, now), generation, now), condition=unchanged)

        transact(build)
        return deployment

    return _concluded(retrying(attempt), loss, now)


def _alive(deployment_id: str, worker_id: str) -> Deployment | None:
    deployment = find(Deployment, deployment_id)
    if deployment is None or deployment.status not in LIVE or deployment.worker_id != worker_id:
        return None
    return deployment


def _is_silent(worker_id: str, since: float) -> bool:
    heartbeat = find(WorkerHeartbeat, worker_id)
    return heartbeat is not None and heartbeat.last_seen == since


def _write_lost(
    transaction: TransactWrite, deployment: Deployment, loss: Loss, now: float, also: Sequence[Action] = ()
) -> None:
    actions = [
        Deployment.status.set(Status.ERROR),
        Deployment.status_at.set(now),
        Deployment.error_code.set(loss.error_code),
        Deployment.message.set(loss.message),
        Deployment.progress.remove(),
        *serving.ended(deployment, loss.worker_id),
        *also,
    ]
    intents.write(transaction, deployment, now, actions)


def _as_lost(slot: Slot, now: float) -> Slot:
    slot.may_be_running = slot.holds_gpus = bool(slot.may_be_running or slot.sent_at)
    slot.mismatch_since = slot.pre_stop = None
    if slot.intent == "deploy":  # a stop is still to be sent, should the worker return
        slot.settled_at = slot.settled_at or now
    return slot


def _as_sent_stop(slot: Slot, generation: int, now: float) -> Slot:
    slot.intent, slot.generation = "stop", generation
    slot.sent_at, slot.sent_session, slot.settled_at = now, 0, None
    return slot


def _concluded(deployment: Deployment | None, loss: Loss, now: float) -> bool:
    """Free the GPUs that the slot let go of, and record the loss in the timeline."""
    if deployment is None:
        return False
    gpu_claims.release(loss.worker_id, str(deployment.deployment_id))
    about = events.on(deployment, error_code=loss.error_code)
    events.record(about, loss.error_code.lower(), loss.message, events.CONTROL_PLANE, now)
    return True
