"""Races, with real threads on a real DynamoDB engine: exactly one winner, and nothing reserved for ever."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib import deployments, liveness, operations, workers
from chalicelib.contract.errors import ApiError
from chalicelib.store import find
from chalicelib.tables import Hot
from tests.server import dynoxide
from tests.server.database import DATABASE, Recorder
from tests.server.world import ADMIN, World

ROUNDS = 15


@pytest.fixture(scope="module")
def engine() -> Iterator[Recorder]:
    try:
        with dynoxide.running() as url, DATABASE.engine_at(url) as recorder:
            yield recorder
    except dynoxide.Unavailable as reason:
        if os.environ.get("MUSTER_REQUIRE_DYNAMODB"):
            pytest.fail(f"MUSTER_REQUIRE_DYNAMODB is set, and {reason}")
        pytest.skip(f"races need a real DynamoDB engine: {reason}")


@pytest.fixture
def world(engine: Recorder) -> World:
    return World(engine)


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """What each returned or which ApiError it raised, all started together."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return action()
        except ApiError as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def refused(results: list[Any], code: str) -> int:
    return sum(isinstance(each, ApiError) and each.error_code == code for each in results)


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_two_registers_of_one_name(world: World, round_: int) -> None:
    name = f"register-{round_}"
    results = at_once(*(lambda i=i: world.worker(name, machine_id=f"m{i}") for i in range(4)))
    assert refused(results, "WORKER_NAME_IN_USE") == 3
    assert len([each for each in workers.list_(_everything(), world.now).workers if each.name == name]) == 1


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_two_deploys_for_one_gpu(world: World, round_: int) -> None:
    worker = world.worker(f"gpu-{round_}", gpus=1)
    ids = at_once(*(lambda: world.deploy(worker_id=worker.id) for _ in range(4)))
    placed = [each for each in ids if world.see(each).worker_id]
    assert len(placed) == 1
    assert workers.get(worker.id, world.now).gpu_claims == {"0": placed[0]}
    assert worker.types() == ["deploy"]
    for each in ids:
        world.stop(each)
    worker.report(placed[0], "stopped")
    assert workers.get(worker.id, world.now).gpu_claims == {}, "nothing is reserved for ever"


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_two_deployments_of_one_name(world: World, round_: int) -> None:
    results = at_once(*(lambda: world.deploy(name=f"name-{round_}", gpus=0) for _ in range(4)))
    assert refused(results, "DEPLOYMENT_NAME_IN_USE") == 3


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_cancel_against_deliver(world: World, round_: int) -> None:
    worker = world.worker(f"cancel-{round_}")
    operation_id = world.ask(worker, "pull_image", image="a:b")
    cancelled, answer = at_once(lambda: operations.cancel(operation_id, ADMIN.label, world.now), worker.beat)
    sent = [command.command_id for command in answer.commands]
    assert isinstance(cancelled, ApiError) == (operation_id in sent)


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_reads_at_once_share_one_operation(world: World, round_: int) -> None:
    worker = world.worker(f"share-{round_}")
    asked = at_once(*(lambda: world.ask(worker, "disk_usage") for _ in range(5)))
    assert len(set(asked)) == 1


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_heartbeat_against_expiry(world: World, round_: int) -> None:
    worker = world.worker(f"beat-{round_}")
    world.pass_(100)
    silent = find(Hot, worker.id, "hot")
    assert silent is not None
    at_once(worker.beat, lambda: liveness._record(silent, world.now))
    worker.beat()
    hot = find(Hot, worker.id, "hot")
    assert hot is not None and hot.down_since is None


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_status_against_stop(world: World, round_: int) -> None:
    worker = world.worker(f"stop-{round_}")
    deployment_id = world.deploy(worker_id=worker.id, gpus=0)
    worker.beat()
    at_once(lambda: worker.report(deployment_id, "running"), lambda: world.stop(deployment_id))
    seen = world.see(deployment_id)
    assert (seen.desired, seen.status) == ("stopped", "running")
    assert worker.types(active_deployments=[deployment_id]) == ["stop"]


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_stop_against_the_first_delivery(world: World, round_: int) -> None:
    """Either nobody has heard of it and it is stopped at once, or the worker has it and is told to stop."""
    worker = world.worker(f"first-{round_}")
    deployment_id = world.deploy(worker_id=worker.id, gpus=0)
    answer, _ = at_once(worker.beat, lambda: deployments.stop(deployment_id, ADMIN, world.now))
    heard = any(command.deployment_id == deployment_id for command in answer.commands)
    if heard:
        assert worker.types(active_deployments=[deployment_id]) == ["stop"]
    else:
        assert world.see(deployment_id).status == "stopped" or "stop" in worker.types()


def _everything() -> Any:
    from chalicelib.contract import resources as r

    return r.PageQuery(limit=500)
