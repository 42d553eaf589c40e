"""What is stored of a deployment against what its worker lists.

One heartbeat concludes nothing, since a report may be on its way: a mismatch is noted in the slot, and acted upon when
it has lasted MISMATCH_SECONDS.
"""

from __future__ import annotations

from chalicelib.deployments import losses
from chalicelib.fleet.workers import MAX_CLOCK_SKEW_SECONDS
from chalicelib.reconcile import reports
from chalicelib.reconcile.reconcile_run import ReconcileRun
from chalicelib.store import slots
from chalicelib.store.items import update_if
from chalicelib.store.tables import Deployment, Slot
from muster.api.lifecycle import COMING_UP, CONTACT_LOST, LIVE, Status

MISMATCH_SECONDS = 25.0
"""How long a worker's list must contradict what is stored before anything is concluded."""


def resolve(run: ReconcileRun, slot: Slot, deployment: Deployment) -> None:
    """Act on a mismatch between the stored deployment and the worker's list, if there is one and it has lasted."""
    is_listed = run.lists(slot)
    expected = deployment.status == Status.RUNNING or (slot.intent == "stop" and deployment.status in LIVE)
    pending = run.starts(slot)
    if not is_listed and expected and slot.settled_at is not None:
        if _is_confirmed(run, slot):
            _conclude_gone(run, slot, deployment)
    elif is_listed and slot.intent == "deploy" and _counts_as_gone(run, deployment):
        if _is_confirmed(run, slot):
            _conclude_running(run, slot, deployment)
    elif _forgot_deploy(run, slot, deployment):
        slots.unsettle(slot)
    elif is_listed and run.rules.forgets_deploys and slot.settled_at is not None and _is_pending(deployment):
        if _is_confirmed(run, slot):  # its report was not taken, as before a provisional session was promoted
            slots.unsettle(slot)
    elif not is_listed and slot.holds_gpus and _is_lost(deployment) and slot.settled_at is not None and not pending:
        if _is_confirmed(run, slot):  # the worker is back, and did not bring it: what it held is free
            reports.over(slot, run.now, may_begin=slot.intent == "deploy")
    elif slot.mismatch_since is not None and (slot.intent == "deploy" or deployment.status in LIVE):
        update_if(slot, [Slot.mismatch_since.remove()], slots.unchanged(slot))


def stop_again(run: ReconcileRun, slot: Slot, deployment: Deployment | None) -> None:
    """Send the stop again if the worker still lists the deployment, or is about to start it.

    That is at the second list if the deployment counts as ended, else when the worker had MISMATCH_SECONDS to stop it.
    The report that a stop could not be journaled has its generation, and counts as its receipt.
    """
    if slot.settled_at is None or not (run.lists(slot) or run.starts(slot)):
        return
    run.needs_another = True
    over = deployment is None or deployment.status in reports.OVER
    if (over and slot.mismatch_since is not None) or abs(run.now - slot.settled_at) >= MISMATCH_SECONDS:
        slots.unsettle(slot)
    elif over:
        _note(run, slot)


def is_gone(run: ReconcileRun, slot: Slot) -> bool:
    """Whether nothing is left to stop of a deployment that was deleted or moved.

    The worker reported its end, or has not listed it for a while: one list may be older than the container, and a
    worker that then lost its disk must still receive the stop.
    """
    if run.lists(slot) or run.starts(slot):
        return False
    return (not slot.may_be_running and not slot.holds_gpus) or _has_lasted(run, slot)


def _is_confirmed(run: ReconcileRun, slot: Slot) -> bool:
    """Whether the mismatch has lasted; until then, later heartbeats reconcile again."""
    run.needs_another = True
    return _has_lasted(run, slot)


def _has_lasted(run: ReconcileRun, slot: Slot) -> bool:
    """Whether the list contradicts what is stored for MISMATCH_SECONDS, in one way; a new mismatch is noted.

    The two ways are: the list has the deployment, or lacks it. A list that had the deployment meanwhile shows that
    something runs, and one that lacked it that something ended.
    """
    noted_at, is_listed = slot.mismatch_since, run.lists(slot)
    if noted_at is None or noted_at > run.now + MAX_CLOCK_SKEW_SECONDS or slot.mismatch_listed not in (None, is_listed):
        _note(run, slot)
        return False
    return bool(run.now - noted_at >= MISMATCH_SECONDS)


def _note(run: ReconcileRun, slot: Slot) -> None:
    noted = [Slot.mismatch_since.set(run.now), Slot.mismatch_listed.set(run.lists(slot))]
    update_if(slot, noted, slots.unchanged(slot))


def _forgot_deploy(run: ReconcileRun, slot: Slot, deployment: Deployment) -> bool:
    """Whether the client took the deploy in an earlier session, and has not brought the model up.

    It may have crashed in the middle, or reported while its registration was provisional: nobody else would ask again.
    """
    is_coming_up = slot.intent == "deploy" and deployment.status in COMING_UP
    earlier = slot.settled_at is not None and slot.settled_at * 1000 < run.heartbeat.session
    return bool(run.rules.forgets_deploys and is_coming_up and earlier)


def _counts_as_gone(run: ReconcileRun, deployment: Deployment) -> bool:
    """Whether it should run and counts as lost, or as stopped if the client's list outweighs its earlier report."""
    stopped = run.rules.list_is_report and deployment.status == Status.STOPPED
    return bool(deployment.desired == "running" and (_is_lost(deployment) or stopped))


def _is_lost(deployment: Deployment) -> bool:
    return bool(deployment.status == Status.ERROR and deployment.error_code in CONTACT_LOST)


def _is_pending(deployment: Deployment) -> bool:
    return bool(deployment.status == Status.PENDING)


def _conclude_gone(run: ReconcileRun, slot: Slot, deployment: Deployment) -> None:
    if deployment.desired == "stopped":
        reports.presumed_stopped(deployment, run.now)
    else:
        loss = losses.Loss(run.worker_id, "CONTAINER_LOST", "its worker no longer lists it; start it again")
        losses.mark_lost(slot.deployment_id, loss, run.now)
    reports.over(slot, run.now)


def _conclude_running(run: ReconcileRun, slot: Slot, deployment: Deployment) -> None:
    """The deployment was thought lost and runs. An agent is asked to report again.

    A basic client's list is its report, unless the last deploy that it was sent was an older one.
    """
    if run.rules.list_is_report and slot.sent_at is not None:
        reports.found_running(slot, deployment, run.now)
    else:
        slots.unsettle(slot)
