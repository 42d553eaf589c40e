"""The database's worse days are as DynamoDB has them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pynamodb.exceptions import TransactWriteError, UpdateError

from chalicelib.store import tables
from chalicelib.store.items import TransactionConflict, find, find_all, transact, update_if
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


def test_what_was_before_a_restored_database_is_not_read_from_it(
    world: PlaneWorld, database: UnreliableDynamoDB
) -> None:
    snapshot = database.snapshot()
    world.deploy()
    database.restore(snapshot)
    let(database, "read lagged", WRITES - 1)
    assert scanned() == []


def raise_inbox(heartbeat: WorkerHeartbeat) -> None:
    transact(
        lambda t: t.update(
            heartbeat, actions=[WorkerHeartbeat.inbox.set(7)], condition=WorkerHeartbeat.inbox == heartbeat.inbox
        )
    )


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("transaction in conflict", "TransactionConflict"), ("transaction throttled", "ThrottlingError")],
)
def test_a_transaction_that_is_canceled_does_nothing_and_names_the_reason(
    world: PlaneWorld, database: UnreliableDynamoDB, fault: str, reason: str
) -> None:
    heartbeat = WorkerHeartbeat.get(world.worker().id)
    let(database, fault)
    with pytest.raises(TransactionConflict) as refused:
        raise_inbox(heartbeat)
    cause = refused.value.__cause__
    assert isinstance(cause, TransactWriteError)
    assert [each and each.code for each in cause.cancellation_reasons] == [reason]
    database.calm()
    assert WorkerHeartbeat.get(heartbeat.worker_id).inbox == heartbeat.inbox


def test_a_transaction_whose_answer_was_lost_is_done_once(world: PlaneWorld, database: UnreliableDynamoDB) -> None:
    heartbeat = WorkerHeartbeat.get(world.worker().id)
    let(database, "transaction sent again")
    raise_inbox(heartbeat)
    database.calm()
    assert WorkerHeartbeat.get(heartbeat.worker_id).inbox == 7


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [
        ("request throttled", "ProvisionedThroughputExceeded"),
        ("write met a transaction", "TransactionConflictException"),
    ],
)
def test_a_write_that_is_refused_does_nothing(
    world: PlaneWorld, database: UnreliableDynamoDB, fault: str, refusal: str
) -> None:
    heartbeat = WorkerHeartbeat.get(world.worker().id)
    before = heartbeat.inbox
    let(database, fault)
    with pytest.raises(UpdateError, match=refusal):
        update_if(heartbeat, [WorkerHeartbeat.inbox.set(7)], WorkerHeartbeat.inbox == before)
    database.calm()
    assert WorkerHeartbeat.get(heartbeat.worker_id).inbox == before


def test_a_batch_that_is_read_or_written_in_part_names_the_rest(
    world: PlaneWorld, database: UnreliableDynamoDB
) -> None:
    ids = [world.deploy() for _ in range(3)]
    keys = [{"deployment_id": {"S": id_}} for id_ in ids]
    table = Deployment.Meta.table_name
    let(database, "reads left unprocessed", 1)
    answer = database._make_api_call("BatchGetItem", {"RequestItems": {table: {"Keys": keys, "ConsistentRead": True}}})
    assert len(answer["Responses"][table]) == 2
    assert answer["UnprocessedKeys"] == {table: {"Keys": keys[2:], "ConsistentRead": True}}
    assert sorted(str(each.deployment_id) for each in find_all(Deployment, ids)) == sorted(ids)
    let(database, "writes left unprocessed", 0)
    deletes = [{"DeleteRequest": {"Key": key}} for key in keys]
    answer = database._make_api_call("BatchWriteItem", {"RequestItems": {table: deletes}})
    assert answer["UnprocessedItems"] == {table: deletes[1:]}
    database.calm()
    assert sorted(scanned(consistent_read=True)) == sorted(ids[1:])


def test_a_page_that_ends_early_has_a_key_to_go_on_after(world: PlaneWorld, database: UnreliableDynamoDB) -> None:
    ids = [world.deploy() for _ in range(3)]
    let(database, "page ended early", 0)
    answer = database._make_api_call("Scan", {"TableName": Deployment.Meta.table_name, "ConsistentRead": True})
    assert answer["ScannedCount"] == 1 and "LastEvaluatedKey" in answer
    assert sorted(scanned(consistent_read=True)) == sorted(ids)


def test_an_item_that_is_not_read_consistently_may_be_what_it_was(
    world: PlaneWorld, database: UnreliableDynamoDB
) -> None:
    heartbeat = WorkerHeartbeat.get(world.worker().id)
    raise_inbox(heartbeat)
    let(database, "read of an item lagged", 0)
    assert WorkerHeartbeat.get(heartbeat.worker_id).inbox == heartbeat.inbox
    assert [each.inbox for each in WorkerHeartbeat.batch_get([heartbeat.worker_id])] == [heartbeat.inbox]
    assert WorkerHeartbeat.get(heartbeat.worker_id, consistent_read=True).inbox == 7


def test_an_item_of_more_than_400_kilobytes_is_refused(world: PlaneWorld, database: UnreliableDynamoDB) -> None:
    deployment = Deployment.get(world.deploy())
    with pytest.raises(UpdateError, match="ValidationException"):
        update_if(deployment, [Deployment.spec.set("x" * 400 * 1024)], Deployment.version == deployment.version)
    assert Deployment.get(deployment.deployment_id).spec == deployment.spec
