"""The newest session wins; what was retired is told so; what was removed is told that."""

import time
from datetime import datetime

import pytest

from tests.fixtures.http_client import Client, Operator
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.served import Server


def test_the_older_token_stays_good_until_the_new_one_is_first_used(server: Server) -> None:
    agent = Agent(server.url, server.registration_token)
    agent.register()
    agent.beat()
    older = agent.client.bearer
    agent.register()
    newer, agent.client.bearer = agent.client.bearer, older
    agent.beat()
    agent.client.bearer = newer
    agent.beat()
    agent.client.bearer = older
    agent.try_beat().expect(409, "SESSION_SUPERSEDED")


def test_the_older_token_stays_good_however_many_responses_are_lost(agent: Agent) -> None:
    for _ in range(3):
        agent.try_register().expect(200)
    agent.beat()


def test_a_retired_token_is_superseded_on_every_worker_route(agent: Agent) -> None:
    retired = Client(agent.client.url, agent.client.bearer)
    agent.register()
    agent.beat()
    for path, body in [
        ("heartbeat", agent.heartbeat()),
        ("deployments/none/status", {"status": "running"}),
        ("commands/none/result", {"status": "succeeded"}),
    ]:
        retired.post(agent.path(path), body).expect(409, "SESSION_SUPERSEDED")


def test_a_retired_token_does_not_register(agent: Agent) -> None:
    retired = agent.client.bearer or ""
    agent.register()
    agent.beat()
    old = Agent(agent.client.url, retired, name=agent.name)
    old.try_register().expect(409, "SESSION_SUPERSEDED")


def test_a_retired_session_is_superseded(agent: Agent) -> None:
    retired, agent.boot_id = agent.session, "the-next-process"
    agent.register()
    agent.beat()
    agent.try_beat(session=retired).expect(409, "SESSION_SUPERSEDED")
    agent.beat()


def test_a_retired_boot_id_is_superseded(agent: Agent) -> None:
    retired, agent.boot_id = agent.boot_id, "the-next-process"
    agent.register()
    agent.beat()
    agent.boot_id = retired
    agent.try_register().expect(409, "SESSION_SUPERSEDED")


def test_a_session_above_the_stored_one_is_adopted(agent: Agent) -> None:
    stored = agent.session
    agent.session += 100_000
    agent.beat()
    agent.try_beat(session=stored).expect(409, "SESSION_SUPERSEDED")
    agent.boot_id = "the-next-process"
    above = agent.session
    assert agent.register()["session"] > above


@pytest.mark.parametrize("ahead", [400_000, 86_400_000, 2**52])
def test_a_session_from_the_future_is_refused_and_leaves_the_worker_working(agent: Agent, ahead: int) -> None:
    reply = agent.try_beat(session=agent.session + ahead).expect(400, "INVALID_REQUEST")
    assert reply["message"].startswith("session: ")
    agent.try_beat(session=2**53).expect(400, "INVALID_REQUEST")
    agent.beat()
    agent.boot_id = "the-next-process"
    agent.register()
    agent.beat()


@pytest.mark.parametrize("field", ["generation", "session"])
def test_no_report_from_the_future_keeps_a_deployment_from_running_again(
    agent: Agent, operator: Operator, field: str
) -> None:
    deployment_id = operator.deploy(agent.worker_id)["deployment_id"]
    generation = agent.fetch("deploy")["generation"]
    for number in (2**53, 2**53 - 1, int(time.time() * 1000) + 400_000):
        order = {"generation": generation, "session": agent.session, "sequence": 1} | {field: number}
        reply = agent.report(deployment_id, "running", **order).expect(400, "INVALID_REQUEST")
        assert reply["message"].startswith(f"{field}: ")
    agent.say(deployment_id, "running", generation, container_id="c1", port=8001).expect(200)
    operator.post(f"/api/deployments/{deployment_id}/restart", {}).expect(200)
    again = agent.fetch("deploy")["generation"]
    assert generation < again < 2**53
    assert agent.say(deployment_id, "running", again, container_id="c2", port=8001).expect(200)["applied"]


def test_a_session_is_never_below_the_servers_milliseconds(agent: Agent, viewer: Operator) -> None:
    """At registration; what is shown of that moment is rounded to a microsecond."""
    registered_at = datetime.fromisoformat(viewer.get(f"/api/workers/{agent.worker_id}").expect(200)["registered_at"])
    assert agent.session >= int(registered_at.timestamp() * 1000) - 1


def test_a_removed_worker_is_told_410(agent: Agent, admin: Operator) -> None:
    admin.delete(f"/api/workers/{agent.worker_id}").expect(200)
    agent.try_beat().expect(410, "WORKER_REMOVED")
    agent.report("none", "running").expect(410, "WORKER_REMOVED")
    agent.result("none").expect(410, "WORKER_REMOVED")
    admin.get(f"/api/workers/{agent.worker_id}").expect(404, "WORKER_NOT_FOUND")


def test_a_removed_worker_is_no_longer_listed(worker: Worker, admin: Operator) -> None:
    admin.delete(f"/api/workers/{worker.worker_id}").expect(200)
    listed = admin.get("/api/workers?limit=100").expect(200)["workers"]
    assert worker.worker_id not in [one["worker_id"] for one in listed]


def test_the_name_of_a_removed_worker_is_free(worker: Worker, admin: Operator) -> None:
    admin.delete(f"/api/workers/{worker.worker_id}").expect(200)
    Worker(worker.client.url, worker.token, name=worker.name).register()


def test_a_worker_with_live_deployments_is_not_removed(worker: Worker, operator: Operator, admin: Operator) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id, container_id="left-running")
    admin.delete(f"/api/workers/{worker.worker_id}").expect(409, "WORKER_NOT_EMPTY")
    assert operator.status(deployment_id) == "running"


def test_force_removes_it_and_names_the_containers_left_running(
    worker: Worker, operator: Operator, admin: Operator
) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id, container_id="left-running")
    removed = admin.delete(f"/api/workers/{worker.worker_id}?force=true").expect(200)
    assert removed["containers_left"] == ["left-running"]
    shown = operator.deployment(deployment_id)
    assert (shown["status"], shown["error_code"]) == ("error", "WORKER_REMOVED")


def test_lost_makes_its_deployments_an_error(worker: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)
    worker.goodbye(deployment_id)
    operator.post(f"/api/workers/{worker.worker_id}/lost").expect(200)
    shown = operator.deployment(deployment_id)
    assert (shown["status"], shown["error_code"]) == ("error", "WORKER_LOST")


def test_the_same_generation_reported_again_is_running_again(agent: Agent, operator: Operator) -> None:
    made = operator.deploy(agent.worker_id)
    deployment_id, generation = made["deployment_id"], made["generation"]
    agent.fetch("deploy")
    agent.say(deployment_id, "running", generation, container_id="abc123", port=8001).expect(200)
    agent.goodbye(deployment_id)
    operator.post(f"/api/workers/{agent.worker_id}/lost").expect(200)
    assert operator.status(deployment_id) == "error"
    agent.beat(deployment_id)
    assert agent.say(deployment_id, "running", generation, container_id="abc123").expect(200)["applied"] is True
    assert operator.status(deployment_id) == "running"


def test_a_goodbye_makes_it_offline_and_its_deployments_unreachable(worker: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)
    assert operator.deployment(deployment_id)["reachable"] is True
    worker.goodbye(deployment_id)
    shown = operator.deployment(deployment_id)
    assert (shown["status"], shown["reachable"]) == ("running", False)
    assert shown["status_as_of"].endswith("Z") or "+00:00" in shown["status_as_of"]
    worker.beat(deployment_id)
    assert operator.deployment(deployment_id)["reachable"] is True
