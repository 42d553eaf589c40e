"""The seam that PynamoDB calls: errors as botocore's, and answers that wait for the disk, or let their caller wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.dynamodb import CommitFailed, Engine
from infra.local.store import Change, Store
from tests.fixtures.embedded_client import TABLE, thing
from tests.fixtures.waiting import PATIENCE


class SlowDisk(Store):
    """A store whose writes wait for `go`; `began` is set when one waits. `fails`: then it has no room."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.began, self.go, self.fails = Event(), Event(), False

    def apply(self, changes: Iterable[Change]) -> None:
        self.began.set()
        assert self.go.wait(PATIENCE)
        self._connection.execute(f"PRAGMA query_only = {'ON' if self.fails else 'OFF'}")
        super().apply(changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SlowDisk]:
    store = SlowDisk(tmp_path / "items.sqlite3")
    yield store
    store.go.set()


@pytest.fixture
def engine(store: SlowDisk) -> Iterator[Engine]:
    engine = Engine(store)
    engine.client._make_api_call("CreateTable", TABLE)
    yield engine
    store.go.set()
    engine.close()


def put(engine: Engine, id_: str, **more: Any) -> dict[str, Any]:
    return engine.client._make_api_call("PutItem", {"TableName": "things", "Item": thing(id_), **more})


def get(engine: Engine, id_: str) -> dict[str, Any]:
    return engine.client._make_api_call("GetItem", {"TableName": "things", "Key": thing(id_)})


def answered(act: Any) -> Event:
    """Set when `act`, in a thread of its own, has returned or raised."""
    event = Event()

    def run() -> None:
        with contextlib.suppress(ClientError):
            act()
        event.set()

    Thread(target=run, daemon=True).start()
    return event


def test_a_write_a_read_of_it_and_a_failed_condition_on_it_wait_for_the_disk(engine: Engine, store: SlowDisk) -> None:
    written = answered(lambda: put(engine, "a"))
    assert store.began.wait(PATIENCE)
    read = answered(lambda: get(engine, "a"))
    refused = answered(lambda: put(engine, "a", ConditionExpression="attribute_not_exists(id)"))
    assert engine.commits is not None and engine.commits.durable == 0
    assert not any(event.is_set() for event in (written, read, refused))
    store.go.set()
    assert all(event.wait(PATIENCE) for event in (written, read, refused))


def test_inside_of_deferred_calls_return_and_say_what_they_have_seen(engine: Engine, store: SlowDisk) -> None:
    with engine.client.deferred() as seen:
        put(engine, "a")
        assert get(engine, "a")["Item"] == thing("a")
    done = Event()
    engine.when_durable(seen.sequence, lambda failure: done.set())
    assert store.began.wait(PATIENCE) and not done.is_set()
    store.go.set()
    assert done.wait(PATIENCE)
    assert engine.sequence == seen.sequence


def test_who_has_seen_what_was_undone_gets_an_error_at_each_call_and_in_the_end(
    engine: Engine, store: SlowDisk
) -> None:
    failures: list[CommitFailed | None] = []
    with engine.client.deferred() as seen:
        put(engine, "a")
        store.fails = True
        store.go.set()
        with pytest.raises(CommitFailed):
            engine.flush()
        with pytest.raises(ClientError, match="InternalServerError"):
            put(engine, "b")  # it would be done because of what never was
        engine.when_durable(seen.sequence, failures.append)
    assert isinstance(failures[0], CommitFailed)
    assert not get(engine, "a") and not get(engine, "b")


def test_an_error_is_botocores_with_the_fields_of_dynamodb(engine: Engine, store: SlowDisk) -> None:
    store.go.set()
    put(engine, "a")
    with pytest.raises(ClientError) as failed:
        put(
            engine,
            "a",
            ConditionExpression="attribute_not_exists(id)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    response: Any = failed.value.response
    assert response["Error"] == {
        "Code": "ConditionalCheckFailedException",
        "Message": "The conditional request failed",
    }
    assert response["Item"] == thing("a")


def test_in_memory_nothing_waits() -> None:
    engine = Engine()
    engine.client._make_api_call("CreateTable", TABLE)
    with engine.client.deferred() as seen:
        put(engine, "a")
    failures: list[CommitFailed | None] = []
    engine.when_durable(seen.sequence, failures.append)
    assert failures == [None] and engine.sequence == 0
    engine.flush()
