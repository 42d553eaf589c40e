"""The free capacity of a worker, as the index `free` of the table `workers` has it (docs/adr/0041).

    gpu_info, claims, occupied     which GPUs are free
    draining, drains, down         whether anything may be placed there

`open`, `room` and `free` follow from these inputs and are written with them: whoever changes an input takes `changed`
for the actions and `unchanged` for the condition. So the index is behind the worker's record by its own lag only.

`down` and `drains` repeat what the heartbeat's item has: `follow` changes both items in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import and_
from typing import Any

import msgspec
from msgspec import Struct
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from chalicelib.fleet.workers import Host, Worker
from chalicelib.store.items import TransactionConflict, find, transact, update_if
from chalicelib.store.tables import WorkerHeartbeat, WorkerRecord

OPEN = "1"
INPUTS = ("gpu_info", "claims", "occupied", "draining", "down", "drains")
OUTPUTS = ("open", "room", "free")
ATTEMPTS = 4
Value = str | bool | None


class Free(Struct, array_like=True, omit_defaults=True):
    """The indexes of the free GPUs, and those of them that are MIG devices."""

    gpus: list[int]
    mig: list[int] = []


def rank(count: int, name: str = "") -> str:
    """The key of a worker with so many free GPUs: sorted by their number, then by the worker's name."""
    return f"{count:05d}#{name}"


def name_in(room: str) -> str:
    return room.partition("#")[2]


def changed(record: WorkerRecord, **inputs: Value) -> list[Action]:
    """The actions that store the inputs, and what of the record's free capacity changes with them."""
    return [_assign(name, value) for name, value in {**inputs, **_news(record, inputs)}.items()]


def fill_in(record: WorkerRecord) -> None:
    """Give a new record its free capacity."""
    for name, value in _news(record, {}).items():
        setattr(record, name, value)


def unchanged(record: WorkerRecord) -> Condition:
    """The condition that the record has the inputs that were read."""
    return _as_read(WorkerRecord, INPUTS, record)


def is_current(worker: Worker) -> bool:
    """Whether the record has the free capacity that follows from the record and the heartbeat."""
    return not _news(worker.record, _of_heartbeat(worker.heartbeat))


def correct(worker: Worker) -> bool:
    """Store the free capacity that follows from the two items; returns False if one of them changed meanwhile."""
    record, heartbeat = worker.record, worker.heartbeat
    same = _as_read(WorkerHeartbeat, ("down_since", "drains", "gone"), heartbeat)

    def build(transaction: TransactWrite) -> None:
        transaction.condition_check(WorkerHeartbeat, worker.worker_id, condition=same)
        actions = changed(record, **_of_heartbeat(heartbeat))
        transaction.update(record, actions=actions, condition=unchanged(record) & WorkerRecord.name.exists())

    try:
        transact(build)
    except TransactionConflict:
        return False
    return True


def follow(worker_id: str, heartbeat: Sequence[Action], condition: Condition, **inputs: Value) -> bool:
    """Write the heartbeat's item on a condition, and with it the inputs of the record; returns whether that was done.

    False also if a heartbeat or a transaction was in the way: the next heartbeat, or the next sweep, tries again.
    """
    refused: WorkerRecord | None = None
    for _ in range(ATTEMPTS):
        record = find(WorkerRecord, worker_id, "cold")
        if record is None:
            return update_if(WorkerHeartbeat(worker_id), heartbeat, condition)
        if refused is not None and _same_inputs(record, refused):
            return False
        if _write_both(record, heartbeat, condition, inputs):
            return True
        refused = record
    return False


def _write_both(
    record: WorkerRecord, heartbeat: Sequence[Action], condition: Condition, inputs: Mapping[str, Value]
) -> bool:
    def build(transaction: TransactWrite) -> None:
        transaction.update(WorkerHeartbeat(record.worker_id), actions=list(heartbeat), condition=condition)
        transaction.update(record, actions=changed(record, **inputs), condition=unchanged(record))

    try:
        transact(build)
    except TransactionConflict:
        return False
    return True


def _news(record: WorkerRecord, inputs: Mapping[str, Value]) -> dict[str, Value]:
    """The inputs and the outputs that differ from those of the record."""
    after = WorkerRecord(record.worker_id, name=record.name)
    for name in INPUTS:
        setattr(after, name, inputs.get(name, getattr(record, name)))
    values = {**inputs, **dict(zip(OUTPUTS, _outputs(after), strict=True))}
    return {name: value for name, value in values.items() if value != getattr(record, name)}


def _of_heartbeat(heartbeat: WorkerHeartbeat) -> dict[str, Value]:
    return {"down": heartbeat.down_since is not None or None, "drains": bool(heartbeat.drains) or None}


def _outputs(record: WorkerRecord) -> tuple[str | None, str | None, str | None]:
    """`open`, `room` and `free`; None of a worker that takes no deployments."""
    if record.draining or record.down or record.drains:
        return None, None, None
    host = Host(record)
    gpus = [index for index in host.devices if str(index) not in host.claims and index not in host.unusable]
    free = Free(gpus, [index for index in gpus if index in host.mig])
    return OPEN, rank(len(gpus), str(record.name)), msgspec.json.encode(free).decode()


def _same_inputs(one: WorkerRecord, other: WorkerRecord) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in INPUTS)


def _assign(name: str, value: Value) -> Action:
    attribute = getattr(WorkerRecord, name)
    action: Action = attribute.remove() if value is None else attribute.set(value)
    return action


def _as_read(model: Any, names: Iterable[str], item: Any) -> Condition:
    """The condition that the item has the values of these attributes that were read."""
    read = ((getattr(model, name), getattr(item, name)) for name in names)
    conditions = (a.does_not_exist() if value is None else a == value for a, value in read)
    condition: Condition = reduce(and_, conditions)
    return condition
