"""The commands of the slots that are not settled: which of them go out with this heartbeat."""

from __future__ import annotations

import msgspec
from pynamodb.expressions.update import Action

from chalicelib.deployments import intents
from chalicelib.fleet import workers
from chalicelib.reconcile import reports
from chalicelib.reconcile.reconcile_run import ReconcileRun
from chalicelib.scheduling import gpu_claims
from chalicelib.store import slots
from chalicelib.store.items import update_if
from chalicelib.store.tables import Deployment, Slot
from muster.api import messages as m
from muster.api.lifecycle import LIVE

MAX_COMMANDS = 64
"""Commands that one heartbeat's response carries."""


def send(run: ReconcileRun, slot: Slot, deployment: Deployment | None) -> None:
    """Add the slot's command to the response, unless it must wait. `deployment`: None if it is not on this worker."""
    if len(run.commands) >= MAX_COMMANDS:
        return
    is_deploy, is_first = slot.intent == "deploy", slot.sent_at is None
    if is_deploy and is_first and slot.may_be_running and run.rules.needs_stop_before_deploy:
        _send_stop_before_deploy(run, slot, deployment)
        return
    if is_deploy and deployment is None:
        return
    if is_first and is_deploy and deployment is not None and _must_wait_for_gpus(run, slot, deployment):
        return
    if (slot.sent_at is None or slot.sent_session != run.session) and not _mark_sent(run, slot):
        return
    if slot.intent == "stop" or deployment is None:
        run.commands.append(m.Stop(slot.command_id, slot.deployment_id, int(slot.generation)))
    else:
        run.commands.append(_deploy_command(slot, deployment))


def _send_stop_before_deploy(run: ReconcileRun, slot: Slot, deployment: Deployment | None) -> None:
    if slot.pre_stop is None and not update_if(slot, [Slot.pre_stop.set("sent")], slots.unchanged(slot)):
        return
    if slot.pre_stop == "sent":
        if deployment is not None:  # the client reports when it has stopped: until then nothing is known to serve
            reports.not_listed(deployment, run.worker_id, run.now)
        run.commands.append(m.Stop(f"{slot.command_id}-clear", slot.deployment_id, int(slot.generation)))


def _must_wait_for_gpus(run: ReconcileRun, slot: Slot, deployment: Deployment) -> bool:
    """Whether a deploy that was not sent yet cannot have its GPUs: other deployments run there, or they are unusable.

    It was placed while the worker was silent, or a deployment that runs there was thought lost. One that nothing
    depends on yet is placed anew.
    """
    wanted = set(gpu_claims.indexes(deployment))
    if not wanted:
        return False
    rivals = [
        (other, theirs)
        for other, theirs in run.listed
        if other.deployment_id != slot.deployment_id and wanted & set(gpu_claims.indexes(theirs, run.worker_id))
    ]
    alive = [(other, theirs) for other, theirs in rivals if theirs.status in LIVE]
    if rivals and not alive:
        return not run.rules.checks_gpus  # an agent's list may be a few seconds old
    worker = workers.several([run.worker_id]).get(run.worker_id)
    unusable = worker.unusable if worker else {}
    if slots.never_sent(slot) and (alive or wanted & unusable.keys()):
        intents.take_back(slot, deployment, alive, run.now)
        return True
    return bool(alive)


def _mark_sent(run: ReconcileRun, slot: Slot) -> bool:
    """Store, before the command goes out, that the worker may have received it."""
    sent: list[Action] = [Slot.sent_at.set(run.now), Slot.sent_session.set(run.session), Slot.mismatch_since.remove()]
    sent.append(Slot.sent_inbox.set(run.bump_inbox()))
    newer_is_not_there = Slot.sent_session.does_not_exist() | (Slot.sent_session <= run.session)
    fence = newer_is_not_there if run.session else Slot.slot.exists()
    return update_if(slot, sent, (Slot.generation == slot.generation) & Slot.settled_at.does_not_exist() & fence)


def _deploy_command(slot: Slot, deployment: Deployment) -> m.Deploy:
    spec = gpu_claims.spec_of(deployment)
    return m.Deploy(
        command_id=slot.command_id,
        deployment_id=slot.deployment_id,
        generation=int(slot.generation),
        backend=spec.backend,
        model=spec.model,
        config=spec.config,
        image=spec.image,
        env={"VLLM_API_KEY": str(deployment.api_key), **spec.env},
        gpus=msgspec.json.decode(deployment.gpu_indexes, type=list[int]),
        restart=spec.restart,
    )
