"""A prepared update is the request that PynamoDB would make with the same values, and fails as PynamoDB does."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.store import items, tables
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


class Body(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def throttled(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
    error = b'{"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "slower"}'
    headers: Any = {"Content-Type": "application/x-amz-json-1.0"}
    return AWSResponse(request.url, 400, headers, Body(error))


@pytest.mark.parametrize(("times", "code"), [(1, None), (99, "ThrottlingException")])
def test_a_throttled_update_is_tried_again_and_then_fails(engine: Recorder, times: int, code: str | None) -> None:
    stored()
    attempts: list[AWSPreparedRequest] = []

    def throttle(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        attempts.append(request)
        return throttled(request) if len(attempts) <= times else None

    client: Any = tables.connection().client
    client.meta.events.register_first("before-send.dynamodb.UpdateItem", throttle)
    try:
        assert PREPARED.run(WorkerHeartbeat("w"), status="draining", now=7, digest=b"d")
    except UpdateError as error:
        assert (error.cause_response_code, len(attempts)) == (code, 1 + tables.Meta.max_retry_attempts)
    else:
        assert (code, len(attempts)) == (None, 2)
    finally:
        client.meta.events.unregister("before-send.dynamodb.UpdateItem", throttle)
