"""Several callers at once: one wins, and nobody is served twice."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tests.fixtures.http_client import Operator, unique
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.served import Server

T = TypeVar("T")


def at_once(times: int, act: Callable[[], T]) -> list[T]:
    """What each of so many simultaneous calls returned."""
    with ThreadPoolExecutor(times) as threads:
        return [one.result() for one in [threads.submit(act) for _ in range(times)]]


def test_of_machines_that_want_one_new_name_one_wins(server: Server) -> None:
    name = unique("race")
    replies = at_once(8, lambda: Worker(server.url, server.registration_token, name=name).try_register())
    assert Counter(reply.status for reply in replies) == {200: 1, 409: 7}


def test_a_single_use_token_admits_one(server: Server, operator: Operator) -> None:
    token = operator.post("/api/registration-tokens", {}).expect(201)["token"]
    replies = at_once(8, lambda: Worker(server.url, token).try_register())
    assert Counter(reply.status for reply in replies) == {200: 1, 401: 7}


def test_a_doubled_registration_is_one_worker_of_one_session(server: Server) -> None:
    agent = Agent(server.url, server.registration_token)
    given = [reply.expect(200) for reply in at_once(2, agent.try_register)]
    assert len({(one["worker_id"], one["session"]) for one in given}) == 1
    for one in given:
        agent.worker_id, agent.client.bearer, agent.session = one["worker_id"], one["token"], one["session"]
        if agent.try_beat().status == 200:
            return
    raise AssertionError("neither answer holds a token that works")


def test_of_deployments_that_want_one_name_one_wins(worker: Worker, operator: Operator) -> None:
    body = {"model": "m", "name": unique("race"), "worker_id": worker.worker_id, "gpus": 0}
    replies = at_once(8, lambda: operator.post("/api/deployments", body))
    assert Counter(reply.status for reply in replies) == {201: 1, 409: 7}
    assert worker.types() == ["deploy"]


def test_a_request_doubled_under_one_idempotency_key_is_one(worker: Worker, operator: Operator) -> None:
    body, headers = {"model": "m", "worker_id": worker.worker_id, "gpus": 0}, {"Idempotency-Key": unique("once")}
    replies = at_once(8, lambda: operator.post("/api/deployments", body, headers=headers))
    assert {reply.status for reply in replies} <= {200, 201}
    assert len({reply.body["deployment_id"] for reply in replies}) == 1
    assert worker.types() == ["deploy"]


def test_heartbeats_at_once_deliver_and_forget_nothing(worker: Worker, operator: Operator) -> None:
    deployment_id = operator.deploy(worker.worker_id)["deployment_id"]
    for reply in at_once(6, worker.try_beat):
        assert [command["type"] for command in reply.expect(200)["commands"]] == ["deploy"]
    worker.report(deployment_id, "running").expect(200)
    for reply in at_once(6, lambda: worker.try_beat(deployment_id)):
        assert reply.expect(200)["commands"] == []
