"""A look at a worker's slots: take its receipts, reconcile with what it says runs, choose what to send.

Everything here may be repeated after being cut off anywhere: `looked` is written last.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field

import msgspec
from pynamodb.expressions.update import Action

from chalicelib.deployments import intents, losses
from chalicelib.fleet import conditions, workers
from chalicelib.fleet.workers import CLOCKS_DIFFER
from chalicelib.operations import queue
from chalicelib.reconcile import reports
from chalicelib.scheduling import gpu_claims, gpu_inventory, scheduler
from chalicelib.store import events, slots
from chalicelib.store.items import delete_if, find_all, update_if
from chalicelib.store.tables import Deployment, Hot, Operation, Queued, Seen, Slot
from muster.api import messages as m
from muster.api.lifecycle import COMING_UP, CONTACT_LOST, LIVE, OPEN, OperationStatus, Status
from muster.api.sizes import fitting

ODD_FOR = 25.0
"""Seconds for which a worker's list must contradict what is stored before anything is concluded."""
MAX_COMMANDS = 64
MAX_IMAGES = 1024
MOST_BYTES, MOST_IMAGE_BYTES = 64 * 1024, 160 * 1024
"""Of the lists of ids and folders, and of the images: together with what else is in the item, less than it may hold."""


@dataclass
class _Look:
    """One look: what the worker said, and whether another look is needed soon."""

    hot: Hot
    body: m.Heartbeat
    now: float
    journal_lost: bool
    inbox: int
    unsettled: bool = False
    commands: list[m.Command] = field(default_factory=list)
    listed: list[tuple[Slot, Deployment]] = field(default_factory=list)

    @property
    def worker_id(self) -> str:
        return str(self.hot.worker_id)

    @property
    def session(self) -> int:
        """0 for a basic client, which has none."""
        return self.body.session or 0

    def missed(self, slot: Slot) -> bool:
        """Whether an earlier session had this intent and this one's journal is older: it was cloned, or put back."""
        earlier = slot.sent_session is not None and slot.sent_session < self.session
        heard, sent = self.body.inbox, slot.sent_inbox
        return bool(earlier and heard is not None and sent is not None and heard < sent)

    def never_heard(self, slot: Slot) -> bool:
        """Whether the stop is of what another machine ran, which had this name before.

        Where the takeover was cut off, that machine is still the worker, and may have what was sent before it.
        """
        return not slot.sent_session and self.hot.journal is None

    def raise_inbox(self) -> int:
        """What the inbox is from here on: above all that was answered without what this look sends for the first time.

        An answer without it belongs to a look that had begun before, and every answer tells the inbox of its beginning.
        """
        if self.body.inbox is not None and self.inbox == self.hot.inbox:
            self.inbox = slots.raise_inbox(self.worker_id, self.now)
        return self.inbox


def look(hot: Hot, body: m.Heartbeat, fingerprint: bytes, now: float) -> list[m.Command]:
    """Returns the commands to send. `hot` is as the heartbeat's write returned it."""
    journal = hashlib.sha256(body.journal_id.encode("utf-8", "replace")).digest()[:8] if body.journal_id else None
    lost = bool(journal and hot.journal and bytes(hot.journal) != journal)
    this = _Look(hot, body, now, lost, int(hot.inbox))
    changed = hot.looked is None or bytes(hot.looked) != fingerprint
    deployment_slots, queued = slots.of_worker(this.worker_id)
    occupied = gpu_inventory.occupied(body, {slot.deployment_id for slot in deployment_slots})
    if changed and gpu_inventory.follow(this.worker_id, body.gpu_info, occupied, now):
        deployment_slots, queued = slots.of_worker(this.worker_id)
    known = {str(d.deployment_id): d for d in find_all(Deployment, [slot.deployment_id for slot in deployment_slots])}
    this.listed = [
        (slot, known[slot.deployment_id])
        for slot in deployment_slots
        if slot.deployment_id in body.active_deployments and slot.deployment_id in known
    ]
    for slot in deployment_slots:
        deployment = known.get(slot.deployment_id)
        if slot.settled_at is not None and (this.journal_lost or this.missed(slot)) and not _is_over(slot, deployment):
            _unsettle(slot)
        _intent(this, slot, deployment)
    _operations(this, queued)
    here = {slot.deployment_id for slot in deployment_slots}
    _remember_seen(this, here, changed)
    if changed or body.conditions:
        conditions.remember(events.About(worker_id=this.worker_id), body.conditions, here, now)
    if hot.down_since is not None:
        _back(this)
    if turns(hot, body):
        _turn(this)
    if changed or bool(hot.unsettled) != this.unsettled:
        done: list[Action] = [Hot.looked.set(fingerprint), Hot.unsettled.set(this.unsettled)]
        if journal:
            done.append(Hot.journal.set(journal))
        update_if(Hot(this.worker_id), done, Hot.inbox == this.inbox)
    return this.commands


def _intent(this: _Look, slot: Slot, deployment: Deployment | None) -> None:
    here = deployment if deployment is not None and deployment.worker_id == this.worker_id else None
    active = slot.deployment_id in this.body.active_deployments
    _receipts(this, slot, active)
    _heal(this, slot, here)
    if deployment is not None and not active and deployment.status != Status.RUNNING:
        reports.not_listed(deployment, this.worker_id, this.now)
    if here is not None:
        _reconcile(this, slot, here, active)
    if slot.intent == "stop":
        _stop_again(this, slot, here, active)
        if here is None and slot.settled_at is not None and not active and _is_gone(this, slot):
            delete_if(slot, Slot.generation == slot.generation)
            return
    if slot.settled_at is None:
        this.unsettled = True
        _send(this, slot, here)


def _is_over(slot: Slot, deployment: Deployment | None) -> bool:
    """Whether what it deployed has ended: its GPUs may be another's, and nothing brings it up but a newer intent."""
    if deployment is None or deployment.worker_id != slot.worker_id:
        return False
    return slot.intent == "deploy" and deployment.status in reports.OVER


def _receipts(this: _Look, slot: Slot, active: bool) -> None:
    """What the worker showed that it has: by an ack, or, where it knows none, by what it runs."""
    if slot.settled_at is not None:
        return
    if slot.command_id in this.body.acks and not this.journal_lost:
        slots.settle(slot, this.session, this.now)
    elif slot.sent_at is None:
        if slot.clearing and this.body.literal and not active:
            slots.ended(slot)
    elif slot.intent == "stop" and not active and (this.body.literal or this.never_heard(slot)):
        slots.settle(slot, None, this.now)
        reports.over(slot, this.now)
    elif slot.intent == "deploy" and active and this.body.literal:
        slots.settle(slot, None, this.now)


def _heal(this: _Look, slot: Slot, deployment: Deployment | None) -> None:
    """What a function did not get to after it had stored a report: its receipt, and the release of what it held."""
    if deployment is None or deployment.status_generation < slot.generation or deployment.status_session < 0:
        return
    if slot.settled_at is None and not this.journal_lost and not this.missed(slot):
        slots.settle(slot, int(deployment.status_session), this.now)
    if slot.holds and deployment.status in reports.OVER and deployment.error_code not in CONTACT_LOST:
        reports.over(slot, this.now)


def _reconcile(this: _Look, slot: Slot, deployment: Deployment, active: bool) -> None:
    """What is stored against what the worker says runs. One contradiction may be news on its way."""
    expected = deployment.status == Status.RUNNING or (slot.intent == "stop" and deployment.status in LIVE)
    pending = slot.deployment_id in this.body.pending_deployments
    if not active and expected and slot.settled_at is not None:
        if _lasts(this, slot):
            _gone(this, slot, deployment)
    elif active and slot.intent == "deploy" and _is_thought_gone(this, deployment):
        if _lasts(this, slot):
            _found_again(this, slot, deployment)
    elif _was_told_in_vain(this, slot, deployment):
        _unsettle(slot)
    elif active and this.body.literal and slot.settled_at is not None and deployment.status == Status.PENDING:
        if _lasts(this, slot):  # what it reported was not taken, as before a provisional session was promoted
            _unsettle(slot)
    elif not active and slot.holds and _is_lost(deployment) and slot.settled_at is not None and not pending:
        if _lasts(this, slot):  # the worker is back, and did not bring it: what it held is free
            reports.over(slot, this.now, may_begin=slot.intent == "deploy")
    elif slot.odd_since is not None and (slot.intent == "deploy" or deployment.status in LIVE):
        update_if(slot, [Slot.odd_since.remove()], slots.unchanged(slot))


def _was_told_in_vain(this: _Look, slot: Slot, deployment: Deployment) -> bool:
    """Whether a basic client took the deploy in an earlier session, and has not brought the model up.

    It may have crashed in the middle, or reported while its registration was provisional: nobody else would ask again.
    """
    is_coming_up = slot.intent == "deploy" and deployment.status in COMING_UP
    earlier = slot.settled_at is not None and slot.settled_at * 1000 < this.hot.session
    return bool(this.body.literal and is_coming_up and earlier)


def _lasts(this: _Look, slot: Slot) -> bool:
    """Whether the contradiction was there 25 seconds ago; the first time it is noted, and looked at again."""
    this.unsettled = True
    return _was_odd(this, slot)


def _was_odd(this: _Look, slot: Slot) -> bool:
    """Whether the list has contradicted what is stored for 25 seconds, in one way: by what it has, or by what it lacks.

    A list that had the deployment meanwhile shows that something lives, and one that lacked it that something ended.
    """
    listed = slot.deployment_id in this.body.active_deployments
    if slot.odd_since is None or slot.odd_since > this.now + CLOCKS_DIFFER or slot.odd_listed not in (None, listed):
        update_if(slot, [Slot.odd_since.set(this.now), Slot.odd_listed.set(listed)], slots.unchanged(slot))
        return False
    return bool(this.now - slot.odd_since >= ODD_FOR)


def _is_thought_gone(this: _Look, deployment: Deployment) -> bool:
    """Whether it should run and counts as lost, or as stopped where a client cannot say which of its containers was."""
    lost = _is_lost(deployment)
    stopped = this.body.literal and deployment.status == Status.STOPPED
    return bool(deployment.desired == "running" and (lost or stopped))


def _is_lost(deployment: Deployment) -> bool:
    return bool(deployment.status == Status.ERROR and deployment.error_code in CONTACT_LOST)


def _gone(this: _Look, slot: Slot, deployment: Deployment) -> None:
    if deployment.desired == "stopped":
        reports.presumed_stopped(deployment, this.now)
    else:
        loss = losses.Loss(this.worker_id, "CONTAINER_LOST", "its worker no longer lists it; start it again")
        losses.mark_lost(slot.deployment_id, loss, this.now)
    reports.over(slot, this.now)


def _found_again(this: _Look, slot: Slot, deployment: Deployment) -> None:
    """It was thought lost and it lives. A basic client's list is its report, unless what it was sent was an older
    deploy; an agent is asked to report again."""
    if this.body.literal and slot.sent_at is not None:
        reports.found_running(slot, deployment, this.now)
    else:
        _unsettle(slot)


def _stop_again(this: _Look, slot: Slot, deployment: Deployment | None, active: bool) -> None:
    """The worker lists it still: at two beats although somebody said that it is over, or when it had its time."""
    if slot.settled_at is None or not active:
        return
    this.unsettled = True
    over = deployment is None or deployment.status in reports.OVER
    if (over and slot.odd_since is not None) or abs(this.now - slot.settled_at) >= ODD_FOR:
        _unsettle(slot)
    elif over:
        update_if(slot, [Slot.odd_since.set(this.now), Slot.odd_listed.set(True)], slots.unchanged(slot))


def _is_gone(this: _Look, slot: Slot) -> bool:
    """Whether nothing is left to stop of what was deleted or moved: the worker said so, or did not list it for a while.

    One list may be older than the container, and a worker that then lost its disk must still be told.
    """
    return (not slot.may_live and not slot.holds) or _was_odd(this, slot)


def _unsettle(slot: Slot) -> None:
    """Send it again."""
    update_if(slot, [Slot.settled_at.remove(), Slot.odd_since.remove()], Slot.generation == slot.generation)


def _send(this: _Look, slot: Slot, deployment: Deployment | None) -> None:
    if len(this.commands) >= MAX_COMMANDS:
        return
    generation = int(slot.generation)
    if slot.intent == "deploy" and slot.sent_at is None and slot.may_live and this.body.literal:
        _clear(this, slot, deployment)
        return
    if slot.intent == "deploy" and deployment is None:
        return
    if slot.sent_at is None and slot.intent == "deploy" and deployment is not None and _waits(this, slot, deployment):
        return
    if (slot.sent_at is None or slot.sent_session != this.session) and not _mark_sent(this, slot):
        return
    if slot.intent == "stop" or deployment is None:
        this.commands.append(m.Stop(slot.command_id, slot.deployment_id, generation))
    else:
        this.commands.append(_deploy(slot, deployment))


def _clear(this: _Look, slot: Slot, deployment: Deployment | None) -> None:
    """A basic client does not know that a deploy replaces what lives there: it is told to stop that first."""
    if slot.clearing is None and not update_if(slot, [Slot.clearing.set("sent")], slots.unchanged(slot)):
        return
    if slot.clearing == "sent":
        if deployment is not None:  # a client that is told to stop says so when it has: until then nobody knows
            reports.not_listed(deployment, this.worker_id, this.now)
        this.commands.append(m.Stop(f"{slot.command_id}-clear", slot.deployment_id, int(slot.generation)))


def _waits(this: _Look, slot: Slot, deployment: Deployment) -> bool:
    """Whether a deploy that is to go out for the first time cannot have its GPUs: then it does not go out.

    It was placed while the worker was silent, or what runs there was thought lost. One that nothing depends on yet is
    placed anew.
    """
    wanted = set(gpu_claims.indexes(deployment))
    if not wanted:
        return False
    rivals = [each for each in this.listed if each[0].deployment_id != slot.deployment_id]
    rivals = [(other, theirs) for other, theirs in rivals if wanted & set(gpu_claims.indexes(theirs, this.worker_id))]
    alive = [each for each in rivals if each[1].status in LIVE]
    if rivals and not alive:
        return this.body.literal  # an agent's list may be a few seconds old, and it looks itself before it starts
    machine = workers.several([this.worker_id]).get(this.worker_id)
    unusable = machine.unusable if machine else {}
    if slots.never_sent(slot) and (alive or wanted & unusable.keys()):
        intents.take_back(slot, deployment, alive, this.now)
        return True
    return bool(alive)


def _mark_sent(this: _Look, slot: Slot) -> bool:
    """Before it goes out: from here on it may have been heard of."""
    sent: list[Action] = [Slot.sent_at.set(this.now), Slot.sent_session.set(this.session), Slot.odd_since.remove()]
    sent.append(Slot.sent_inbox.set(this.raise_inbox()))
    newer_is_not_there = Slot.sent_session.does_not_exist() | (Slot.sent_session <= this.session)
    fence = newer_is_not_there if this.session else Slot.slot.exists()
    return update_if(slot, sent, (Slot.generation == slot.generation) & Slot.settled_at.does_not_exist() & fence)


def _deploy(slot: Slot, deployment: Deployment) -> m.Deploy:
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


def _operations(this: _Look, queued: list[Queued]) -> None:
    rows = {row.operation_id: row for row in queued}
    found = {str(each.operation_id): each for each in find_all(Operation, sorted(rows))}
    for operation_id, row in rows.items():
        operation = found.get(operation_id)
        if operation is not None:
            operation = queue.refreshed(operation, this.now)
        if operation is None or OperationStatus(operation.status) not in OPEN:
            row.delete()
            continue
        if this.journal_lost:
            queue.state_lost(operation, this.now)
        elif operation_id in this.body.acks:
            queue.acknowledge(operation, this.now)
        if len(this.commands) < MAX_COMMANDS:
            command = queue.deliver(operation, this.now)
            if command is not None:
                this.commands.append(command)
                this.unsettled = True


def _remember_seen(this: _Look, known: set[str], changed: bool) -> None:
    """What only people ask for: what runs there, which of it is unknown here, its images."""
    actions: list[Action] = []
    if changed:
        active = sorted(set(this.body.active_deployments))
        told = {each.deployment_id for each in this.body.orphans or []}
        orphans = sorted({*active, *told}.difference(known))
        listed = [fitting(ids, MOST_BYTES) for ids in (active, orphans)]
        actions += [Seen.active.set(_json(listed[0])), Seen.orphans.set(_json(listed[1]))]
    if this.body.images is not None:
        images = zlib.compress(msgspec.json.encode(fitting(this.body.images[:MAX_IMAGES], MOST_IMAGE_BYTES)))
        actions += [Seen.images.set(images), Seen.images_at.set(this.now)]
    if this.body.disk is not None and this.body.disk.paths is not None:
        actions.append(Seen.paths.set(_json(fitting(this.body.disk.paths, MOST_BYTES))))
    if actions:
        Seen(this.worker_id, part="seen").update(actions=actions)


def _back(this: _Look) -> None:
    back = [Hot.down_since.remove(), Hot.lost.remove()]
    if update_if(Hot(this.worker_id), back, Hot.down_since == this.hot.down_since):
        about = events.About(worker_id=this.worker_id)
        events.record(about, "online", "heard of again", events.CONTROL_PLANE, this.now)
        scheduler.place_waiting(this.now, on=this.worker_id)


def turns(hot: Hot, body: m.Heartbeat) -> bool:
    """Whether the worker says itself that it drains, or no more, and did not before; a goodbye says neither."""
    return body.status != "offline" and (body.status == "draining") != bool(hot.drains)


def _turn(this: _Look) -> None:
    said = this.body.status == "draining"
    actions: list[Action] = [Hot.drains.set(True) if said else Hot.drains.remove()]
    if update_if(Hot(this.worker_id), actions, Hot.drains.does_not_exist() if said else Hot.drains.exists()):
        line = ("draining", "nothing new is placed here") if said else ("undrained", "open again")
        events.record(events.About(worker_id=this.worker_id), *line, f"worker {this.worker_id}", this.now)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
