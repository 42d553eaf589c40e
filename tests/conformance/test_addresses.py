"""A worker's address is a claim: what is refused, what is hidden, and what serves while a change is prepared."""

import random

import pytest

from tests.fixtures.http_client import Json, Operator
from tests.fixtures.http_workers import Agent, Worker

FORBIDDEN = [
    *("169.254.169.254", "http://169.254.169.254/latest/meta-data/{port}", "http://good@169.254.169.254/"),
    *("0xA9FEA9FE", "0251.0376.0251.0376", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "fe80::1"),
    *("metadata.google.internal.", "100.100.100.200", "224.0.0.1", "0.0.0.0", "255.255.255.255"),
]


def address() -> str:
    """One that no other test has."""
    return ".".join(["10", *(str(random.randrange(1, 255)) for _ in range(3))])


@pytest.mark.parametrize("claimed", FORBIDDEN)
def test_an_address_that_no_worker_may_have_is_refused_and_named(
    agent: Agent, worker: Worker, operator: Operator, claimed: str
) -> None:
    refused = Worker(operator.url, agent.token).try_register(address=claimed).expect(400)
    assert refused["error_code"] == "INVALID_REQUEST" and refused["message"].startswith("address: ")
    refused = operator.patch(f"/api/workers/{worker.worker_id}", {"address": claimed}).expect(400)
    assert refused["message"].startswith("address: ")
    worker.beat()


def running(operator: Operator, token: str, claimed: str) -> tuple[Worker, str]:
    worker = Worker(operator.url, token)
    worker.register(address=claimed)
    worker.beat()
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)
    return worker, deployment_id


def scraped(operator: Operator) -> list[str]:
    found: Json = operator.get("/api/discovery/prometheus").expect(200)
    return [target["labels"]["muster_deployment_id"] for target in found]


def types(operator: Operator, worker: Worker) -> list[str]:
    found = operator.get(f"/api/workers/{worker.worker_id}").expect(200)
    return [condition["type"] for condition in found["conditions"]]


def test_of_two_machines_at_one_place_one_is_shown(agent: Agent, operator: Operator) -> None:
    claimed = address()
    first, held = running(operator, agent.token, claimed)
    second, hidden = running(operator, agent.token, claimed)
    assert operator.deployment(held)["endpoint"] == f"http://{claimed}:8001"
    seen = operator.deployment(hidden)
    assert (seen["status"], seen["endpoint"]) == ("running", None)
    assert first.name in seen["endpoint_problem"]
    assert (types(operator, first), types(operator, second)) == ([], ["AddressConflict"])
    assert held in scraped(operator) and hidden not in scraped(operator)
    first.goodbye(held)
    assert operator.deployment(hidden)["endpoint"] == f"http://{claimed}:8001"
    assert types(operator, second) == []
    assert hidden in scraped(operator) and held not in scraped(operator)


def test_what_an_operator_pins_is_shown_whatever_the_worker_says(agent: Agent, operator: Operator) -> None:
    worker, deployment_id = running(operator, agent.token, address())
    pinned = address()
    shown = operator.patch(f"/api/workers/{worker.worker_id}", {"address": pinned}).expect(200)
    assert (shown["address"], shown["address_pinned"]) == (pinned, True)
    worker.report(deployment_id, "running", address="").expect(200)
    assert operator.deployment(deployment_id)["endpoint"] == f"http://{pinned}:8001"


def test_what_serves_keeps_its_endpoint_until_its_end_is_reported(agent: Agent, operator: Operator) -> None:
    agent.register(address=(claimed := address()))
    agent.beat()
    deployment_id = operator.deploy(agent.worker_id, config={"served_model_name": "old"})["deployment_id"]
    (deploy,) = agent.commands()
    agent.say(deployment_id, "running", deploy["generation"], container_id="c1", port=8001).expect(200)
    agent.beat(deployment_id)
    operator.patch(f"/api/deployments/{deployment_id}", {"config": {"served_model_name": "new"}}).expect(200)
    serves = (f"http://{claimed}:8001", deploy["generation"], "old")

    def shown() -> tuple[Json, Json, Json]:
        seen = operator.deployment(deployment_id)
        return seen["endpoint"], seen["serving_generation"], seen["served_model_name"]

    assert shown() == serves
    (newer,) = agent.commands(deployment_id)
    for status in ("downloading", "starting"):
        agent.say(deployment_id, status, newer["generation"], serving=deploy["generation"]).expect(200)
        assert shown() == serves
    assert deployment_id in scraped(operator)
    agent.say(deployment_id, "starting", newer["generation"], serving=0).expect(200)
    assert shown() == (None, None, "new")
    assert deployment_id not in scraped(operator)
    agent.say(deployment_id, "running", newer["generation"], container_id="c2", port=8002).expect(200)
    assert shown() == (f"http://{claimed}:8002", newer["generation"], "new")
