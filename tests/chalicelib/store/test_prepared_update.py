"""A prepared update is the request that PynamoDB would make with the same values, and fails as PynamoDB does."""

from __future__ import annotations

from typing import Any

import pytest
from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.store import items
from chalicelib.store.prepared_update import PreparedUpdate, parameter
from chalicelib.store.tables import Slot, WorkerHeartbeat
from tests.fixtures.database import Recorder


def actions_and_condition(status: Any, now: Any, digest: Any) -> tuple[list[Action], Condition]:
    actions: list[Action] = [
        WorkerHeartbeat.status.set(status),
        WorkerHeartbeat.last_seen.set(now),
        WorkerHeartbeat.conditions.remove(),
        WorkerHeartbeat.beats.add(1),
    ]
    is_current = (WorkerHeartbeat.digest == digest) | (WorkerHeartbeat.previous == digest)
    return actions, is_current & (WorkerHeartbeat.last_seen <= now)


PREPARED = PreparedUpdate(
    *actions_and_condition(
        parameter(WorkerHeartbeat.status, "status"),
        parameter(WorkerHeartbeat.last_seen, "now"),
        parameter(WorkerHeartbeat.digest, "digest"),
    )
)


def stored(worker_id: str = "w") -> WorkerHeartbeat:
    heartbeat = WorkerHeartbeat(
        worker_id, session=1, last_seen=5, status="online", interval=30, inbox=1, digest=b"d", conditions=b"c"
    )
    heartbeat.save()
    return heartbeat


def test_it_is_the_request_that_pynamodb_makes(database: Recorder) -> None:
    with database.counting() as calls:
        for status, now, digest in (("online", 7.5, b"d"), ("draining", 8, b"\xff")):
            stored()
            PREPARED.run(WorkerHeartbeat("w"), status=status, now=now, digest=digest)
            stored()
            actions, condition = actions_and_condition(status, now, digest)
            items.update_if(WorkerHeartbeat("w"), actions, condition)
    updates = [request for operation, request in calls if operation == "UpdateItem"]
    assert updates[0] == updates[1] and updates[2] == updates[3] and updates[0] != updates[2]


def test_the_item_has_its_new_values(engine: Recorder) -> None:
    stored()
    heartbeat = WorkerHeartbeat("w", conditions=b"old")
    assert PREPARED.run(heartbeat, status="draining", now=7.25, digest=b"d")
    assert (heartbeat.status, heartbeat.last_seen, heartbeat.beats, heartbeat.inbox) == ("draining", 7.25, 1, 1)
    again = items.find(WorkerHeartbeat, "w")
    assert again is not None and again.attribute_values == heartbeat.attribute_values


def test_a_condition_that_does_not_hold_is_an_answer(engine: Recorder) -> None:
    before = stored()
    assert not PREPARED.run(WorkerHeartbeat("w"), status="draining", now=7, digest=b"another")
    assert not PREPARED.run(WorkerHeartbeat("nobody"), status="draining", now=7, digest=b"d")
    after = items.find(WorkerHeartbeat, "w")
    assert after is not None and after.attribute_values == before.attribute_values


def test_a_range_key_is_part_of_the_key(database: Recorder) -> None:
    for slot in ("D#a", "D#b"):
        Slot("w", slot, intent="stop", generation=1).save()
    prepared = PreparedUpdate([Slot.generation.set(parameter(Slot.generation, "generation"))], Slot.generation == 1)
    assert prepared.run(Slot("w", "D#b"), generation=2)
    assert {str(slot.slot): slot.generation for slot in Slot.query("w")} == {"D#a": 1, "D#b": 2}


def test_another_failure_is_pynamodbs(engine: Recorder) -> None:
    stored()
    of_the_key = WorkerHeartbeat.worker_id.set(parameter(WorkerHeartbeat.worker_id, "id"))
    prepared = PreparedUpdate([of_the_key], WorkerHeartbeat.session == 1)
    with pytest.raises(UpdateError) as caught:
        prepared.run(WorkerHeartbeat("w"), id="another")
    assert caught.value.cause_response_code == "ValidationException"
