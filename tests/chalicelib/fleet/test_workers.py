"""Workers as they are read: whether they are online, when they are due, and what they have."""

from __future__ import annotations

import pytest

from chalicelib.fleet import workers
from chalicelib.store import events
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerHeartbeat
from chalicelib.workers import admin
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker


def online(world: PlaneWorld, worker_id: str) -> bool:
    return workers.get(worker_id).online(world.now)


def test_a_worker_is_online_for_90_seconds_after_a_heartbeat(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat()
    world.pass_(90)
    assert online(world, worker.id)
    world.pass_(0.1)
    assert not online(world, worker.id)


def test_three_of_the_intervals_last_given_if_that_is_longer(world: PlaneWorld) -> None:
    worker = world.worker()
    WorkerHeartbeat(worker.id).update(actions=[WorkerHeartbeat.interval.set(60)])
    world.pass_(180)
    assert online(world, worker.id)
    world.pass_(0.1)
    assert not online(world, worker.id)


def test_a_goodbye_is_offline_at_once_and_a_heartbeat_brings_it_back(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(status="offline")
    assert not online(world, worker.id)
    worker.beat()
    assert online(world, worker.id)


@pytest.mark.parametrize(("quiet", "expected"), [(0, 1), (59, 1), (61, 5), (299, 5), (301, 30)])
def test_the_interval_is_short_while_something_is_under_way(quiet: float, expected: int) -> None:
    assert workers.interval(1000.0, 1000.0 + quiet) == expected


def test_a_worker_is_due_by_the_interval_that_it_was_given(world: PlaneWorld) -> None:
    worker = world.worker()
    world.pass_(400)
    assert worker.beat().next_heartbeat_in == 30
    world.pass_(10)
    assert _due_in(world, worker) == 20
    for _ in range(2):  # what is asked for meanwhile does not reach it sooner
        world.ask(worker, "pull_image", image="a:b")
        assert _due_in(world, worker) == 20
    world.pass_(25)
    assert _due_in(world, worker) == 0
    assert worker.beat().next_heartbeat_in == 1
    assert _due_in(world, worker) == 1
    world.pass_(86400)
    assert _due_in(world, worker) is None


def _due_in(world: PlaneWorld, worker: Worker) -> int | None:
    return admin.get(worker.id, world.now).due_in


def test_a_machine_names_itself_in_its_lines(world: PlaneWorld) -> None:
    worker = world.worker("gpu-7")
    assert workers.get(worker.id).about == events.About(worker_id=worker.id, worker_name="gpu-7")


def test_devices_are_those_that_are_named_else_as_many_as_were_counted(world: PlaneWorld) -> None:
    named = [{"index": index, "name": "A100", "memory_total": 80} for index in (5, 2)]
    assert workers.get(world.worker("named", gpu_info={"count": 2, "devices": named}).id).devices == (2, 5)
    assert workers.get(world.worker("counted", gpu_info={"count": 3}).id).devices == (0, 1, 2)


def test_a_worker_drains_if_it_says_so_or_an_operator_does(world: PlaneWorld) -> None:
    worker = world.worker()
    for said, asked, drains in (("online", False, False), ("draining", False, True), ("online", True, True)):
        worker.beat(status=said)
        admin.patch(worker.id, r.WorkerPatch(draining=asked), ADMIN, world.now)
        assert workers.get(worker.id).draining() is drains


def test_claims_are_written_in_one_order_so_that_equal_ones_read_equal() -> None:
    assert (
        workers.write_claims({"1": "b", "0": "a"}) == workers.write_claims({"0": "a", "1": "b"}) == '{"0":"a","1":"b"}'
    )


def test_several_are_those_that_exist_and_were_not_removed(world: PlaneWorld) -> None:
    here, gone = world.worker("here"), world.worker("gone")
    admin.remove(gone.id, False, "an admin", world.now)
    assert list(workers.several([here.id, gone.id, "nobody", here.id])) == [here.id]
    assert find(WorkerHeartbeat, gone.id) is not None, "its tombstone"
    with pytest.raises(ApiError) as caught:
        workers.get(gone.id)
    assert caught.value.error_code == "WORKER_NOT_FOUND"


def test_a_heartbeat_is_due_after_its_interval_at_most_although_the_clock_was_put_back(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat()
    world.pass_(-86400)
    assert workers.due_in(workers.get(worker.id).heartbeat, world.now) == 30


@pytest.mark.parametrize(("quiet", "seconds"), [(-1, 1), (0, 1), (60, 5), (300, 30), (-86400, 30)])
def test_heartbeats_are_frequent_only_while_something_is_under_way(quiet: float, seconds: int) -> None:
    assert workers.interval(1_800_000_000.0, 1_800_000_000.0 + quiet) == seconds
