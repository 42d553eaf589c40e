"""The database's worse days are as DynamoDB has them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pynamodb.exceptions import UpdateError

from chalicelib.store import tables
from chalicelib.store.items import find, transact, update_if
from chalicelib.store.tables import Deployment, WorkerHeartbeat
from tests.fixtures.plane_world import PlaneWorld
from tests.simulation.database import LAG, WRITES, UnreliableDynamoDB


@pytest.fixture
def database() -> Iterator[UnreliableDynamoDB]:
    made = UnreliableDynamoDB()
    made.attach()
    tables.create_tables()
    yield made
    for model in tables.Item.__subclasses__():
        model._connection = None


@pytest.fixture
def world(database: UnreliableDynamoDB) -> PlaneWorld:
    return PlaneWorld(database)  # type: ignore[arg-type]


def let(database: UnreliableDynamoDB, fault: str, choice: int = 0) -> None:
    database.strikes = lambda name, chance: name == fault
    database.choose = lambda size: choice


def scanned(*, consistent_read: bool = False) -> list[str]:
    found = Deployment.scan(Deployment.kind == "deployment", consistent_read=consistent_read)
    return [str(each.deployment_id) for each in found]


def test_an_index_may_show_what_was_a_moment_ago_and_a_read_of_an_item_never_does(
    world: PlaneWorld, database: UnreliableDynamoDB
) -> None:
    deployment_id = world.deploy()
    let(database, "read lagged", WRITES - 1)
    assert list(Deployment.waiting_index.query("1")) == []
    assert find(Deployment, deployment_id) is not None
    assert scanned(consistent_read=True) == [deployment_id]
    assert scanned() == []
    database.at(lambda: LAG + 1)
    assert scanned() == [deployment_id]


def test_a_conditional_write_that_is_sent_again_is_done_and_fails(
    world: PlaneWorld, database: UnreliableDynamoDB
) -> None:
    worker = world.worker()
    heartbeat = WorkerHeartbeat.get(worker.id)
    let(database, "write sent again")
    assert not update_if(heartbeat, [WorkerHeartbeat.inbox.set(7)], WorkerHeartbeat.inbox == heartbeat.inbox)
    database.calm()
    assert WorkerHeartbeat.get(worker.id).inbox == 7


def test_a_transaction_that_is_sent_again_is_done_once_and_succeeds(
    world: PlaneWorld, database: UnreliableDynamoDB
) -> None:
    heartbeat = WorkerHeartbeat.get(world.worker().id)
    let(database, "write sent again")
    transact(
        lambda t: t.update(
            heartbeat, actions=[WorkerHeartbeat.inbox.set(7)], condition=WorkerHeartbeat.inbox == heartbeat.inbox
        )
    )
    database.calm()
    assert WorkerHeartbeat.get(heartbeat.worker_id).inbox == 7


def test_a_request_that_is_throttled_does_nothing(world: PlaneWorld, database: UnreliableDynamoDB) -> None:
    heartbeat = WorkerHeartbeat.get(world.worker().id)
    before = heartbeat.inbox
    let(database, "request throttled")
    with pytest.raises(UpdateError, match="ProvisionedThroughputExceeded"):
        update_if(heartbeat, [WorkerHeartbeat.inbox.set(7)], WorkerHeartbeat.inbox == before)
    database.calm()
    assert WorkerHeartbeat.get(heartbeat.worker_id).inbox == before


def test_what_was_before_a_restored_database_is_not_read_from_it(
    world: PlaneWorld, database: UnreliableDynamoDB
) -> None:
    snapshot = database.snapshot()
    world.deploy()
    database.restore(snapshot)
    let(database, "read lagged", WRITES - 1)
    assert scanned() == []
