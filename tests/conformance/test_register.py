"""Registration: whose name it is, what a repeat is, and when a registration token is good."""

from collections.abc import Callable

import pytest

from tests.fixtures.http_client import Json, Operator
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.served import Server
from tests.fixtures.waiting import eventually

TokenMaker = Callable[..., Json]


def secret_of(registration_token: TokenMaker, **fields: Json) -> str:
    return str(registration_token(**fields)["token"])


def revoke(admin: Operator, made: Json) -> None:
    admin.delete(f"/api/registration-tokens/{made['token_id']}").expect(200)


def test_a_new_name_makes_a_worker_and_shows_its_inventory(worker: Worker, viewer: Operator) -> None:
    shown = viewer.get(f"/api/workers/{worker.worker_id}").expect(200)
    assert shown["name"] == worker.name
    assert shown["gpu_info"] == worker.registration()["gpu_info"]
    assert shown["system_info"] == worker.registration()["system_info"]


def test_a_worker_without_a_gpu_is_a_worker(server: Server) -> None:
    assert Worker(server.url, server.registration_token, gpus=0).register()["worker_id"]


def test_a_lost_response_is_repeated_with_the_same_session(server: Server) -> None:
    agent = Agent(server.url, server.registration_token)
    lost = agent.register()
    again = agent.register()
    assert (again["worker_id"], again["session"]) == (lost["worker_id"], lost["session"])
    assert again["token"] != lost["token"]
    agent.beat()


def test_a_lost_response_costs_a_single_use_token_once(server: Server, registration_token: TokenMaker) -> None:
    agent = Agent(server.url, secret_of(registration_token, max_uses=1))
    assert agent.register()["worker_id"] == agent.register()["worker_id"]


def test_a_new_boot_raises_the_session(agent: Agent) -> None:
    before = agent.session
    agent.boot_id = "another-process"
    assert agent.register()["session"] > before


def test_max_uses_is_one_by_default(server: Server, registration_token: TokenMaker) -> None:
    token = secret_of(registration_token)
    Worker(server.url, token).register()
    Worker(server.url, token).try_register().expect(401, "UNAUTHENTICATED")


def test_max_uses_is_honored(server: Server, registration_token: TokenMaker) -> None:
    token = secret_of(registration_token, max_uses=2)
    for _ in range(2):
        Worker(server.url, token).register()
    Worker(server.url, token).try_register().expect(401, "UNAUTHENTICATED")


def test_a_host_comes_back_after_its_token_was_used_up(server: Server, registration_token: TokenMaker) -> None:
    token = secret_of(registration_token, max_uses=1)
    agent = Agent(server.url, token)
    agent.register()
    before, agent.boot_id = agent.worker_id, "after-the-reboot"
    agent.register()
    assert agent.worker_id == before
    agent.beat()


@pytest.mark.parametrize("kind", [Worker, Agent])
def test_a_host_comes_back_after_its_token_expired(
    server: Server, registration_token: TokenMaker, kind: type[Worker]
) -> None:
    for seconds in (1, 2, 4, 8, 16, 32, 64, 128):
        worker = kind(server.url, secret_of(registration_token, expires_in=seconds, max_uses=100_000))
        if worker.try_register().status == 200:  # else the token expired on the way
            break
    worker.register()
    before = worker.worker_id
    eventually(lambda: Worker(server.url, worker.token).try_register().status, lambda status: status == 401)
    worker.register()
    assert worker.worker_id == before
    worker.beat()


def test_a_host_whose_token_was_revoked_does_not_come_back_by_it(
    server: Server, registration_token: TokenMaker, admin: Operator
) -> None:
    made = registration_token(max_uses=1)
    worker = Worker(server.url, made["token"])
    worker.register()
    worker.beat()
    revoke(admin, made)
    assert worker.try_register().status in (401, 409)


def test_a_revoked_token_admits_nobody(server: Server, registration_token: TokenMaker, admin: Operator) -> None:
    made = registration_token(max_uses=5)
    revoke(admin, made)
    Worker(server.url, made["token"]).try_register().expect(401, "UNAUTHENTICATED")


def test_a_workers_own_token_as_bearer_is_a_repeat(worker: Worker, registration_token: TokenMaker) -> None:
    body = worker.registration(token=secret_of(registration_token), system_info={"hostname": "renamed"})
    body["system_info"] |= {"cpu_count": 1, "memory_total": 1, "os": "x"}
    assert worker.client.post("/api/workers/register", body).expect(200)["worker_id"] == worker.worker_id


def test_a_workers_own_token_in_the_body_is_a_repeat(worker: Worker) -> None:
    again = Worker(worker.client.url, worker.client.bearer or "", name=worker.name)
    assert again.register()["worker_id"] == worker.worker_id
    again.beat()


@pytest.mark.parametrize("token", ["same", "another"])
def test_a_second_machine_with_the_same_name_is_409(worker: Worker, registration_token: TokenMaker, token: str) -> None:
    secret = worker.token if token == "same" else secret_of(registration_token)
    Worker(worker.client.url, secret, name=worker.name).try_register().expect(409, "WORKER_NAME_IN_USE")
    worker.beat()


def test_the_machine_is_its_machine_id_before_its_hostname(agent: Agent) -> None:
    other = Agent(agent.client.url, agent.token, name=agent.name, host=agent.host)
    other.try_register().expect(409, "WORKER_NAME_IN_USE")


def test_a_renamed_machine_is_the_same_by_its_machine_id(agent: Agent) -> None:
    before, agent.host, agent.boot_id = agent.worker_id, "renamed", "after-the-reboot"
    assert agent.register()["worker_id"] == before


def test_the_same_machine_with_another_registration_token_is_no_repeat(
    worker: Worker, registration_token: TokenMaker
) -> None:
    secret = secret_of(registration_token)
    again = Worker(worker.client.url, secret, name=worker.name, host=worker.host)
    again.try_register().expect(409, "WORKER_NAME_IN_USE")


def test_a_refused_newcomer_does_not_use_the_token_up(worker: Worker, registration_token: TokenMaker) -> None:
    secret = secret_of(registration_token, max_uses=1)
    Worker(worker.client.url, secret, name=worker.name).try_register().expect(409, "WORKER_NAME_IN_USE")
    Worker(worker.client.url, secret).register()


def test_a_name_is_not_taken_over_while_its_worker_is_online(worker: Worker, registration_token: TokenMaker) -> None:
    secret = secret_of(registration_token, takeover=True)
    Worker(worker.client.url, secret, name=worker.name).try_register().expect(409, "WORKER_NAME_IN_USE")


def test_a_name_is_not_taken_over_with_an_ordinary_token(worker: Worker, registration_token: TokenMaker) -> None:
    worker.goodbye()
    secret = secret_of(registration_token)
    Worker(worker.client.url, secret, name=worker.name).try_register().expect(409, "WORKER_NAME_IN_USE")


def test_a_takeover_of_an_offline_name_loses_its_deployments_and_shuts_the_old_machine_out(
    worker: Worker, operator: Operator, registration_token: TokenMaker
) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)
    worker.goodbye(deployment_id)
    new = Worker(worker.client.url, secret_of(registration_token, takeover=True), name=worker.name)
    new.register()
    shown = operator.deployment(deployment_id)
    assert (shown["status"], shown["error_code"]) == ("error", "WORKER_LOST")
    assert "deploy" not in new.types() + new.types(), "nothing is started until an operator says so"
    assert worker.try_beat(deployment_id).status in (401, 403, 409, 410), "the old machine is out"


def test_an_operator_starts_it_on_the_machine_that_took_over(
    worker: Worker, operator: Operator, registration_token: TokenMaker
) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)
    worker.goodbye(deployment_id)
    new = Worker(worker.client.url, secret_of(registration_token, takeover=True), name=worker.name)
    new.register()
    new.beat()
    operator.post(f"/api/deployments/{deployment_id}/start").expect(200)
    assert operator.deployment(deployment_id)["worker_id"] == new.worker_id
    assert new.types() == ["deploy"]


# A token of many hosts, and the name of a worker that is online


def test_a_second_client_with_a_shared_token_gets_nothing_of_a_basic_client_that_is_online(
    operator: Operator, server: Server, registration_token: TokenMaker
) -> None:
    worker = Worker(server.url, secret_of(registration_token, max_uses=9))
    worker.register()
    running = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(running)
    waiting = operator.deploy(worker.worker_id)["deployment_id"]
    other = Worker(server.url, worker.token, name=worker.name, host=worker.host)
    given = other.register()
    assert given["worker_id"] == worker.worker_id
    for bearer in (given["token"], worker.token):
        other.client.bearer = bearer
        assert other.beat(running)["commands"] == []
        assert other.report(running, "stopped").expect(200)["applied"] is False
        other.client.get(other.path("images")).expect(403, "FORBIDDEN")
    assert operator.deployment(running)["status"] == "running"
    assert [command["deployment_id"] for command in worker.beat(running)["commands"]] == [waiting]
    told = operator.get(f"/api/workers/{worker.worker_id}/events").expect(200)["events"]
    assert any(line["type"] == "join_provisional" and worker.host in line["message"] for line in told)


@pytest.mark.parametrize("claims", [{}, {"boot_id": "b"}, {"boot_id": "b", "past_boot_ids": ["a"]}])
def test_a_second_host_with_an_agents_token_and_machine_id_is_told_when_to_ask_again(
    operator: Operator, server: Server, registration_token: TokenMaker, claims: Json
) -> None:
    agent = Agent(server.url, secret_of(registration_token, max_uses=9))
    agent.register()
    agent.beat()
    other = Worker(server.url, agent.token, name=agent.name, host=agent.host)
    reply = other.try_register(machine_id=agent.machine_id, **claims)
    reply.expect(409, "WORKER_NAME_IN_USE")
    assert int(reply.headers["Retry-After"]) > 0
    agent.beat()
    told = operator.get(f"/api/workers/{agent.worker_id}/events").expect(200)["events"]
    assert any(line["type"] == "join_refused" and agent.host in line["message"] for line in told)


def test_a_basic_client_with_a_token_of_one_use_comes_back_at_once(
    server: Server, operator: Operator, registration_token: TokenMaker
) -> None:
    worker = Worker(server.url, secret_of(registration_token, max_uses=1))
    worker.register()
    worker.beat()
    worker.register()
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    worker.start(deployment_id)


def test_a_revoked_token_opens_no_route_of_the_worker_that_uses_it_as_its_bearer(
    server: Server, admin: Operator, registration_token: TokenMaker
) -> None:
    made = registration_token(max_uses=9)
    worker = Worker(server.url, made["token"])
    worker.register(bearer_from_body=True)
    worker.beat()
    revoke(admin, made)
    worker.try_beat().expect(401, "UNAUTHENTICATED")
    worker.report("none", "running").expect(401, "UNAUTHENTICATED")
    worker.client.get(worker.path("images")).expect(401, "UNAUTHENTICATED")
    worker.client.get(worker.path("storage/disk")).expect(401, "UNAUTHENTICATED")
    worker.try_register().expect(401, "UNAUTHENTICATED")
    admin.delete(f"/api/registration-tokens/{made['token_id']}").expect(404, "TOKEN_NOT_FOUND")
