"""What operators want of deployments: create, change, start, stop, forget.

Each is one transaction over the deployment, its slot and, where placement moves, the GPU claims: a new generation of
intent. None touches `status`, which is the worker's word, except that a new deploy starts at pending and one that was
never sent is stopped at once.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from pynamodb.transactions import TransactWrite

from chalicelib.auth.tokens import Principal
from chalicelib.deployments import serving
from chalicelib.fleet import workers
from chalicelib.scheduling import gpu_claims, scheduler
from chalicelib.store import events, idempotency, slots
from chalicelib.store.items import TransactionConflict, find, grow, retrying, transact
from chalicelib.store.tables import Deployment, DeploymentName, Slot
from muster.api import resources as r
from muster.api.credentials import first_credential
from muster.api.errors import ApiError
from muster.api.lifecycle import CONTACT_LOST, LIVE, Status
from muster.api.structs import Value

MAX_CONFIG_BYTES = 64 * 1024


def load(deployment_id: str) -> Deployment:
    """Raises DEPLOYMENT_NOT_FOUND."""
    found = find(Deployment, deployment_id)
    if found is None or not found.spec:
        raise ApiError("DEPLOYMENT_NOT_FOUND", "there is no such deployment; GET /api/deployments lists them")
    return found


def create(body: r.NewDeployment, by: Principal, now: float, key: idempotency.Key | None = None) -> Deployment:
    """Record it, then find it a place; without one it stays pending and says why. Raises DEPLOYMENT_NAME_IN_USE."""
    check(body)
    first = idempotency.made(key, now)
    if first:
        return load(first)
    if body.worker_id is not None:
        workers.get(body.worker_id)
    deployment = _new(body, now)
    name = DeploymentName(f"name#{deployment.name}", owner=deployment.deployment_id)

    def attempt() -> None:
        def build(transaction: TransactWrite) -> None:
            transaction.save(name, condition=DeploymentName.key.does_not_exist())
            transaction.save(deployment, condition=Deployment.deployment_id.does_not_exist())
            idempotency.remember(transaction, key, deployment.deployment_id, now)

        transact(build)

    try:
        made = idempotency.run(key, now, attempt)
    except TransactionConflict as refused:
        if find(DeploymentName, f"name#{deployment.name}"):
            message = f"name: a deployment named {deployment.name!r} exists; take another name, or delete that one"
            raise ApiError("DEPLOYMENT_NAME_IN_USE", message) from refused
        raise
    if made:
        return load(made)
    events.record(events.on(deployment), "created", f"{body.model} as {deployment.name}", by.label, now)
    scheduler.place(deployment.deployment_id, now)
    return load(deployment.deployment_id)


def check(body: r.NewDeployment) -> None:
    """What the types alone cannot say. Raises INVALID_REQUEST, PAYLOAD_TOO_LARGE."""
    if len(msgspec.json.encode([body.config, body.env])) > MAX_CONFIG_BYTES:
        raise ApiError("PAYLOAD_TOO_LARGE", "config with env: expected at most 64 KiB")
    if isinstance(body.gpus, list) and len(set(body.gpus)) != len(body.gpus):
        raise ApiError("INVALID_REQUEST", "gpus: must not contain duplicates")
    if credential := first_credential(body.config):
        raise ApiError("INVALID_REQUEST", credential)


def _new(body: r.NewDeployment, now: float) -> Deployment:
    deployment_id = str(uuid.uuid4())
    name = body.name or f"{_slug(body.model)}-{deployment_id[:8]}"
    return Deployment(
        deployment_id,
        rank=f"{now:017.6f}",
        waiting="1",
        name=name,
        spec=_encode(body),
        api_key=secrets.token_urlsafe(32),
        generation=grow(0, now),
        desired="running",
        status=Status.PENDING,
        status_at=now,
        status_generation=grow(0, now),
        created_at=now,
        updated_at=now,
    )


def _slug(model: str) -> str:
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in model.rstrip("/").rsplit("/", 1)[-1].lower())
    return kept.strip("-")[:48] or "model"


def _encode(spec: r.NewDeployment) -> str:
    return msgspec.json.encode(spec).decode()


Change = Callable[[Deployment], bool]
"""Transacts a change of a deployment as it was read; returns whether anything was to be done."""


class _Request(Value, frozen=True):
    """Who asked for a change of which deployment, and when."""

    deployment_id: str
    by: Principal
    now: float
    key: idempotency.Key | None = None


def _act(request: _Request, change: Change) -> tuple[Deployment, bool]:
    """Apply a change to the latest state, again if another function was faster; then wake its workers and place it."""
    deployment_id, now = request.deployment_id, request.now
    if idempotency.made(request.key, now):
        return load(deployment_id), False

    def attempt() -> bool:
        return change(load(deployment_id))

    done: bool = retrying(attempt)
    deployment = load(deployment_id)
    if done:
        for worker_id in {deployment.worker_id, deployment.leaving} - {None}:
            slots.wake(worker_id, now)
        if deployment.waiting:
            scheduler.place(deployment_id, now)
            deployment = load(deployment_id)
            if deployment.worker_id:  # it may need fewer devices than before
                scheduler.place_waiting(now, on=deployment.worker_id)
    return deployment, done


def start(deployment_id: str, by: Principal, now: float, key: idempotency.Key | None = None) -> Deployment:
    """Bring up one that is stopped or in error; one that is already wanted and alive stays as it is."""

    def change(deployment: Deployment) -> bool:
        if deployment.desired == "running" and deployment.status in LIVE:
            return False
        _again(deployment, now, key)
        return True

    return _recorded(_Request(deployment_id, by, now, key), change, "start")


def restart(deployment_id: str, by: Principal, now: float, key: idempotency.Key | None = None) -> Deployment:
    """Another container for it, whatever the one before does."""

    def change(deployment: Deployment) -> bool:
        _again(deployment, now, key)
        return True

    return _recorded(_Request(deployment_id, by, now, key), change, "restart")


def _again(deployment: Deployment, now: float, key: idempotency.Key | None) -> None:
    """A new generation of the same specification. An older release may have stored what is refused by now."""
    spec = gpu_claims.spec_of(deployment)
    check(spec)
    _replace(deployment, spec, now, key)


def patch(deployment_id: str, body: r.DeploymentPatch, by: Principal, now: float) -> Deployment:
    """What is given replaces what was. A stopped one stays stopped and has it for its next start."""
    given = {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not msgspec.UNSET}
    if isinstance(given.get("worker_id"), str):
        workers.get(given["worker_id"])

    replaced = {name: value for name, value in given.items() if name != "add_env"}

    def change(deployment: Deployment) -> bool:
        spec = msgspec.structs.replace(gpu_claims.spec_of(deployment), **replaced)
        spec.env = {**spec.env, **given.get("add_env", {})}
        check(spec)
        if deployment.desired == "stopped":
            generation = grow(deployment.generation, now)
            changed = [Deployment.spec.set(_encode(spec)), Deployment.generation.set(generation)]
            actions = [*changed, *serving.kept(deployment)]
            transact(lambda t: write(t, deployment, now, actions))
        else:
            _replace(deployment, spec, now, None)
        return True

    return _recorded(_Request(deployment_id, by, now), change, "change", ", ".join(sorted(given)))


def _recorded(request: _Request, change: Change, type_: str, message: str = "") -> Deployment:
    """Apply the change, and record it in the timeline if there was anything to do."""
    deployment, done = _act(request, change)
    if done:
        by = request.by.label
        events.record(events.on(deployment), type_, message or f"asked by {by}", by, request.now)
    return deployment


def _replace(deployment: Deployment, spec: r.NewDeployment, now: float, key: idempotency.Key | None) -> None:
    """A new generation of deploy: in its place where it still holds one, else on the way to a new one.

    What leaves its place leaves a stop there, of a generation of its own: it may come back to the same worker.
    """
    stop_generation = grow(deployment.generation, now)
    generation = stop_generation + 1
    before = slots.get(deployment.worker_id, deployment.deployment_id) if deployment.worker_id else None
    lost = deployment.status == Status.ERROR and deployment.error_code in CONTACT_LOST
    stays = before is not None and before.holds_gpus and not lost and _fits(spec, deployment)
    actions = [
        Deployment.spec.set(_encode(spec)),
        Deployment.generation.set(generation),
        Deployment.desired.set("running"),
        Deployment.status.set(Status.PENDING),
        Deployment.status_at.set(now),
        Deployment.status_generation.set(generation),
        Deployment.status_session.set(-1),
        Deployment.status_sequence.set(-1),
        Deployment.restarts.set(0),
        *(field.remove() for field in (Deployment.message, Deployment.error_code, Deployment.progress)),
        *(field.remove() for field in (Deployment.container_id, Deployment.port, Deployment.crash_loop)),
        *serving.kept(deployment),
    ]
    if not stays:
        actions.append(Deployment.waiting.set("1"))
        if deployment.worker_id:
            actions += [Deployment.leaving.set(deployment.worker_id), Deployment.worker_id.remove()]

    def build(transaction: TransactWrite) -> None:
        write(transaction, deployment, now, actions)
        if stays:
            deploy = slots.Intent(deployment.worker_id, deployment.deployment_id, "deploy", generation)
            slots.put(transaction, deploy, before)
        elif before is not None:
            _put_stop(transaction, before, stop_generation, now)
        idempotency.remember(transaction, key, deployment.deployment_id, now)

    transact(build)


def _fits(spec: r.NewDeployment, deployment: Deployment) -> bool:
    """Whether the place that the deployment has is the one that the specification asks for, and can be used."""
    held = gpu_claims.indexes(deployment)
    if spec.worker_id not in (None, deployment.worker_id):
        return False
    if not isinstance(spec.gpus, int):
        return sorted(held) == sorted(spec.gpus)
    worker = workers.several([str(deployment.worker_id)]).get(str(deployment.worker_id)) if held else None
    return len(held) == spec.gpus and not (worker and worker.unusable.keys() & set(held))


def stop(deployment_id: str, by: Principal, now: float, key: idempotency.Key | None = None) -> Deployment:
    """Ask its worker to end it; one that no worker has heard of is stopped at once."""

    def change(deployment: Deployment) -> bool:
        before = slots.get(deployment.worker_id, deployment_id) if deployment.worker_id else None
        if deployment.desired == "stopped" and not _outlived(deployment, before):
            return False
        at_once = before is None or slots.never_sent(before)
        generation = grow(deployment.generation, now)
        actions = [
            Deployment.generation.set(generation),
            Deployment.desired.set("stopped"),
            Deployment.waiting.remove(),
        ]
        if at_once:
            actions += [
                Deployment.status.set(Status.STOPPED),
                Deployment.status_at.set(now),
                Deployment.status_generation.set(generation),
                Deployment.message.remove(),
            ]

        def build(transaction: TransactWrite) -> None:
            write(transaction, deployment, now, actions)
            if before is not None:
                _put_stop(transaction, before, generation, now)
            idempotency.remember(transaction, key, deployment_id, now)

        transact(build)
        if at_once and deployment.worker_id:
            gpu_claims.release(deployment.worker_id, deployment_id)
        return True

    deployment = _recorded(_Request(deployment_id, by, now, key), change, "stop")
    if deployment.status == Status.STOPPED and deployment.worker_id:
        scheduler.place_waiting(now, on=deployment.worker_id)
    return deployment


def _outlived(deployment: Deployment, stop: Slot | None) -> bool:
    """Whether what runs is newer than the stop: so it is after an older database was restored."""
    return stop is not None and deployment.status in LIVE and deployment.status_generation > stop.generation


def _put_stop(transaction: TransactWrite, before: Slot, generation: int, now: float) -> None:
    """A stop in the slot. Where nothing was ever sent there is nothing to stop, and it counts as settled."""
    settled = now if slots.never_sent(before) else None
    slots.put(transaction, slots.Intent(before.worker_id, before.deployment_id, "stop", generation, settled), before)


def delete(deployment_id: str, by: Principal, now: float) -> Deployment:
    """Forget one that is stopped or in error. The stop stays in its slot until the worker shows that it is gone."""

    def attempt() -> Deployment:
        deployment = load(deployment_id)
        if deployment.status in LIVE:
            raise ApiError("ILLEGAL_TRANSITION", _cannot_be_deleted(deployment, now))
        before = slots.get(deployment.worker_id, deployment_id) if deployment.worker_id else None

        def build(transaction: TransactWrite) -> None:
            transaction.delete(deployment, condition=Deployment.version == deployment.version)
            transaction.delete(DeploymentName(f"name#{deployment.name}"))
            if before is not None and before.intent == "deploy":
                _put_stop(transaction, before, grow(deployment.generation, now), now)

        transact(build)
        if deployment.worker_id:
            gpu_claims.release(deployment.worker_id, deployment_id)
            slots.wake(deployment.worker_id, now)
        return deployment

    deleted: Deployment = retrying(attempt)
    events.record(events.on(deleted), "deleted", f"asked by {by.label}", by.label, now)
    return deleted


def _cannot_be_deleted(deployment: Deployment, now: float) -> str:
    found = workers.several([deployment.worker_id]).get(deployment.worker_id) if deployment.worker_id else None
    if found is None or found.online(now):
        return f"status: {deployment.status}; only what is stopped or in error can be deleted: stop it first"
    name = found.record.name
    return (
        f"status: {deployment.status}; its worker {name} is offline, so nothing shows that the model ended. "
        f"If that host does not come back, declare the worker lost (muster workers lost {name}, or "
        f"POST /api/workers/{found.worker_id}/lost), then delete"
    )


def take_back(slot: Slot, deployment: Deployment, rivals: list[tuple[Slot, Deployment]], now: float) -> None:
    """Place anew what no worker has heard of, since it cannot have its GPUs there after all.

    `rivals` are what runs on those GPUs: they hold them from here on. Harmless when repeated, or cut off after the
    transaction: what waits for a place is placed by the next sweep.
    """
    actions = [
        Deployment.waiting.set("1"),
        Deployment.worker_id.remove(),
        Deployment.gpu_indexes.set("[]"),
    ]

    def build(transaction: TransactWrite) -> None:
        write(transaction, deployment, now, actions)
        transaction.delete(slot, condition=slots.unchanged(slot))

    try:
        transact(build)
    except TransactionConflict:  # somebody else decided on it meanwhile: the next look sees what
        return
    gpu_claims.release(slot.worker_id, slot.deployment_id)
    for other, theirs in rivals:
        scheduler.confirm(other, theirs, now)
    scheduler.place(slot.deployment_id, now)


def write(transaction: TransactWrite, deployment: Deployment, now: float, actions: list[Any]) -> None:
    """Add a write of the deployment, on condition that it is as it was read."""
    transaction.update(
        deployment,
        actions=[*actions, Deployment.updated_at.set(now), Deployment.version.add(1)],
        condition=Deployment.version == deployment.version,
    )
