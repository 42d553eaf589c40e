"""Compare a worker's slots with what its heartbeat reports, and choose the commands to send.

    receipts      the slots that the heartbeat settles
    mismatches    what is stored against what the worker lists (mismatches.py)
    commands      what is not settled is sent, and sent again (sending.py)

Everything here may be repeated after being cut off anywhere: the digest of what was reconciled is written last.
"""

from __future__ import annotations

import hashlib

from pynamodb.expressions.update import Action

from chalicelib.fleet import conditions
from chalicelib.operations import queue
from chalicelib.reconcile import mismatches, reports, sending, worker_state
from chalicelib.reconcile.reconcile_run import ReconcileRun
from chalicelib.scheduling import gpu_inventory
from chalicelib.store import events, slots
from chalicelib.store.items import delete_if, find_all, update_if
from chalicelib.store.tables import Deployment, Operation, Queued, Slot, WorkerHeartbeat
from muster.api import messages as m
from muster.api.lifecycle import CONTACT_LOST, OPEN, OperationStatus, Status


def reconcile_worker(heartbeat: WorkerHeartbeat, body: m.Heartbeat, fingerprint: bytes, now: float) -> list[m.Command]:
    """Returns the commands to send. `heartbeat` is as the heartbeat's write returned it."""
    journal = hashlib.sha256(body.journal_id.encode("utf-8", "replace")).digest()[:8] if body.journal_id else None
    journal_lost = bool(journal and heartbeat.journal and bytes(heartbeat.journal) != journal)
    run = ReconcileRun(heartbeat, body, now, journal_lost, int(heartbeat.inbox))
    changed = heartbeat.reconciled_digest is None or bytes(heartbeat.reconciled_digest) != fingerprint
    deployment_slots, queued = slots.of_worker(run.worker_id)
    occupied = gpu_inventory.occupied(body, {slot.deployment_id for slot in deployment_slots})
    if changed and gpu_inventory.follow(run.worker_id, body.gpu_info, occupied, now):
        deployment_slots, queued = slots.of_worker(run.worker_id)
    _reconcile_slots(run, deployment_slots)
    _reconcile_operations(run, queued)
    known_ids = {slot.deployment_id for slot in deployment_slots}
    worker_state.store_lists(run, known_ids, changed)
    if changed or body.conditions:
        conditions.remember(events.About(worker_id=run.worker_id), body.conditions, known_ids, now)
    if heartbeat.down_since is not None:
        worker_state.record_return(run)
    if worker_state.drain_changed(heartbeat, body):
        worker_state.record_drain_change(run)
    if changed or bool(heartbeat.needs_reconcile) != run.needs_another:
        done: list[Action] = [
            WorkerHeartbeat.reconciled_digest.set(fingerprint),
            WorkerHeartbeat.needs_reconcile.set(run.needs_another),
        ]
        if journal:
            done.append(WorkerHeartbeat.journal.set(journal))
        update_if(WorkerHeartbeat(run.worker_id), done, WorkerHeartbeat.inbox == run.inbox)
    return run.commands


def _reconcile_slots(run: ReconcileRun, found: list[Slot]) -> None:
    known = {str(d.deployment_id): d for d in find_all(Deployment, [slot.deployment_id for slot in found])}
    run.listed = [
        (slot, known[slot.deployment_id]) for slot in found if run.lists(slot) and slot.deployment_id in known
    ]
    for slot in found:
        deployment = known.get(slot.deployment_id)
        if slot.settled_at is not None and (run.journal_lost or run.missed(slot)) and not _has_ended(slot, deployment):
            slots.unsettle(slot)
        _reconcile_slot(run, slot, deployment)


def _reconcile_slot(run: ReconcileRun, slot: Slot, deployment: Deployment | None) -> None:
    here = deployment if deployment is not None and deployment.worker_id == run.worker_id else None
    _take_receipt(run, slot)
    if here is not None:
        _finish_interrupted_report(run, slot, here)
    if deployment is not None and not run.lists(slot) and deployment.status != Status.RUNNING:
        reports.not_listed(deployment, run.worker_id, run.now)
    if here is not None:
        mismatches.resolve(run, slot, here)
    if slot.intent == "stop":
        mismatches.stop_again(run, slot, here)
        if here is None and slot.settled_at is not None and mismatches.is_gone(run, slot):
            delete_if(slot, Slot.generation == slot.generation)
            return
    if slot.settled_at is None:
        run.needs_another = True
        sending.send(run, slot, here)


def _has_ended(slot: Slot, deployment: Deployment | None) -> bool:
    """Whether the slot's deploy has ended: its GPUs may be another's, and only a newer intent brings it up again."""
    if deployment is None or deployment.worker_id != slot.worker_id:
        return False
    return slot.intent == "deploy" and deployment.status in reports.OVER


def _take_receipt(run: ReconcileRun, slot: Slot) -> None:
    """Settle the slot if the heartbeat shows that the worker has its intent: by an ack, or by what the worker lists."""
    if slot.settled_at is not None:
        return
    is_listed = run.lists(slot)
    if slot.command_id in run.body.acks and not run.journal_lost:
        slots.settle(slot, run.session, run.now)
    elif slot.sent_at is None:
        if slot.pre_stop and run.rules.needs_stop_before_deploy and not is_listed:
            slots.ended(slot)
    elif slot.intent == "stop" and not is_listed and (run.rules.list_is_receipt or run.is_of_earlier_machine(slot)):
        slots.settle(slot, None, run.now)
        reports.over(slot, run.now)
    elif slot.intent == "deploy" and is_listed and run.rules.list_is_receipt:
        slots.settle(slot, None, run.now)


def _finish_interrupted_report(run: ReconcileRun, slot: Slot, deployment: Deployment) -> None:
    """Take the receipt, and free the GPUs, if the function that stored a report was killed before it did so."""
    if deployment.status_generation < slot.generation or deployment.status_session < 0:
        return
    if slot.settled_at is None and not run.journal_lost and not run.missed(slot):
        slots.settle(slot, int(deployment.status_session), run.now)
    if slot.holds_gpus and deployment.status in reports.OVER and deployment.error_code not in CONTACT_LOST:
        reports.over(slot, run.now)


def _reconcile_operations(run: ReconcileRun, queued: list[Queued]) -> None:
    rows = {row.operation_id: row for row in queued}
    found = {str(operation.operation_id): operation for operation in find_all(Operation, sorted(rows))}
    for operation_id, row in rows.items():
        operation = found.get(operation_id)
        if operation is not None:
            operation = queue.refreshed(operation, run.now)
        if operation is None or OperationStatus(operation.status) not in OPEN:
            row.delete()
            continue
        if run.journal_lost:
            queue.state_lost(operation, run.now)
        elif operation_id in run.body.acks:
            queue.acknowledge(operation, run.now)
        if len(run.commands) < sending.MAX_COMMANDS:
            command = queue.deliver(operation, run.now)
            if command is not None:
                run.commands.append(command)
                run.needs_another = True
