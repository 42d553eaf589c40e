"""The slots of a worker, and waking it.

Writing an intent or an operation and waking the worker are two calls on purpose: a write to the heartbeat's item inside
the transaction would collide with heartbeats. If a function is killed between the two, every tenth heartbeat finds the
slot anyway.
"""

from __future__ import annotations

from typing import Literal

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from chalicelib.store.items import find, grow, update_if
from chalicelib.store.tables import Queued, Slot, WorkerHeartbeat
from muster.api.structs import Value

LETS_GO: Condition = (Slot.holds_gpus == False) | Slot.slot.does_not_exist()  # noqa: E712
"""That the deployment does not use its GPUs, and is not about to."""


def wake(worker_id: str, now: float) -> None:
    """Make the worker's next heartbeat reconcile its slots, and the heartbeats after it come quickly."""
    before = WorkerHeartbeat.activity_before.set(WorkerHeartbeat.activity_before | WorkerHeartbeat.activity_at)
    bump_inbox(worker_id, now, WorkerHeartbeat.needs_reconcile.set(True), WorkerHeartbeat.activity_at.set(now), before)


def bump_inbox(worker_id: str, now: float, *also: Action) -> int:
    """Raise the worker's inbox and return it; 0 for a worker that was removed."""
    heartbeat, inbox = WorkerHeartbeat(worker_id), grow(0, now)
    if not update_if(
        heartbeat,
        [WorkerHeartbeat.inbox.set(inbox), *also],
        (WorkerHeartbeat.inbox < inbox) & WorkerHeartbeat.gone.does_not_exist(),
    ):
        update_if(
            heartbeat,
            [WorkerHeartbeat.inbox.add(1), *also],
            WorkerHeartbeat.inbox.exists() & WorkerHeartbeat.gone.does_not_exist(),
        )
    return int(heartbeat.inbox or 0)


def get(worker_id: str, deployment_id: str) -> Slot | None:
    return find(Slot, worker_id, f"D#{deployment_id}")


def of_worker(worker_id: str) -> tuple[list[Slot], list[Queued]]:
    """The intents and the operations of a worker, in one consistent query.

    It ends before the shared reads: whoever follows a log leaves one of those behind with each look.
    """
    intents: list[Slot] = []
    queued: list[Queued] = []
    wanted = Slot.slot.between("D#", "O#~")
    rows = Slot._get_connection().query(worker_id, wanted, consistent_read=True)
    while True:
        for row in rows["Items"]:
            if row["slot"]["S"].startswith("D#"):
                intents.append(Slot.from_raw_data(row))
            else:
                queued.append(Queued.from_raw_data(row))
        if not rows.get("LastEvaluatedKey"):
            return intents, queued
        rows = Slot._get_connection().query(
            worker_id, wanted, consistent_read=True, exclusive_start_key=rows["LastEvaluatedKey"]
        )


class Intent(Value, frozen=True):
    """What a worker is to do about a deployment. `settled_at` is set for a stop that no worker has to receive."""

    worker_id: str
    deployment_id: str
    type: Literal["deploy", "stop"]
    generation: int
    settled_at: float | None = None


def put(transaction: TransactWrite, intent: Intent, before: Slot | None) -> None:
    """Overwrite the slot with a new intent, on condition that it is still as it was `before`.

    A deploy holds its GPUs from now on; a stop holds what was held, until the worker shows that it is over.
    """
    slot = Slot(intent.worker_id, f"D#{intent.deployment_id}", intent=intent.type, generation=intent.generation)
    slot.settled_at = intent.settled_at
    slot.may_be_running = bool(
        before and (before.may_be_running or (before.intent == "deploy" and before.holds_gpus and _reached(before)))
    )
    slot.holds_gpus = intent.type == "deploy" or slot.may_be_running
    was_stopped = before is not None and before.intent == "stop" and before.settled_at is not None
    slot.may_begin = (before is not None and not was_stopped and before.may_begin) or None
    transaction.save(slot, condition=unchanged(before))


def unchanged(before: Slot | None) -> Condition:
    """The condition that nobody gave another intent, and that it was not sent meanwhile."""
    if before is None:
        return Slot.slot.does_not_exist()
    same: Condition = Slot.generation == before.generation
    same &= Slot.sent_at.exists() if before.sent_at else Slot.sent_at.does_not_exist()
    return same


def never_sent(slot: Slot) -> bool:
    """Whether the worker cannot have heard of this deployment: only then may a deploy be taken back silently."""
    return slot.intent == "deploy" and not _reached(slot) and not slot.may_be_running and not slot.may_begin


def _reached(slot: Slot) -> bool:
    """Whether the worker may have this intent: also one that it had before an older database was restored."""
    return slot.sent_at is not None or slot.settled_at is not None


def settle(slot: Slot, session: int | None, now: float) -> None:
    """The worker showed that it has this intent.

    Only a session to which it was sent may say so: an older one's word is void once a newer one lost its journal.
    """
    condition = (Slot.generation == slot.generation) & Slot.settled_at.does_not_exist()
    if session is not None:
        condition &= Slot.sent_session <= session
    update_if(slot, [Slot.settled_at.set(now)], condition)


def unsettle(slot: Slot) -> None:
    """Make the worker's next heartbeat send the intent again, unless there is another intent meanwhile."""
    update_if(slot, [Slot.settled_at.remove(), Slot.mismatch_since.remove()], Slot.generation == slot.generation)


def ended(slot: Slot, *, may_begin: bool = False) -> bool:
    """No container is left there of what was sent before: what it held is free, unless a newer deploy is on its way.

    `may_begin`: the deploy may not have been begun yet. False if there is another intent meanwhile, which then decides.
    """
    actions = [
        Slot.holds_gpus.set(coming(slot)),
        Slot.may_be_running.set(False),
        Slot.mismatch_since.remove(),
        Slot.pre_stop.remove(),
    ]
    return update_if(slot, [*actions, *([Slot.may_begin.set(True)] if may_begin else [])], unchanged(slot))


def coming(slot: Slot) -> bool:
    """Whether a deploy is on its way that the worker has not heard of; one that was lost before it was sent is not."""
    return slot.intent == "deploy" and not _reached(slot)
