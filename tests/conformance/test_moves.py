"""A deployment that changes its worker: at most one container wherever the old worker's stop could be confirmed."""

import pytest

from tests.fixtures.http_client import Operator
from tests.fixtures.http_workers import Worker
from tests.fixtures.served import Server


@pytest.fixture
def pair(server: Server) -> tuple[Worker, Worker]:
    """The old worker and the new one."""
    workers = Worker(server.url, server.registration_token), Worker(server.url, server.registration_token)
    for worker in workers:
        worker.register()
        worker.beat()
    return workers


@pytest.fixture
def moved(pair: tuple[Worker, Worker], operator: Operator) -> str:
    """A deployment that ran on the old worker and is meant to run on the new one."""
    old, new = pair
    deployment_id = str(operator.deploy(old.worker_id, gpus=1)["deployment_id"])
    old.start(deployment_id)
    operator.patch(f"/api/deployments/{deployment_id}", {"worker_id": new.worker_id}).expect(200)
    return deployment_id


def test_the_new_worker_waits_for_the_old_ones_stop(pair: tuple[Worker, Worker], moved: str) -> None:
    old, new = pair
    assert new.types() == []
    assert old.types(moved) == ["stop"]
    assert new.types() == []
    old.report(moved, "stopped").expect(200)
    assert new.types() == ["deploy"]


def test_absence_confirms_the_old_ones_stop(pair: tuple[Worker, Worker], moved: str) -> None:
    old, new = pair
    assert old.types(moved) == ["stop"]
    assert old.types() == []
    assert new.types() == ["deploy"]


def test_the_old_worker_does_not_speak_for_it_any_more(
    pair: tuple[Worker, Worker], moved: str, operator: Operator
) -> None:
    old, new = pair
    old.commands(moved)
    old.report(moved, "stopped").expect(200)
    new.start(moved)
    for status in ("error", "stopped"):
        assert old.report(moved, status, error_code="CONTAINER_FAILED").status in (200, 404, 409)
    shown = operator.deployment(moved)
    assert (shown["status"], shown["worker_id"]) == ("running", new.worker_id)


def test_a_worker_that_is_lost_does_not_hold_it_back(pair: tuple[Worker, Worker], operator: Operator) -> None:
    old, new = pair
    deployment_id = operator.deploy(old.worker_id)["deployment_id"]
    old.start(deployment_id)
    old.goodbye(deployment_id)
    operator.post(f"/api/workers/{old.worker_id}/lost").expect(200)
    operator.patch(f"/api/deployments/{deployment_id}", {"worker_id": new.worker_id}).expect(200)
    operator.post(f"/api/deployments/{deployment_id}/start").expect(200)
    new.start(deployment_id)
    assert old.types(deployment_id) == ["stop"], "a stop is never dropped, however long the worker is away"


def test_a_deploy_to_an_offline_worker_waits_for_it(worker: Worker, operator: Operator) -> None:
    worker.goodbye()
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    assert operator.deployment(deployment_id)["reachable"] is False
    worker.start(deployment_id)
    assert operator.status(deployment_id) == "running"
