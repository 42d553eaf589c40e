"""An idle heartbeat costs the database one write of one unit and no read; one in ten also looks."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.counting_dynamodb import Call, CountingDynamoDB
from tests.fixtures.http_client import Operator
from tests.fixtures.http_workers import Agent
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve

READS = {"Query", "GetItem", "BatchGetItem", "TransactGetItems"}
SWEEP = {("Scan", "muster-heartbeats"), ("GetItem", "muster-workers"), ("Query", "muster-deployments")}
"""What the function that runs each minute asks, at whatever moment: each once, or, of scans, a few times."""


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[tuple[Serve, CountingDynamoDB]]:
    """A serve, and the database that it was pointed to."""
    aws = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
    data = tmp_path / "data"
    with CountingDynamoDB() as database, Serve(data, AWS_ENDPOINT_URL_DYNAMODB=database.url, **aws) as serve:
        yield serve, database


def test_an_idle_heartbeat_is_one_write_of_one_unit(metered: tuple[Serve, CountingDynamoDB]) -> None:
    serve, database = metered
    operator, agent = Operator(serve.url, ADMIN_KEY), Agent(serve.url, REGISTRATION_TOKEN, gpus=8)
    agent.register()
    agent.beat()
    made = [operator.deploy(agent.worker_id) for _ in range(16)]
    ids = [one["deployment_id"] for one in made]
    assert len(agent.commands()) == 16
    for one in made:
        agent.say(one["deployment_id"], "running", one["generation"], container_id="c" * 64, port=20000).expect(200)
    disk = {"total": 2 * 10**12, "used": 10**12, "free": 10**12, "percent": 50.0}
    for _ in range(3):
        assert agent.beat(*ids, disk=disk)["commands"] == []

    began = len(database.calls)
    beats = [_calls_of_a_beat(agent, ids, disk, database) for _ in range(20)]
    looked = [calls for calls in beats if any(call.operation in READS for call in calls)]
    assert 1 <= len(looked) <= 2, beats
    for calls in beats:
        writes = [call for call in calls if call.operation not in READS]
        assert [call.operation for call in writes] == ["UpdateItem"], calls
        assert writes[0].bytes <= 1024, f"more than one write unit: {writes[0].bytes} bytes"
    asked = Counter((call.operation, call.table) for call in database.calls[began:])
    for operation, table in SWEEP:
        assert operation == "Scan" or asked[operation, table] < len(beats), f"each heartbeat reads {table}: {asked}"


def _calls_of_a_beat(agent: Agent, ids: list[str], disk: dict[str, float], database: CountingDynamoDB) -> list[Call]:
    """What the database was asked during one heartbeat, the scheduled function's requests aside."""
    before = len(database.calls)
    agent.beat(*ids, disk=disk)
    return [call for call in database.calls[before:] if (call.operation, call.table) not in SWEEP]
