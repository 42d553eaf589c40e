"""Everything a worker is asked for that is not a deployment's intent: it runs once, and its answer is waited for.

    enqueue ── item and slot row in one transaction, then the worker is woken
    deliver ── with a heartbeat: queued → sent; sent again until it is acknowledged or too old
    settle ─── the worker's result, whenever it comes

What only time decides (expired, RESULT_LOST) is derived when an operation is read, and recorded then.
"""

from __future__ import annotations

import hashlib
import time
import uuid
import zlib
from collections.abc import Callable
from functools import reduce
from operator import and_
from typing import Any

import msgspec
from pynamodb.expressions.condition import Condition
from pynamodb.transactions import TransactWrite

from chalicelib.fleet import bounds, workers
from chalicelib.store import events, idempotency, slots
from chalicelib.store.items import find, find_all, retrying, transact, update_if
from chalicelib.store.tables import Count, Operation, Queued, SharedRead
from chalicelib.store.times import when
from muster.api import messages as m
from muster.api import resources as r
from muster.api.errors import ApiError
from muster.api.lifecycle import OPEN, OperationStatus, sources
from muster.api.structs import Value

READ_EXPIRY_SECONDS, ACTION_EXPIRY_SECONDS = 60.0, 600.0
RESULT_SILENCE_SECONDS = 600.0
"""Seconds after which an acknowledged operation without a word counts as lost."""
RESULT_TTL_SECONDS = 7 * 86400
MAX_OUTPUT_BYTES = 256 * 1024
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 0.8
S = OperationStatus


class _Request(Value, frozen=True):
    """What a worker is asked to do, and by whom."""

    worker_id: str
    type: str
    parameters: dict[str, Any]
    by: str


def load(operation_id: str, now: float) -> Operation:
    """As it is at this moment. Raises OPERATION_NOT_FOUND."""
    found = find(Operation, operation_id)
    if found is None or found.type is None or found.ttl < now:
        raise ApiError("OPERATION_NOT_FOUND", "there is no such operation; results are kept for 7 days")
    return refreshed(found, now)


def enqueue(
    worker_id: str, type_: str, parameters: dict[str, Any], by: str, now: float, key: idempotency.Key | None = None
) -> Operation:
    """Ask a worker. A read that was not sent yet is shared. Raises WORKER_NOT_FOUND, WORKER_OFFLINE."""
    worker = workers.get(worker_id)
    first = idempotency.made(key, now)
    if first:
        return load(first, now)
    if not worker.online(now):
        raise ApiError(
            "WORKER_OFFLINE",
            f"the worker was last heard of {_ago(now - worker.heartbeat.last_seen)}; nothing can reach it",
        )
    request = _Request(worker_id, type_, parameters, by)
    if type_ in m.READS:
        shared: Operation = retrying(lambda: _shared(request, now))
        return shared
    return _enqueue(request, now, key)


def _shared(request: _Request, now: float) -> Operation:
    """The read of this kind that waits to be sent, or a new one: of several at once, one makes it."""
    kind = [request.type, request.parameters]
    slot = "R#" + hashlib.sha256(msgspec.json.encode(kind, order="sorted")).hexdigest()[:32]
    latest = find(SharedRead, request.worker_id, slot)
    known = find(Operation, latest.operation_id) if latest else None
    if known is not None and refreshed(known, now).status == S.QUEUED:
        return known
    return _enqueue(request, now, None, (slot, latest))


def _enqueue(
    request: _Request,
    now: float,
    key: idempotency.Key | None,
    share: tuple[str, SharedRead | None] | None = None,
) -> Operation:
    """Store a new operation and wake its worker. `share`: the slot of a shared read, and the item that it has now."""
    worker_id = request.worker_id
    operation = Operation(
        str(uuid.uuid4()),
        worker_id=worker_id,
        type=request.type,
        parameters=msgspec.json.encode(request.parameters).decode(),
        status=S.QUEUED,
        created_at=now,
        updated_at=now,
        expires_at=now + (READ_EXPIRY_SECONDS if request.type in m.READS else ACTION_EXPIRY_SECONDS),
        ttl=int(now + RESULT_TTL_SECONDS),
    )

    def build(transaction: TransactWrite) -> None:
        transaction.save(operation)
        transaction.save(Queued(worker_id, f"O#{operation.operation_id}", ttl=operation.ttl))
        if share:
            slot, latest = share
            pointer = SharedRead(worker_id, slot, operation_id=operation.operation_id, ttl=operation.ttl)
            is_latest = SharedRead.operation_id == latest.operation_id if latest else SharedRead.slot.does_not_exist()
            transaction.save(pointer, condition=is_latest)
        idempotency.remember(transaction, key, operation.operation_id, now)

    first = idempotency.run(key, now, lambda: transact(build))
    if first:
        return load(first, now)
    slots.wake(worker_id, now)
    _tell(operation, "asked", _what(operation), request.by, now)
    return operation


def wait(
    operation: Operation,
    seconds: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    monotonic: Callable[[], float] = time.monotonic,
) -> Operation:
    """The operation when it has ended, or as it is after `seconds`. Looks often at first, then about once a second.

    `clock` tells epoch seconds, and may be set meanwhile: what has passed is what was slept, and what looking took.
    """
    left, pause = seconds, FIRST_PAUSE_SECONDS
    while S(operation.status) in OPEN and left > 0:
        began, nap = monotonic(), min(pause, left)
        sleep(nap)
        operation = load(operation.operation_id, clock())
        left -= max(nap, monotonic() - began)
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
    return operation


def open_of(worker_id: str, now: float) -> r.Operations:
    """What a worker was asked and has not answered, newest first. Raises WORKER_NOT_FOUND.

    Its slots name them, so that no index has to follow an operation's status: a query, and a read of each.
    """
    workers.get(worker_id)
    ids = [str(row.slot)[2:] for row in slots.of_worker(worker_id)[1]]
    found = [refreshed(operation, now) for operation in find_all(Operation, ids)]
    waiting = [view(operation) for operation in found if operation.status in OPEN]
    return r.Operations(sorted(waiting, key=lambda operation: operation.created_at, reverse=True))


def output_of(operation: Operation) -> dict[str, Any]:
    """What a succeeded operation answers. Raises the worker's own error for any other end."""
    if operation.status == S.SUCCEEDED:
        decoded: dict[str, Any] = msgspec.json.decode(zlib.decompress(operation.output)) if operation.output else {}
        return decoded
    if operation.status == S.CANCELLED:
        raise ApiError("ILLEGAL_TRANSITION", "the operation was cancelled while it was waited for")
    if operation.status == S.EXPIRED:
        raise ApiError("WORKER_OFFLINE", "the worker did not take the operation in time")
    raise ApiError(operation.error_code or "OPERATION_FAILED", operation.message or "the operation failed there")


def cancel(operation_id: str, by: str, now: float) -> Operation:
    """Take back what was not sent yet. Raises ILLEGAL_TRANSITION."""
    operation = load(operation_id, now)
    if not _move(operation, S.CANCELLED, now, Operation.sent_at.does_not_exist()):
        operation = load(operation_id, now)
        message = f"status: {operation.status} → cancelled: only an operation that was not sent yet can be cancelled"
        raise ApiError("ILLEGAL_TRANSITION", message)
    _ended(operation, by, now)
    return operation


# With a heartbeat


def deliver(operation: Operation, now: float) -> m.OperationCommand | None:
    """The command to send, marked as sent; None if somebody cancelled it or it is no longer to be sent."""
    if operation.status == S.QUEUED and not _move(operation, S.SENT, now, extra=[Operation.sent_at.set(now)]):
        return None
    if operation.status != S.SENT:
        return None
    parameters = msgspec.json.decode(operation.parameters)
    fields = {"type": operation.type, "command_id": operation.operation_id, **parameters}
    return msgspec.convert({**fields, "expires_in": round(_time_left(operation, now), 3)}, m.OperationCommand)  # type: ignore[no-any-return]


def _time_left(operation: Operation, now: float) -> float:
    """Seconds in which it may still be taken; never more than it had to begin with, should the clock be put back."""
    return float(min(operation.expires_at - now, operation.expires_at - operation.created_at))


def acknowledge(operation: Operation, now: float) -> None:
    _move(operation, S.ACCEPTED, now)


def state_lost(operation: Operation, now: float) -> None:
    """It was sent, and then the worker lost its journal: whether it ran, nobody knows, and it does not run again."""
    message = "the worker lost its state after this was sent to it; whether it ran is not known"
    failed = [Operation.error_code.set("AGENT_STATE_LOST"), Operation.message.set(message)]
    if operation.status != S.QUEUED and _move(operation, S.FAILED, now, extra=failed):
        _ended(operation, events.CONTROL_PLANE, now)


def refreshed(operation: Operation, now: float) -> Operation:
    """What time has decided since it was stored, recorded."""
    if operation.status in (S.QUEUED, S.SENT) and now > operation.expires_at:
        expired = [Operation.error_code.set("EXPIRED"), Operation.message.set("the worker did not take it in time")]
        if _move(operation, S.EXPIRED, now, Operation.status.is_in(S.QUEUED, S.SENT), expired, anyhow=True):
            _ended(operation, events.CONTROL_PLANE, now)
    elif operation.status in (S.ACCEPTED, S.RUNNING) and now - operation.updated_at > RESULT_SILENCE_SECONDS:
        silent = "the worker accepted it and was silent for 10 minutes; a late result still counts"
        lost = [Operation.error_code.set("RESULT_LOST"), Operation.message.set(silent)]
        if _move(operation, S.FAILED, now, Operation.updated_at == operation.updated_at, lost):
            _ended(operation, events.CONTROL_PLANE, now)
    return operation


def settle(worker_id: str, operation_id: str, body: m.Result, now: float) -> m.Applied:
    """The worker's word on an operation; a repeat changes nothing. Raises OPERATION_NOT_FOUND, INVALID_REQUEST."""
    operation = _asked(worker_id, operation_id)
    bounds.check_session(worker_id, body.session, now)
    actions: list[Any] = []
    if body.progress is not None:
        actions.append(Operation.progress.set(msgspec.json.encode(body.progress).decode()))
    if body.message is not None:
        actions.append(Operation.message.set(m.brief(body.message)))
    if body.status == "running":
        return m.Applied(_progressed(operation, actions, now), operation.status)
    if body.status == "succeeded":
        actions += [Operation.output.set(_packed(operation.type, body.output or {})), Operation.error_code.remove()]
        if body.message is None:
            actions.append(Operation.message.remove())
    else:
        code = m.brief(body.error_code or "OPERATION_FAILED", m.MAX_CODE)
        actions.append(Operation.error_code.set(code))
    late = (Operation.error_code == "RESULT_LOST") | (Operation.error_code == "EXPIRED")
    settles = Operation.status.is_in(*sources(S(body.status))) | late
    applied = _move(operation, S(body.status), now, settles, actions, anyhow=True)
    if applied:
        _ended(operation, f"worker {worker_id}", now)
    else:
        operation = load(operation_id, now)
        _unqueue(operation)
    return m.Applied(applied, operation.status)


def ignored(worker_id: str, operation_id: str, body: m.Result) -> m.Applied:
    """The response to a client that was kept aside (provisional.py). Raises OPERATION_NOT_FOUND."""
    _asked(worker_id, operation_id)
    return m.Applied(False, body.status)


def _asked(worker_id: str, operation_id: str) -> Operation:
    operation = find(Operation, operation_id)
    if operation is None or operation.worker_id != worker_id:
        raise ApiError("OPERATION_NOT_FOUND", "this worker was asked for no such operation")
    return operation


def _progressed(operation: Operation, actions: list[Any], now: float) -> bool:
    if _move(operation, S.RUNNING, now, extra=actions):
        return True
    stamped = [*actions, Operation.updated_at.set(now)]
    return update_if(operation, stamped, Operation.status == S.RUNNING)


def _packed(type_: str, output: dict[str, Any]) -> bytes:
    """The output in its type's shape, its tail if it is too long, compressed."""
    try:
        msgspec.convert(output, m.OUTPUTS[type_])
    except msgspec.ValidationError as error:
        raise ApiError("INVALID_REQUEST", f"output: {error}") from error
    return zlib.compress(msgspec.json.encode(_tail(output)))


def _tail(output: dict[str, Any]) -> dict[str, Any]:
    if len(msgspec.json.encode(output)) <= MAX_OUTPUT_BYTES:
        return output
    longest = max(output, key=lambda name: len(msgspec.json.encode(output[name])))
    value, room = output[longest], MAX_OUTPUT_BYTES
    while isinstance(value, str | list) and len(msgspec.json.encode(value)) > MAX_OUTPUT_BYTES:
        room = room * 9 // 10 if len(value) <= room else room
        value = value[-room:]
    return {**output, longest: value, "truncated": True}


def _move(
    operation: Operation,
    new: OperationStatus,
    now: float,
    condition: Condition | None = None,
    extra: list[Any] | None = None,
    *,
    anyhow: bool = False,
) -> bool:
    """Store a move that the lifecycle allows; `anyhow` leaves that to the condition."""
    conditions: list[Condition] = [] if anyhow else [Operation.status.is_in(*sources(new))]
    conditions += [] if condition is None else [condition]
    stamped = [Operation.status.set(new), Operation.updated_at.set(now), *(extra or [])]
    return update_if(operation, stamped, reduce(and_, conditions))


def _ended(operation: Operation, by: str, now: float) -> None:
    """It is over: out of its worker's queue, counted, and in the timeline if it was to change something."""
    _unqueue(operation)
    Count(f"count#{operation.type}#{operation.status}").update(actions=[Count.ended.add(1)])
    why = f"{operation.error_code}: {operation.message}" if operation.error_code else None
    _tell(operation, str(operation.status), why or _what(operation), by, now)


def _tell(operation: Operation, what: str, message: str, by: str, now: float) -> None:
    """Reads are left out: nothing changes by them, and whoever follows a log asks every second."""
    if operation.type not in m.READS:
        about = events.About(
            worker_id=operation.worker_id, operation_id=operation.operation_id, error_code=operation.error_code
        )
        events.record(about, f"{operation.type}_{what}", message, by, now)


def _what(operation: Operation) -> str:
    """What it is done with, in a few words: "image vllm/vllm-openai:latest", "images, dry_run"."""
    given = msgspec.json.decode(operation.parameters, type=dict[str, Any])
    named = [f"{name} {value}" for name, value in given.items() if isinstance(value, str)]
    return ", ".join(named + [name for name, value in given.items() if value is True])


def _unqueue(operation: Operation) -> None:
    Queued(operation.worker_id, f"O#{operation.operation_id}").delete()


def view(operation: Operation) -> r.Operation:
    return r.Operation(
        operation_id=operation.operation_id,
        worker_id=operation.worker_id,
        type=operation.type,
        status=S(operation.status),
        created_at=when(operation.created_at),
        expires_at=when(operation.expires_at),
        progress=msgspec.json.decode(operation.progress, type=m.Progress) if operation.progress else None,
        output=output_of(operation) if operation.status == S.SUCCEEDED else None,
        error_code=operation.error_code,
        message=operation.message,
    )


def _ago(seconds: float) -> str:
    return f"{int(seconds)} s ago" if seconds < 120 else f"{int(seconds // 60)} minutes ago"
