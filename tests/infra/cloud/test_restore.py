"""A stage put back to an older day while its workers run: no container is stopped, and nothing is started twice.

DynamoDB restores each table by itself. They are of one second, but not of one transaction: so every mixture of tables
from before and after a change is tried as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from chalicelib.store.items import find
from chalicelib.store.settings import TABLE_PREFIX
from chalicelib.store.tables import Deployment, WorkerRecord, connection
from infra.cloud import restore
from infra.local.dynamodb import Client, Engine
from tests.fixtures.database import DATABASE, Recorder
from tests.fixtures.plane_world import PlaneWorld, Worker

Snapshot = dict[str, list[dict[str, Any]]]
TOGETHER = ("workers", "heartbeats", "deployments", "commands")
"""What a transaction may write more than one of."""


def snapshot() -> Snapshot:
    client: Any = connection().client
    return {name: list(restore._items(client, TABLE_PREFIX + name)) for name in restore.TABLE_NAMES}


def tables_in_memory() -> Engine:
    client: Any = connection().client
    assert isinstance(client, Client)
    return client.engine


def calls_in(world: PlaneWorld, worker: Worker) -> Iterator[Any]:
    """Some minutes of heartbeats, and a sweep a minute: what is sent."""
    for _ in range(6):
        world.pass_(30)
        yield from worker.beat().commands
        world.sweep()


@pytest.fixture
def world() -> Iterator[PlaneWorld]:
    with DATABASE.in_memory() as recorder:
        yield PlaneWorld(recorder)


@pytest.mark.parametrize("newer", list(itertools.product([False, True], repeat=len(TOGETHER))), ids=str)
def test_no_mixture_of_tables_stops_or_doubles_what_runs(world: PlaneWorld, newer: tuple[bool, ...]) -> None:
    worker = world.worker()
    worker.journal_id = "a journal"
    kept = world.deploy(gpus=1, worker_id=worker.id)
    worker.run(kept)
    world.pass_(400)
    worker.beat()
    before = tables_in_memory().snapshot()
    world.pass_(1)
    unknown = world.deploy(gpus=1, worker_id=worker.id)
    worker.run(unknown)
    worker.beat()
    generation = world.see(unknown).generation
    after = tables_in_memory().snapshot()
    names = [TABLE_PREFIX + name for name in TOGETHER]
    tables_in_memory().restore(
        {**after, **{name: (after if new else before)[name] for name, new in zip(names, newer, strict=True)}}
    )
    sent = list(calls_in(world, worker))
    assert [each for each in sent if type(each).__name__ == "Stop"] == [], "nobody asked for that"
    assert world.see(kept).status == "running" and not [each for each in sent if each.deployment_id == kept]
    again = {each.generation for each in sent if each.deployment_id == unknown}
    assert again <= {generation}, "which an agent knows for what it runs"


def test_a_stage_is_put_back_by_what_dynamodb_restored(engine: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    world = PlaneWorld(engine)
    worker = world.worker(gpus=3)
    worker.journal_id = "a journal"
    kept, stopped = (world.deploy(gpus=1, worker_id=worker.id) for _ in range(2))
    worker.run(kept)
    worker.report(stopped, "running", container_id="c2", port=8002)
    worker.active.append(stopped)
    worker.beat()
    older = snapshot()
    _restored_tables(older)

    world.pass_(60)
    world.stop(stopped)
    worker.beat()
    worker.report(stopped, "stopped")
    worker.active.remove(stopped)
    unknown = world.deploy(gpus=1, worker_id=worker.id)
    worker.run(unknown)
    session = worker.answer.session
    worker.register()
    worker.beat()

    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", str(connection().host))
    said = CliRunner().invoke(restore.main, ["--from", "muster-restored-", "--to", TABLE_PREFIX])
    assert said.exit_code == 0, said.output
    assert snapshot() == older
    again = CliRunner().invoke(restore.main, ["--from", "muster-restored-", "--to", TABLE_PREFIX])
    assert again.output.count(" 0 items written, 0 deleted") == len(restore.TABLE_NAMES)

    # The token of the newest session is not known any more; the agent's answer to that is to register with what it has.
    worker.register()
    assert worker.answer.session > session
    commands = list(calls_in(world, worker))
    assert commands == [] and world.see(kept).status == "running"
    assert find(Deployment, unknown) is None and find(WorkerRecord, worker.id, "cold") is not None
    assert world.see(stopped).error_code == "CONTAINER_LOST"


def test_a_table_that_was_not_restored_changes_nothing(engine: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    PlaneWorld(engine).worker()
    older = snapshot()
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", str(connection().host))
    assert CliRunner().invoke(restore.main, ["--from", "no-such-", "--to", TABLE_PREFIX]).exit_code != 0
    assert snapshot() == older


def _restored_tables(items: Snapshot) -> None:
    """As DynamoDB makes them: with their keys and their items."""
    client: Any = connection().client
    for name in restore.TABLE_NAMES:
        like = client.describe_table(TableName=TABLE_PREFIX + name)["Table"]
        names = {each["AttributeName"] for each in like["KeySchema"]}
        client.create_table(
            TableName=f"muster-restored-{name}",
            KeySchema=like["KeySchema"],
            AttributeDefinitions=[each for each in like["AttributeDefinitions"] if each["AttributeName"] in names],
            BillingMode="PAY_PER_REQUEST",
        )
        for item in items[name]:
            client.put_item(TableName=f"muster-restored-{name}", Item=item)
