"""GPUs: what a number, a list, zero and nothing mean, and who gets a device that is free."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fixtures.http_client import Json, Operator, unique
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.served import Server
from tests.fixtures.waiting import eventually


@pytest.fixture
def pool(server: Server) -> tuple[str, list[Worker]]:
    """A label of its own and two workers of two GPUs each that carry it."""
    label = unique("pool")
    workers = [Worker(server.url, server.registration_token) for _ in range(2)]
    for worker in workers:
        worker.register(labels={"pool": label})
        worker.beat()
    return label, workers


def given(worker: Worker) -> list[Json]:
    """The devices of each deploy that waits for the worker."""
    return [command["gpus"] for command in worker.commands() if command["type"] == "deploy"]


def why(deployment: Json) -> str:
    """Whatever a pending deployment says of itself in words; the field's name is left open."""
    return " ".join(value for value in deployment.values() if isinstance(value, str) and " " in value)


@pytest.mark.parametrize(("gpus", "devices"), [(1, 1), (2, 2), (0, 0), (None, 1)])
def test_a_number_means_that_many(worker: Worker, operator: Operator, gpus: int | None, devices: int) -> None:
    body = {"model": "m", "worker_id": worker.worker_id} | ({} if gpus is None else {"gpus": gpus})
    operator.post("/api/deployments", body).expect(201)
    [indexes] = given(worker)
    assert len(indexes) == devices and set(indexes) <= {0, 1}


def test_a_list_means_these(worker: Worker, operator: Operator) -> None:
    operator.deploy(worker.worker_id, gpus=[1])
    assert given(worker) == [[1]]


def test_two_deployments_never_share_a_device(worker: Worker, operator: Operator) -> None:
    for _ in range(2):
        operator.deploy(worker.worker_id, gpus=1)
    assert sorted(given(worker)) == [[0], [1]]


def test_none_free_stays_pending_and_says_why(worker: Worker, operator: Operator) -> None:
    operator.deploy(worker.worker_id, gpus=2)
    waiting = operator.deploy(worker.worker_id, gpus=1)
    assert waiting["status"] == "pending"
    assert why(operator.deployment(waiting["deployment_id"]))
    assert len(given(worker)) == 1


def test_a_device_that_is_not_there_stays_pending_and_says_why(worker: Worker, operator: Operator) -> None:
    waiting = operator.deploy(worker.worker_id, gpus=[7])
    assert waiting["status"] == "pending" and why(waiting)
    assert given(worker) == []


def test_no_worker_for_a_selector_stays_pending_and_says_why(operator: Operator) -> None:
    waiting = operator.deploy(None, selector={"pool": unique("nobody")})
    assert waiting["status"] == "pending" and not waiting["worker_id"] and why(waiting)


def test_it_is_placed_when_a_device_becomes_free(worker: Worker, operator: Operator) -> None:
    holder = operator.deploy(worker.worker_id, gpus=2)["deployment_id"]
    worker.start(holder)
    operator.deploy(worker.worker_id, gpus=2)
    operator.post(f"/api/deployments/{holder}/stop").expect(200)
    assert worker.types(holder) == ["stop"]
    assert given(worker) == [], "the container still holds them"
    worker.report(holder, "stopped").expect(200)
    eventually(lambda: given(worker), lambda devices: devices == [[0, 1]])


def test_it_is_placed_when_a_worker_of_its_selector_joins(server: Server, operator: Operator) -> None:
    label = unique("pool")
    waiting = operator.deploy(None, selector={"pool": label}, gpus=1)["deployment_id"]
    late = Worker(server.url, server.registration_token)
    late.register(labels={"pool": label})
    eventually(lambda: given(late), lambda devices: len(devices) == 1)
    assert operator.deployment(waiting)["worker_id"] == late.worker_id


def test_a_selector_chooses_among_its_workers(pool: tuple[str, list[Worker]], operator: Operator) -> None:
    label, workers = pool
    made = [operator.deploy(None, selector={"pool": label}, gpus=2) for _ in range(3)]
    assert {one["worker_id"] for one in made[:2]} == {worker.worker_id for worker in workers}
    assert made[2]["status"] == "pending" and why(made[2])
    assert [len(given(worker)) for worker in workers] == [1, 1]


def test_placing_at_once_never_shares_a_device(pool: tuple[str, list[Worker]], operator: Operator) -> None:
    label, workers = pool
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: operator.deploy(None, selector={"pool": label}, gpus=1), range(8)))
    assert [sorted(given(worker)) for worker in workers] == [[[0], [1]], [[0], [1]]]


def test_a_draining_worker_gets_nothing_new(pool: tuple[str, list[Worker]], operator: Operator) -> None:
    label, (drained, open_one) = pool
    operator.patch(f"/api/workers/{drained.worker_id}", {"draining": True}).expect(200)
    made = [operator.deploy(None, selector={"pool": label}, gpus=1) for _ in range(2)]
    assert {one["worker_id"] for one in made} == {open_one.worker_id}


def test_a_worker_that_says_it_drains_gets_nothing_new(pool: tuple[str, list[Worker]], operator: Operator) -> None:
    label, (drained, open_one) = pool
    drained.beat(status="draining")
    made = [operator.deploy(None, selector={"pool": label}, gpus=1) for _ in range(2)]
    assert {one["worker_id"] for one in made} == {open_one.worker_id}


def test_an_offline_worker_is_not_chosen(pool: tuple[str, list[Worker]], operator: Operator) -> None:
    label, (gone, here) = pool
    gone.goodbye()
    made = [operator.deploy(None, selector={"pool": label}, gpus=1) for _ in range(2)]
    assert {one["worker_id"] for one in made} == {here.worker_id}


def test_a_stopped_one_that_was_never_sent_frees_its_device(worker: Worker, operator: Operator) -> None:
    first = operator.deploy(worker.worker_id, gpus=2)
    operator.post(f"/api/deployments/{first['deployment_id']}/stop").expect(200)
    operator.deploy(worker.worker_id, gpus=2)
    assert given(worker) == [[0, 1]]


def test_an_error_frees_its_device(agent: Agent, operator: Operator) -> None:
    made = operator.deploy(agent.worker_id, gpus=2)
    agent.fetch("deploy")
    agent.say(made["deployment_id"], "error", made["generation"], error_code="CONTAINER_FAILED").expect(200)
    operator.deploy(agent.worker_id, gpus=2)
    eventually(lambda: given(agent), lambda devices: devices == [[0, 1]])
